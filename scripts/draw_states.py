#!/usr/bin/env python3
"""Draw the state tables as Mermaid diagrams, between markers in ``docs/architecture.md``.

Run ``scripts/draw_states.py`` after a change of a table; ``--check`` only tells whether the
document is up to date (exit code 1 if it is not), ``--print`` writes the diagrams alone.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from enum import Enum
from pathlib import Path

from device_agent.core import states
from edgeops.domain.rollout import RolloutState
from edgeops.rollout import machine

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "architecture.md"


def draw(first: Enum, table: Mapping[tuple[Enum, Enum], Enum], final: Collection[Enum]) -> str:
    """Return a table as a Mermaid state diagram; one arrow for all events between two states."""
    arrows: dict[tuple[Enum, Enum], list[str]] = {}
    for (state, event), following in table.items():
        arrows.setdefault((state, following), []).append(event.value)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {first.value}"]
    lines += [
        f"    {state.value} --> {following.value}: {', '.join(events)}"
        for (state, following), events in arrows.items()
    ]
    lines += [f"    {state.value} --> [*]" for state in type(first) if state in final]
    return "\n".join([*lines, "```"])


def diagrams() -> dict[str, str]:
    """Return each diagram by the name of its markers."""
    return {
        "agent": draw(states.State.ADMISSION, states.TRANSITIONS, states.FINAL),
        "rollout": draw(RolloutState.RUNNING, machine.TRANSITIONS, machine.FINAL),
    }


def updated(text: str) -> str:
    """Return the document with every diagram replaced.

    Raises:
        ValueError: a marker is missing.
    """
    for name, diagram in diagrams().items():
        begin, end = f"<!-- states: {name} -->\n", f"<!-- end of states: {name} -->"
        head, _, rest = text.partition(begin)
        _, found, tail = rest.partition(end)
        if not found:
            raise ValueError(f"{DOCUMENT} has no markers for the states of {name}")
        text = head + begin + diagram + "\n" + end + tail
    return text


def main(arguments: list[str]) -> int:
    """Update, check or print; return the exit code."""
    if arguments == ["--print"]:
        print("\n\n".join(diagrams().values()))
        return 0
    before = DOCUMENT.read_text(encoding="utf-8")
    after = updated(before)
    if arguments == ["--check"]:
        if after != before:
            print(f"{DOCUMENT} is out of date: run scripts/draw_states.py", file=sys.stderr)
        return int(after != before)
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    DOCUMENT.write_text(after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
