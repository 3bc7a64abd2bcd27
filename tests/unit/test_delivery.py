"""Delivery: each chunk once for everybody who misses it, at a bounded rate."""

from __future__ import annotations

import random
import sys
import threading

import pytest

from device_agent.protocol import topics
from device_agent.protocol.chunks import BlobRef, expand_ranges
from device_agent.protocol.ids import DeviceId, digest_of
from device_agent.protocol.reports import Need
from edgeops.delivery.demand import MAX_BLOBS, Demand, Sending
from edgeops.delivery.pacing import TokenBucket

A, B = DeviceId("a"), DeviceId("b")
BLOB = BlobRef(digest=digest_of(b"one"), size_bytes=2500, chunk_bytes=256)
OTHER = BlobRef(digest=digest_of(b"two"), size_bytes=1024, chunk_bytes=256)


def need(device: DeviceId, blob: BlobRef, *ranges: tuple[int, int]) -> Need:
    return Need(device=device, blob=blob, ranges=ranges or ((0, blob.count),))


def drain(demand: Demand) -> list[Sending]:
    """Publish everything that is asked for."""
    sent = []
    while (sending := demand.next()) is not None:
        demand.published(sending, sending.length + 32)
        sent.append(sending)
    return sent


# ---- demand


def test_nothing_is_published_when_nothing_is_asked_for() -> None:
    assert Demand().next() is None


def test_the_same_needs_of_many_devices_become_each_chunk_once() -> None:
    demand = Demand()
    for number in range(100):
        assert demand.add(need(DeviceId(f"d{number}"), BLOB))
    assert demand.open_chunks == 10
    sent = drain(demand)
    assert sorted(each.index for each in sent) == list(range(10))
    assert {each.topic for each in sent} == {topics.blob(BLOB.digest)}
    assert demand.open_chunks == 0


def test_needs_that_overlap_are_merged() -> None:
    demand = Demand()
    demand.add(need(A, BLOB, (0, 4)))
    demand.add(need(B, BLOB, (2, 6), (9, 10)))
    assert sorted(each.index for each in drain(demand)) == [0, 1, 2, 3, 4, 5, 9]


def test_a_chunk_that_was_published_may_be_asked_for_again() -> None:
    demand = Demand()
    for _ in range(3):
        demand.add(need(A, BLOB, (1, 2)))
        assert [each.index for each in drain(demand)] == [1]
    assert demand.sent()[BLOB.digest].chunks == 3


def test_what_was_written_down_is_not_told_again_and_what_came_meanwhile_is() -> None:
    demand = Demand()
    demand.add(need(A, BLOB, (0, 2)))
    drain(demand)
    told = demand.unrecorded()
    assert told == {BLOB.digest: 2 * (256 + 32)}
    demand.add(need(A, BLOB, (2, 3)))
    drain(demand)
    demand.recorded(told)
    assert demand.unrecorded() == {BLOB.digest: 256 + 32}


def test_offset_and_length_are_those_of_the_chunk_and_the_last_is_short() -> None:
    demand = Demand()
    demand.add(need(A, BLOB))
    sent = {each.index: (each.offset, each.length) for each in drain(demand)}
    assert sent[0] == (0, 256)
    assert sent[9] == (2304, 196)
    assert sum(length for _, length in sent.values()) == BLOB.size_bytes


def test_an_empty_blob_is_one_empty_chunk() -> None:
    demand = Demand()
    empty = BlobRef(digest=digest_of(b""), size_bytes=0, chunk_bytes=256)
    assert demand.add(need(A, empty))
    assert [(each.index, each.length) for each in drain(demand)] == [(0, 0)]


def test_a_lone_straggler_gets_its_chunks_on_its_own_topic() -> None:
    demand = Demand()
    demand.add(need(A, BLOB))
    drain(demand)
    demand.add(need(B, BLOB, (3, 4), (7, 8)))
    assert {each.topic for each in drain(demand)} == {topics.repair(B, BLOB.digest)}
    assert demand.sent()[BLOB.digest].repaired == 2


def test_two_stragglers_get_them_on_the_topic_of_all() -> None:
    demand = Demand()
    demand.add(need(A, BLOB))
    drain(demand)
    demand.add(need(A, BLOB, (3, 4)))
    demand.add(need(B, BLOB, (3, 4)))
    assert [each.topic for each in drain(demand)] == [topics.blob(BLOB.digest)]


def test_a_lone_device_that_misses_much_gets_it_on_the_topic_of_all_until_little_is_left() -> None:
    demand = Demand()
    demand.add(need(A, BLOB))
    drain(demand)
    demand.add(need(B, BLOB))
    on_all = [each.topic == topics.blob(BLOB.digest) for each in drain(demand)]
    assert on_all[0]
    assert sum(on_all) >= 7


def test_the_first_to_fetch_a_blob_is_no_straggler() -> None:
    demand = Demand()
    demand.add(need(A, BLOB, (0, 1)))
    assert [each.topic for each in drain(demand)] == [topics.blob(BLOB.digest)]


def test_what_a_device_that_left_asked_for_alone_is_forgotten() -> None:
    demand = Demand()
    demand.add(need(A, BLOB))
    demand.left(A)
    assert demand.next() is None
    demand.add(need(A, BLOB))
    demand.add(need(B, BLOB))
    demand.left(A)
    assert len(drain(demand)) == 10


