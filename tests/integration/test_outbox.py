"""The outbox: what was accepted is sent until it is acknowledged, whatever happens to us."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.reasons import Reason
from device_agent.shell.outbox import RESEND_AFTER_S, Outbox, OutboxOptions
from device_agent.shell.outbox_room import SEND_AT_ONCE, Bound
from tests.agent_values import event, window

MOST = 2 * SEND_AT_ONCE
_SMALL = Bound(items=MOST, size_bytes=10**6)
SMALL = OutboxOptions(events=_SMALL, telemetry=_SMALL, samples=_SMALL, burst_bytes=10**9)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "outbox.sqlite")
    yield made
    made.close()


def put(outbox: Outbox, count: int, kind: str = "event") -> str:
    """Put some items; return the name of their stream."""
    for number in range(count):
        outbox.put(kind, b"%d" % number)
    return next(name for each, name, _ in outbox._streams() if each == kind)


def due(outbox: Outbox, now_s: float, kind: str = "event") -> list[int]:
    return [item.sequence for item in outbox.due(now_s) if item.kind == kind]


def minute(number: int) -> bytes:
    """Return the window of one minute."""
    each = replace(window(), started_s=60.0 * number, ended_s=60.0 * (number + 1))
    return encode(each.to_document())


def outcome(number: int) -> bytes:
    """Return the last event of a deployment."""
    return encode(replace(event(), generation=number, state="committed").to_document())


def drained(outbox: Outbox, kind: str) -> list[bytes]:
    """Acknowledge a stream to its end; return its bodies, whose numbers have no gap."""
    bodies: list[bytes] = []
    expected = None
    while items := [item for item in outbox.due(0.0) if item.kind == kind]:
        for item in items:
            assert expected in (None, item.sequence)
            expected = item.sequence + 1
            bodies.append(item.body)
            outbox.acknowledge(item.stream, item.sequence)
    return bodies


def test_items_are_numbered_from_one_and_sent_in_order_with_their_bodies(outbox: Outbox) -> None:
    stream = put(outbox, 3)
    items = outbox.due(0.0)
    assert [(item.stream, item.sequence, item.body) for item in items] == [
        (stream, 1, b"0"),
        (stream, 2, b"1"),
        (stream, 3, b"2"),
    ]


def test_each_kind_has_a_stream_and_numbers_of_its_own(outbox: Outbox) -> None:
    assert put(outbox, 2, "event") != put(outbox, 1, "telemetry")
    assert (due(outbox, 0.0), due(outbox, 9.0, "telemetry")) == ([1, 2], [1])


def test_what_was_sent_is_not_sent_again_until_the_answer_is_late(outbox: Outbox) -> None:
    put(outbox, 2)
    assert due(outbox, 0.0) == [1, 2]
    assert due(outbox, RESEND_AFTER_S - 0.1) == []
    assert due(outbox, RESEND_AFTER_S) == [1, 2]
    assert due(outbox, RESEND_AFTER_S + 0.1) == []


def test_a_new_connection_makes_everything_due_again(outbox: Outbox) -> None:
    put(outbox, 2)
    outbox.due(0.0)
    outbox.resend_all()
    assert due(outbox, 0.1) == [1, 2]


def test_at_most_a_batch_is_under_way_and_acknowledgements_let_the_next_follow(
    outbox: Outbox,
) -> None:
    stream = put(outbox, SEND_AT_ONCE + 5)
    assert due(outbox, 0.0) == list(range(1, SEND_AT_ONCE + 1))
    assert due(outbox, 0.1) == []
    outbox.acknowledge(stream, 3)
    assert due(outbox, 0.2) == [SEND_AT_ONCE + 1, SEND_AT_ONCE + 2, SEND_AT_ONCE + 3]


def test_a_whole_batch_is_acknowledged_at_once_and_no_more_than_was_sent(outbox: Outbox) -> None:
    stream = put(outbox, SEND_AT_ONCE + 5)
    outbox.due(0.0)
    outbox.acknowledge(stream, SEND_AT_ONCE + 1)
    assert outbox.depth() == SEND_AT_ONCE + 5
    outbox.acknowledge(stream, SEND_AT_ONCE)
    assert outbox.depth() == 5


def test_what_is_accepted_is_on_the_disk_when_put_returns(outbox: Outbox) -> None:
    put(outbox, 1)
    assert outbox._opened is not None
    assert outbox._opened.execute("PRAGMA synchronous").fetchone() == (2,), "FULL: each commit"
    assert outbox._opened.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_an_acknowledgement_is_cumulative(outbox: Outbox) -> None:
    stream = put(outbox, 5)
    outbox.due(0.0)
    outbox.acknowledge(stream, 3)
    assert outbox.depth() == 2
    outbox.resend_all()
    assert due(outbox, 0.0) == [4, 5]
    assert {item.oldest for item in outbox.due(99.0)} == {4}


def test_old_repeated_and_impossible_acknowledgements_change_nothing(outbox: Outbox) -> None:
    stream = put(outbox, 5)
    outbox.due(0.0)
    outbox.acknowledge(stream, 3)
    for name, number in [(stream, 3), (stream, 1), (stream, 0), (stream, 6), ("other", 5)]:
        outbox.acknowledge(name, number)
    outbox.resend_all()
    assert (outbox.depth(), due(outbox, 0.0)) == (2, [4, 5])


def test_what_was_never_sent_cannot_be_acknowledged(outbox: Outbox) -> None:
    stream = put(outbox, 2)
    outbox.acknowledge(stream, 1)
    assert (outbox.depth(), due(outbox, 0.0)) == (2, [1, 2])
    put(outbox, 1)
    outbox.acknowledge(stream, 3)
    assert outbox.depth() == 3
    outbox.resend_all()  # what was sent before the connection was lost was sent
    outbox.acknowledge(stream, 2)
    assert (outbox.depth(), due(outbox, 0.1)) == (1, [3])


def test_numbers_go_on_after_everything_was_acknowledged_and_after_a_restart(
    tmp_path: Path,
) -> None:
    first = Outbox(tmp_path / "outbox.sqlite")
    stream = put(first, 3)
    first.due(0.0)
    first.acknowledge(stream, 3)
    first.close()
    again = Outbox(tmp_path / "outbox.sqlite")
    again.put("event", b"x")
    assert [(item.stream, item.sequence) for item in again.due(0.0)] == [(stream, 4)]
    again.close()


def test_another_database_is_another_stream(tmp_path: Path) -> None:
    names = set()
    for number in range(2):
        made = Outbox(tmp_path / f"{number}.sqlite")
        names.add(put(made, 1))
        made.close()
    assert len(names) == 2


def test_a_full_stream_of_outcomes_refuses_and_the_other_one_does_not(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite", options=SMALL)
    for number in range(MOST):
        outbox.put("event", outcome(number))
    with pytest.raises(StorageFailed) as raised:
        outbox.put("event", outcome(MOST))
    assert raised.value.reason is Reason.DISK_FULL
    outbox.put("telemetry", minute(0))
    (stream,) = {item.stream for item in outbox.due(0.0) if item.kind == "event"}
    outbox.acknowledge(stream, 1)
    outbox.put("event", outcome(MOST))
    assert (outbox.depth(), outbox.given_way()["events"]) == (MOST + 1, 0)
    outbox.close()


# ---- making room


def test_a_full_stream_of_windows_takes_more_and_every_count_is_in_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite", options=SMALL)
    for number in range(10 * MOST):
        outbox.put("telemetry", minute(number))
        assert outbox.depth() <= MOST
    merged = outbox.given_way()["merged"]
    assert merged == 10 * MOST - outbox.depth()
    bodies = [decode(body) for body in drained(outbox, "telemetry")]
    assert sum(each["inferences"] for each in bodies) == 10 * MOST * window().inferences
    starts = [each["started_s"] for each in bodies]
    ends = [each["ended_s"] for each in bodies]
    assert (starts[0], ends[-1]) == (0.0, 600.0 * MOST)
    assert starts[1:] == ends[:-1]
    outbox.close()


def test_a_bound_of_bytes_holds_as_one_of_items_does(tmp_path: Path) -> None:
    most = 40 * len(minute(0))
    bound = Bound(items=10_000, size_bytes=most)
    outbox = Outbox(tmp_path / "outbox.sqlite", options=OutboxOptions(telemetry=bound))
    for number in range(400):
        outbox.put("telemetry", minute(number))
    (used,) = outbox._database.execute("SELECT sum(length(body)) FROM item").fetchone()
    (said,) = outbox._database.execute("SELECT sum(bytes) FROM stream").fetchone()
    assert used == said <= most
    bodies = [decode(body) for body in drained(outbox, "telemetry")]
    assert sum(each["inferences"] for each in bodies) == 400 * window().inferences
    outbox.close()


def test_what_was_sent_keeps_number_and_content_while_others_are_added(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite", options=SMALL)
    for number in range(MOST):
        outbox.put("telemetry", minute(number))
    sent = {item.sequence: item.body for item in outbox.due(0.0)}
    assert len(sent) == SEND_AT_ONCE
    for number in range(MOST, 4 * MOST):
        outbox.put("telemetry", minute(number))
    outbox.resend_all()
    assert {item.sequence: item.body for item in outbox.due(1.0)} == sent
    outbox.close()


def test_what_is_dropped_is_counted_sample_by_sample_and_survives_a_restart(
    tmp_path: Path,
) -> None:
    outbox = Outbox(tmp_path / "outbox.sqlite", options=SMALL)
    for number in range(MOST + 5):
        outbox.put("sample", encode({"samples": [{"n": number}] * 3}))
        outbox.put("event", encode(event().to_document() | {"state": "fetch", "at_s": number}))
    gone = {"merged": 0, "samples": 15, "events": 5}
    assert outbox.given_way() == gone
    outbox.close()
    again = Outbox(tmp_path / "outbox.sqlite", options=SMALL)
    assert again.given_way() == gone
    numbers = [decode(body)["samples"][0]["n"] for body in drained(again, "sample")]
    assert numbers == [*range(SEND_AT_ONCE), *range(SEND_AT_ONCE + 5, MOST + 5)]
    again.close()


def test_a_bound_that_leaves_nothing_to_give_way_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 32"):
        Bound(items=2 * SEND_AT_ONCE - 1, size_bytes=10**6)


# ---- sending


def test_while_nothing_is_acknowledged_the_pauses_double_and_an_answer_ends_that(
    outbox: Outbox,
) -> None:
    stream = put(outbox, 2)
    sent_s = [now_s / 2 for now_s in range(600) if due(outbox, now_s / 2)]
    assert sent_s == [0.0, 5.0, 15.0, 35.0, 75.0, 155.0, 235.0]
    outbox.acknowledge(stream, 1)
    assert (due(outbox, 239.5), due(outbox, 240.0)) == ([], [2])


def test_a_backlog_is_sent_within_the_pace_and_events_come_first(tmp_path: Path) -> None:
    options = OutboxOptions(drain_bytes_per_s=1000.0, burst_bytes=1000.0)
    outbox = Outbox(tmp_path / "outbox.sqlite", options=options)
    for number in range(3):
        outbox.put("telemetry", b"%d" % number * 744)
        outbox.put("event", b"%d" % number * 744)
    sent = [(item.kind, item.sequence) for now_s in range(6) for item in outbox.due(now_s)]
    assert sent == [(kind, at) for kind in ("event", "telemetry") for at in (1, 2, 3)]
    outbox.close()


def test_an_item_knows_its_age_for_as_long_as_the_machine_is_not_started_anew(
    tmp_path: Path,
) -> None:
    path, now_s = tmp_path / "outbox.sqlite", [50.0]
    made = Outbox(path, clock=lambda: now_s[0], boot="first")
    made.put("event", b"x")
    made.close()
    now_s[0] = 80.5
    again = Outbox(path, clock=lambda: now_s[0], boot="first")
    assert [item.age_s for item in again.due(0.0)] == [30.5]
    again.close()
    other = Outbox(path, clock=lambda: now_s[0], boot="second")
    assert [item.age_s for item in other.due(0.0)] == [None]
    other.close()


# ---- its database


def test_the_database_and_the_names_of_its_streams_can_be_given() -> None:
    uri = "file:outbox-of-a-test?mode=memory&cache=shared"
    kept = sqlite3.connect(uri, uri=True)  # memory lasts as long as somebody is connected
    names = iter(["one", "two", "three", "four"])

    def opened() -> Outbox:
        return Outbox(lambda: sqlite3.connect(uri, uri=True), new_id=lambda: next(names))

    first = opened()
    first.put("event", b"x")
    first.close()
    again = opened()
    assert [(item.stream, item.sequence, item.body) for item in again.due(0.0)] == [
        ("one", 1, b"x")
    ]
    again.close()
    kept.close()


OLD_TABLES = """
CREATE TABLE stream (
    kind TEXT PRIMARY KEY, name TEXT NOT NULL, last INTEGER NOT NULL, acked INTEGER NOT NULL
);
CREATE TABLE item (
    kind TEXT NOT NULL, sequence INTEGER NOT NULL, body BLOB NOT NULL,
    PRIMARY KEY (kind, sequence)
) WITHOUT ROWID;
INSERT INTO stream VALUES ('event', 'e', 7, 5), ('telemetry', 't', 130, 30), ('sample', 's', 0, 0);
INSERT INTO item VALUES ('event', 6, X'36'), ('event', 7, X'37');
"""


def test_the_outbox_of_an_older_agent_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    old = sqlite3.connect(path)
    old.executescript(OLD_TABLES)
    rows = [("telemetry", 31 + number, minute(number)) for number in range(100)]
    old.executemany("INSERT INTO item VALUES (?, ?, ?)", rows)
    old.commit()
    old.close()
    for _ in range(2):
        outbox = Outbox(path, options=SMALL)
        items = outbox.due(0.0)
        outbox.close()
    assert [(i.stream, i.sequence, i.body) for i in items if i.kind == "event"] == [
        ("e", 6, b"6"),
        ("e", 7, b"7"),
    ]
    assert items[2].sequence == items[2].oldest == 31
    outbox = Outbox(path, options=SMALL)
    assert outbox.depth() == 102
    outbox.put("telemetry", minute(100))
    assert outbox.depth() <= MOST + 2
    bodies = [decode(body) for body in drained(outbox, "telemetry")]
    assert sum(each["inferences"] for each in bodies) == 101 * window().inferences
    outbox.close()


def test_a_database_that_cannot_grow_says_that_the_disk_is_full_and_recovers(
    outbox: Outbox,
) -> None:
    put(outbox, 1)
    (pages,) = outbox._database.execute("PRAGMA page_count").fetchone()
    outbox._database.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageFailed) as raised:
        for _ in range(50):
            outbox.put("event", b"x" * 1000)
    assert raised.value.reason is Reason.DISK_FULL
    kept = outbox.depth()
    outbox._database.execute("PRAGMA max_page_count=100000")
    outbox.put("event", b"y")
    assert outbox.depth() == kept + 1


@pytest.mark.parametrize("damage", [b"", b"not a database" * 100])
def test_a_file_that_is_no_database_is_put_aside_and_the_device_goes_on(
    tmp_path: Path, damage: bytes
) -> None:
    path = tmp_path / "outbox.sqlite"
    path.write_bytes(damage)
    outbox = Outbox(path)
    outbox.put("event", b"x")
    assert [item.body for item in outbox.due(0.0)] == [b"x"]
    assert (tmp_path / "outbox.damaged").exists() == bool(damage)
    outbox.close()


def test_a_database_that_could_once_be_opened_only_for_reading_is_written_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "outbox.sqlite"
    Outbox(path).close()
    modes = iter(["ro", "rw"])  # SQLite itself falls back to reading if the opening fails
    outbox = Outbox(lambda: sqlite3.connect(f"file:{path}?mode={next(modes)}", uri=True))
    with pytest.raises(StorageFailed, match="readonly"):
        put(outbox, 1)
    put(outbox, 1)
    assert due(outbox, 0.0) == [1]
    outbox.close()


def test_a_database_that_is_damaged_later_is_put_aside_with_its_streams(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    outbox = Outbox(path)
    outbox.put("event", b"x")
    (before,) = outbox.due(0.0)
    outbox.close()
    path.write_bytes(path.read_bytes()[:1000] + b"\xff" * 5000)
    again = Outbox(path)
    for _ in range(2):
        with contextlib.suppress(StorageFailed):
            again.put("event", b"y")
    again.put("event", b"z")
    assert again.due(0.0)[0].stream != before.stream
    again.close()


def test_it_may_be_read_beside_a_running_agent(outbox: Outbox, tmp_path: Path) -> None:
    put(outbox, 3)
    reader = sqlite3.connect(f"file:{tmp_path / 'outbox.sqlite'}?mode=ro", uri=True)
    assert reader.execute("SELECT count(*) FROM item").fetchone() == (3,)
    reader.close()
    outbox.put("event", b"x")
    assert due(outbox, 0.0) == [1, 2, 3, 4]
