"""What outboxes send: each item taken once, in order, then acknowledged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from device_agent.protocol.ids import DeviceId, ModelName
from device_agent.protocol.items import Event, Numbered, Window
from device_agent.protocol.orders import Ack
from device_agent.protocol.outcomes import CommandOutcome
from edgeops.fleet.clocks import Heard, put_right
from edgeops.service import commands, drift, rollouts
from edgeops.service.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What became of an outbox item.

    Attributes:
        ack: what the device may forget.
        windows: how many windows became what, in the words of ``drift.observe``; none of an item
            that was taken before or is not taken yet.
        outcome: what became of a command's outcome, in the words of ``commands.answered``; empty
            if it was none, or is not taken now.
        retimed: of how many parts the times could not be right and were moved.
    """

    ack: Ack
    windows: Mapping[str, int] = field(default_factory=dict)
    outcome: str = ""
    retimed: int = 0


def take(context: Context, name: DeviceId, kind: str, numbered: Numbered) -> Taken | None:
    """Take an outbox item and return what became of it; None for an unknown device.

    Idempotent: an item that was taken before only gives the acknowledgement again. An item
    after a gap is not taken; the device sends from the gap on again. If the gap is before the
    oldest item that the device holds (this hub was restored from a copy), it is passed over.
    """
    with context.database.begin() as work:
        device = work.fleet.get(name)
        if device is None:
            return None
        last = work.inbox.sequence_of(name, kind, numbered.stream)
        expected = numbered.oldest if last is None else max(last + 1, numbered.oldest)
        if numbered.sequence != expected:
            return Taken(ack=Ack(stream=numbered.stream, sequence=expected - 1))
        work.inbox.advance(name, kind, numbered.stream, numbered.sequence)
        heard = Heard(
            received_s=context.clock(), enrolled_s=device.enrolled_s, age_s=numbered.age_s
        )
        numbered, retimed = put_right(numbered, heard)
        words: Counter[str] = Counter()
        outcome = ""
        if isinstance(numbered.body, CommandOutcome):
            outcome = commands.answered(context, work, name, numbered.body)
        if isinstance(numbered.body, Event):
            rollouts.device_event(context, work, name, numbered.body)
        if numbered.samples:
            work.retraining.add_samples(name, numbered.stream, numbered.sequence, numbered.samples)
        work.inbox.add_windows(name, numbered.stream, numbered.sequence, numbered.windows)
        for window in numbered.windows:
            words[drift.observe(context, work, name, window)] += 1
    ack = Ack(stream=numbered.stream, sequence=numbered.sequence)
    return Taken(ack=ack, windows=words, outcome=outcome, retimed=retimed)


def forget_old_windows(context: Context, *, days: float) -> int:
    """Remove windows and samples older than this; return how many.

    What windows said lives on in watches and alarms; samples in the data sets made of them.
    """
    before_s = context.clock() - days * 86400.0
    with context.database.begin() as work:
        return work.inbox.forget_windows(before_s) + work.retraining.forget_samples(before_s)


def windows(
    context: Context, model: ModelName, device: DeviceId | None, *, limit: int
) -> tuple[tuple[DeviceId, Window], ...]:
    """Return the newest windows of a model (of one device, if given), newest first."""
    with context.database.read() as work:
        return work.inbox.windows_of(model, device, limit=limit)
