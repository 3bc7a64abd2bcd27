"""What is expected of every row of the agent's table: the states that follow, and how it is tried.

A row that is missing here fails the suite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from device_agent.core.states import EventType, State

WAY = (
    "admission manifest precheck fetch verify stage self_test standby activate probation commit "
    "committed"
).split()
BACK = ["roll_back", "rolled_back"]


@dataclass(frozen=True)
class Row:
    """What follows an event if all goes well from there on.

    Attributes:
        states: entered after the event, to the end.
        tried: how the real agent is brought there: ``kill`` (power), ``error`` (the journal's
            disk), ``hang`` (nothing comes), or what else; empty: the row is only a safeguard,
            no act of today gives this event there, and the table alone is tried.
    """

    states: tuple[str, ...]
    tried: str = ""


def _after(state: str) -> list[str]:
    return WAY[WAY.index(state) + 1 :]


def _rows(state: str, failed: list[str], **tried: str) -> dict[tuple[State, EventType], Row]:
    """The rows that every state has: it goes on, or one of three failures ends it."""
    onwards = _after(state)
    at = State(state)
    return {
        (at, EventType.DONE): Row(tuple(onwards), "good way"),
        (at, EventType.RESTARTED): Row((state, *onwards), "kill"),
        (at, EventType.STORAGE_FAILED): Row(tuple(failed), "error"),
        (at, EventType.TIMED_OUT): Row(tuple(failed), tried.get("timed_out", "")),
        (at, EventType.REFUSED): Row(tuple(failed), tried.get("refused", "")),
    }


def _superseded(state: str, tried: str = "") -> dict[tuple[State, EventType], Row]:
    return {(State(state), EventType.SUPERSEDED): Row(("failed",), tried)}


FAILED = ["failed"]
EXPECTED: Mapping[tuple[State, EventType], Row] = {
    **_rows("admission", FAILED, refused="quarantined package"),
    **_rows("manifest", FAILED, timed_out="hang", refused="unsigned package"),
    **_rows("precheck", FAILED, refused="no room"),
    **_rows("fetch", FAILED, timed_out="hang", refused="damaged manifest"),
    **_rows("verify", FAILED, refused="damaged manifest"),
    **_rows("stage", FAILED),
    **_rows("self_test", FAILED, refused="hang"),
    **_rows("standby", FAILED),
    **_rows("activate", BACK, refused="damaged artifact"),
    **_rows("probation", BACK, timed_out="hang", refused="bad model"),
    **_rows("commit", BACK),
    **_superseded("admission"),
    **_superseded("manifest", "newer order"),
    **_superseded("precheck"),
    **_superseded("fetch", "newer order"),
    **_superseded("verify"),
    **_superseded("stage", "newer order"),
    (State.MANIFEST, EventType.CORRUPT): Row(("manifest", *_after("manifest")), "spoiled chunks"),
    (State.FETCH, EventType.CORRUPT): Row(("fetch", *_after("fetch"))),
    (State.VERIFY, EventType.CORRUPT): Row(("fetch", *_after("fetch")), "damaged download"),
    (State.ACTIVATE, EventType.KNOWN_GOOD): Row(("commit", "committed"), "order of before"),
    (State.ROLL_BACK, EventType.DONE): Row(("rolled_back",), "bad model"),
    (State.ROLL_BACK, EventType.RESTARTED): Row(("roll_back", "rolled_back"), "kill"),
    (State.ROLL_BACK, EventType.STORAGE_FAILED): Row(("roll_back", "rolled_back"), "full disk"),
    (State.ROLL_BACK, EventType.TIMED_OUT): Row(("roll_back", "rolled_back")),
    (State.ROLL_BACK, EventType.REFUSED): Row(("failed",)),
}
