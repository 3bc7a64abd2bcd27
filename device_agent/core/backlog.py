"""What gives way when more waits for the hub than the device may keep: pure rules.

- Windows are never dropped. Neighbours that count the same thing (model, version, digest and
  plan) are added together: those whose sum spans the shortest time first, among equally long ones
  the oldest. So a long outage costs resolution in time, evenly, and no count.
- Of events, steps give way that a later step of the same deployment has overtaken, oldest first;
  then other steps; an outcome never.
- Samples are a sample: the oldest give way.

What has been sent, or could have been, is not asked here: it keeps its number and its content
until it is acknowledged.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from device_agent.core.states import FINAL
from device_agent.protocol.codec import MAX_DOCUMENT_BYTES, decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.items import Window
from device_agent.protocol.plan import MAX_COUNT
from device_agent.protocol.values import dataclass

MERGES_AT_ONCE = 64
"""Pairs of windows that are added in one go: room for as many new ones."""
MAX_GAP_S = 30 * 86400.0
"""Two windows further apart than this were timed by a clock that was set between them."""
HEAD_BYTES = 512
"""Kept free in a merged window for what it gets around it on the wire."""
_OUTCOMES = frozenset(state.value for state in FINAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What the rules need to know of an item.

    Attributes:
        group: windows of one group may be added together; steps of one group are of one
            deployment. Empty: the item stands alone.
        is_outcome: the last event of a deployment.
        weight: how much is lost with it: samples in it, otherwise 1.
        started_s: of a window.
        ended_s: of a window.
    """

    group: str = ""
    is_outcome: bool = False
    weight: int = 1
    started_s: float = 0.0
    ended_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An item that was not sent yet; ``place`` is its place in the order of a stream."""

    place: int
    size_bytes: int
    label: Label


def label_of(kind: str, body: bytes) -> Label:
    """Return the label of an item's body; one that cannot be read stands alone."""
    try:
        document = decode(body)
        if kind == "telemetry":
            window = Window.from_fields(Fields(document, "window"))
            group = f"{window.model} {window.version} {window.digest} {window.plan}"
            return Label(group=group, started_s=window.started_s, ended_s=window.ended_s)
    except ProtocolError:
        return Label()
    if kind == "event":
        return _event_label(document)
    samples = document.get("samples")
    return Label(weight=len(samples) if isinstance(samples, list) else 1)


def _event_label(event: Mapping[str, Any]) -> Label:
    names = ("model", "generation", "rollout", "digest")
    group = " ".join(str(event.get(name, "")) for name in names)
    return Label(group=group, is_outcome=event.get("state") in _OUTCOMES)


def to_merge(waiting: Sequence[Waiting], most: int = MERGES_AT_ONCE) -> list[tuple[int, int]]:
    """Return pairs of places whose windows are to be added together, at most ``most``.

    Args:
        waiting: oldest first.
        most: pairs at most.

    Returns:
        (earlier place, later place); no place is in two pairs.
    """
    before: dict[str, Waiting] = {}
    pairs: list[tuple[int, int, int]] = []
    for each in waiting:
        group = each.label.group
        if not group:
            continue
        earlier = before.get(group)
        if earlier is not None:
            span_s = abs(each.label.ended_s - earlier.label.started_s)
            pairs.append((math.frexp(span_s)[1], earlier.place, each.place))
        before[group] = each
    chosen: list[tuple[int, int]] = []
    used: set[int] = set()
    for _, one, two in sorted(pairs):
        if len(chosen) == most:
            break
        if one not in used and two not in used:
            chosen.append((one, two))
            used |= {one, two}
    return chosen


def to_drop(
    kind: str, waiting: Sequence[Waiting], *, items: int, size_bytes: int, arriving: Label
) -> list[Waiting] | None:
    """Return what is to be dropped of events or samples, in this order.

    Args:
        kind: ``event`` or ``sample``.
        waiting: oldest first.
        items: how many have to go at least.
        size_bytes: how many bytes have to go at least.
        arriving: the item for which room is made.

    Returns:
        None if there is not enough that may go.
    """
    candidates = _expendable(waiting, arriving) if kind == "event" else list(waiting)
    chosen: list[Waiting] = []
    for each in candidates:
        if items <= 0 and size_bytes <= 0:
            break
        chosen.append(each)
        items -= 1
        size_bytes -= each.size_bytes
    return chosen if items <= 0 and size_bytes <= 0 else None


def _expendable(waiting: Sequence[Waiting], arriving: Label) -> list[Waiting]:
    newest: dict[str, float] = {each.label.group: each.place for each in waiting}
    newest[arriving.group] = math.inf
    steps = [each for each in waiting if not each.label.is_outcome]
    overtaken = [each for each in steps if each.place < newest[each.label.group]]
    return overtaken + [each for each in steps if each.place == newest[each.label.group]]


def merged(one: bytes, two: bytes) -> bytes | None:
    """Return two windows of one group added together; None if the sum cannot be written."""
    try:
        windows = [Window.from_fields(Fields(decode(body), "window")) for body in (one, two)]
        body = encode(add_windows(*windows).to_document())
    except ProtocolError:
        return None
    return body if len(body) <= MAX_DOCUMENT_BYTES - HEAD_BYTES else None


def add_windows(one: Window, two: Window) -> Window:
    """Return the sum of two windows of one group, ``one`` having been counted first.

    It lasts from the first beginning to the last end. If the clock was set between the two, the
    later one's is believed, and the earlier one is put right before it.

    Raises:
        ProtocolError: they do not count the same thing, or a sum is too large to be written.
    """
    if _subject(one) != _subject(two) or len(one.inputs) != len(two.inputs):
        raise ProtocolError("windows of different versions are not added")
    started_s, ended_s = min(one.started_s, two.started_s), max(one.ended_s, two.ended_s)
    if abs(two.started_s - one.ended_s) > MAX_GAP_S:
        started_s = max(0.0, two.started_s - max(0.0, one.ended_s - one.started_s))
        ended_s = two.ended_s
    added = replace(
        two,
        started_s=started_s,
        ended_s=ended_s,
        inferences=one.inferences + two.inferences,
        failures=one.failures + two.failures,
        nonfinite=one.nonfinite + two.nonfinite,
        classes=_added(one.classes, two.classes),
        confidence=_added(one.confidence, two.confidence),
        latency=_added(one.latency, two.latency),
        labelled=one.labelled + two.labelled,
        labelled_correct=one.labelled_correct + two.labelled_correct,
        input_rows=one.input_rows + two.input_rows,
        inputs=_added(one.inputs, two.inputs),
    )
    if _largest(added) > MAX_COUNT:
        raise ProtocolError("the sum of two windows is too large")
    return added


def _largest(window: Window) -> int:
    single = (window.inferences, window.failures, window.labelled, window.input_rows)
    return max(*single, *window.classes, *window.confidence, *window.latency, *window.inputs)


def _subject(window: Window) -> tuple[object, ...]:
    return (window.model, window.version, window.digest, window.plan)


def _added(one: Sequence[int], two: Sequence[int]) -> tuple[int, ...]:
    longer, shorter = (one, two) if len(one) >= len(two) else (two, one)
    rest: Iterable[int] = longer[len(shorter) :]
    return (*(a + b for a, b in zip(longer, shorter, strict=False)), *rest)