def test_a_device_that_asked_for_nothing_may_leave() -> None:
    demand = Demand()
    demand.add(need(A, BLOB))
    demand.left(B)
    assert demand.open_chunks == 10


def test_two_blobs_take_turns() -> None:
    demand = Demand()
    demand.add(need(A, BLOB, (0, 4)))
    demand.add(need(B, OTHER))
    assert [each.blob.digest for each in drain(demand)] == [BLOB.digest, OTHER.digest] * 4


def test_the_same_blob_in_two_chunk_sizes_is_two_wishes() -> None:
    demand = Demand()
    coarse = BlobRef(digest=BLOB.digest, size_bytes=BLOB.size_bytes, chunk_bytes=1024)
    demand.add(need(A, BLOB))
    demand.add(need(B, coarse))
    assert demand.open_chunks == 10 + 3


@pytest.mark.parametrize(
    "ranges", [(), ((10, 11),), ((5, 5),), ((7, 3),), ((2**50, 2**53),)], ids=str
)
def test_a_need_that_names_no_chunk_of_the_blob_is_refused(
    ranges: tuple[tuple[int, int], ...],
) -> None:
    demand = Demand()
    assert not demand.add(Need(device=A, blob=BLOB, ranges=ranges))
    assert demand.next() is None


def test_a_need_beyond_the_end_gives_what_there_is() -> None:
    demand = Demand()
    assert demand.add(need(A, BLOB, (8, 2**53 - 1)))
    assert [each.index for each in drain(demand)] == [8, 9]


def test_the_number_of_blobs_that_are_open_at_once_is_bounded() -> None:
    demand = Demand()
    for number in range(MAX_BLOBS):
        ref = BlobRef(digest=digest_of(str(number).encode()), size_bytes=1, chunk_bytes=256)
        assert demand.add(need(A, ref))
    assert not demand.add(need(A, BLOB))
    demand.next()
    assert demand.add(need(A, BLOB))


def test_ranges_that_overlap_a_thousand_times_give_each_index_once() -> None:
    chance = random.Random(3)
    ranges = [(chance.randrange(60), chance.randrange(60)) for _ in range(1000)]
    expected = sorted({i for start, stop in ranges for i in range(start, min(stop, 50))})
    assert expand_ranges(ranges, 50) == expected
    # 512 times everything: a set of half a billion members would not come back in time.
    assert expand_ranges([(0, 2**20)] * 512, 2**20) == list(range(2**20))


def test_what_is_open_can_be_counted_while_another_thread_publishes() -> None:
    demand = Demand()
    for number in range(300):
        ref = BlobRef(digest=digest_of(b"%d" % number), size_bytes=512, chunk_bytes=256)
        demand.add(need(A, ref))
    stop = threading.Event()

    def publish() -> None:
        while not stop.is_set():
            sending = demand.next()
            assert sending is not None
            demand.published(sending, sending.length)
            demand.add(need(A, sending.blob))

    worker = threading.Thread(target=publish)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    worker.start()
    try:
        for _ in range(300):
            assert 0 < demand.open_chunks <= 600
            demand.sent()
    finally:
        stop.set()
        worker.join()
        sys.setswitchinterval(interval)


# ---- pacing


def seconds_for(bucket: TokenBucket, sizes: list[int], now_s: float = 0.0) -> float:
    """Send messages one after the other in virtual time; return when the last one went."""
    for size in sizes:
        while wait_s := bucket.wait_s(size, now_s):
            now_s += wait_s
    return now_s


@pytest.mark.parametrize("size", [1, 100, 1000, 60_000])
def test_the_average_rate_holds_whatever_the_size_of_messages(size: int) -> None:
    rate, count = 10_000.0, 200
    took_s = seconds_for(TokenBucket(rate, 0.0), [size] * count)
    burst = rate / 4
    assert (count - 1) * size - burst <= took_s * rate <= count * size + 1


def test_mixed_sizes_keep_the_rate_too() -> None:
    chance = random.Random(1)
    sizes = [chance.choice([50, 3000, 60_000]) for _ in range(300)]
    took_s = seconds_for(TokenBucket(20_000.0, 0.0), sizes)
    assert took_s * 20_000 == pytest.approx(sum(sizes), rel=0.05)


def test_no_bound_means_no_wait() -> None:
    assert seconds_for(TokenBucket(None, 0.0), [10**9] * 10) == 0.0


def test_a_long_silence_earns_a_burst_of_a_quarter_of_a_second_and_no_more() -> None:
    bucket = TokenBucket(1000.0, 0.0)
    assert seconds_for(bucket, [50] * 5, now_s=1e6) == 1e6
    assert seconds_for(bucket, [50], now_s=1e6) > 1e6


def test_a_message_larger_than_the_burst_is_sent_from_a_full_bucket_and_paid_for_after() -> None:
    bucket = TokenBucket(1000.0, 0.0)
    assert bucket.wait_s(1000, 0.0) == 0.0
    assert bucket.wait_s(250, 0.0) == pytest.approx(1.0)


def test_a_clock_that_goes_back_gives_and_takes_nothing() -> None:
    bucket = TokenBucket(1000.0, 100.0)
    assert bucket.wait_s(250, 100.0) == 0.0
    assert bucket.wait_s(250, 50.0) == pytest.approx(0.25)
    assert bucket.wait_s(250, 50.25) == 0.0
