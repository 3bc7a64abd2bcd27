"""Samples: none without the owner's word, bounded with it, labels if they come in time."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from device_agent.monitor.samples import SampleDesk, SampleOptions
from device_agent.protocol.codec import MAX_DOCUMENT_BYTES, decode
from device_agent.protocol.errors import BadInput, ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import DeviceId, ModelName, digest_of
from device_agent.protocol.items import Numbered
from device_agent.protocol.samples import MAX_SAMPLE_BYTES, Sample
from device_agent.shell.outbox import Outbox, OutboxOptions
from device_agent.shell.reporter import Reporter

ROW = np.arange(4, dtype=np.float32)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def desk(clock: Clock | None = None, **options: float) -> SampleDesk:
    chosen = SampleOptions(**{"share": 1.0, **options})  # type: ignore[arg-type]
    return SampleDesk(chosen, random.Random(0), clock=clock or Clock(), wall_clock=lambda: 1e9)


def offer(to: SampleDesk, row: object = ROW) -> int | None:
    return to.offer(ModelName("kws"), 1, digest_of(b""), row, 2, 0.5)


def test_nothing_leaves_by_default() -> None:
    quiet = SampleDesk(SampleOptions(), random.Random(0))
    assert [offer(quiet) for _ in range(100)] == [None] * 100
    assert quiet.take(everything=True) == []


def test_a_labelled_row_is_ready_at_once_and_reads_back_as_it_was() -> None:
    here = desk()
    ticket = offer(here)
    assert here.take() == []
    here.label(ticket, 3)
    (sample,) = here.take()
    assert (sample.label, sample.class_index, sample.dtype, sample.shape) == (3, 2, "float32", (4,))
    assert np.array_equal(np.frombuffer(sample.data, np.float32), ROW)
    assert Sample.from_fields(Fields(sample.to_document(), "sample")) == sample


def test_a_label_that_comes_too_late_is_not_waited_for() -> None:
    clock = Clock()
    here = desk(clock, label_wait_s=10)
    ticket = offer(here)
    clock.now_s = 11
    assert [sample.label for sample in here.take()] == [None]
    here.label(ticket, 1)
    assert here.take() == []


def test_the_hour_has_a_bound_and_so_has_what_waits() -> None:
    clock = Clock()
    here = desk(clock, most_per_hour=3, most_waiting=2)
    assert sum(offer(here) is not None for _ in range(10)) == 3
    assert len(here.take()) == 1
    assert len(here.take(everything=True)) == 2
    clock.now_s = 3601
    assert offer(here) is not None


def test_about_the_share_is_chosen() -> None:
    here = desk(share=0.1, most_per_hour=10_000, most_waiting=10_000)
    assert 60 < sum(offer(here) is not None for _ in range(1000)) < 140


def test_a_row_that_is_too_large_for_a_message_stays() -> None:
    assert offer(desk(), np.zeros(MAX_SAMPLE_BYTES // 4 + 1, np.float32)) is None


@pytest.mark.parametrize(
    "options",
    [
        {"share": 1.5},
        {"share": -0.1},
        {"share": float("nan")},
        {"most_per_hour": -1},
        {"label_wait_s": float("nan")},
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(BadInput):
        SampleOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value"),
    [("shape", [5]), ("dtype", "object"), ("data", "AAAA"), ("label", -1), ("confidence", 2.0)],
)
def test_a_sample_that_contradicts_itself_is_refused(field: str, value: object) -> None:
    here = desk()
    offer(here)
    document = {**here.take(everything=True)[0].to_document(), field: value}
    with pytest.raises(ProtocolError):
        Sample.from_fields(Fields(document, "sample"))


def test_samples_travel_many_in_one_item_that_is_small_enough(tmp_path: Path) -> None:
    here = desk(most_per_hour=2000, most_waiting=2000)
    for number in range(600):
        offer(here, np.full(64, number, np.float32))
    outbox = Outbox(tmp_path / "outbox.sqlite", options=OutboxOptions(burst_bytes=10**9))
    reporter = Reporter(DeviceId("cam-1"), outbox)
    reporter.samples_chosen(here.take(everything=True))
    sent = [payload for _, payload in reporter.due(0.0)]
    outbox.close()
    assert all(len(payload) <= MAX_DOCUMENT_BYTES for payload in sent)
    read = [Numbered.from_document(decode(payload), "sample") for payload in sent]
    assert sum(len(each.samples) for each in read) == 600
    assert len(read) < 12
