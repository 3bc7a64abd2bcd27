"""3. How versions reached the devices."""

from __future__ import annotations

from dataclasses import replace

from edgeops.reports.chapters.desk import Desk
from edgeops.reports.document import Block, Cell, Column, Heading, Picture, Section, Table
from edgeops.reports.facts import RolloutFacts
from edgeops.reports.figures.rollout import draw_rollout
from edgeops.reports.wording import counted, worded

_MAX_NAMED = 20
_MAX_BARS = 120
"""Bars of a rollout; of more devices, those that failed and then the first ones."""


def rollouts(desk: Desk) -> Section:
    """Return a figure for each rollout, and who failed why."""
    blocks: list[Block] = []
    for rollout in desk.facts.rollouts:
        blocks += _of_rollout(desk, rollout)
    return Section(
        anchor="rollouts",
        title="Rollouts, device by device",
        lead=(
            "A new version is tried on a few devices first and on more only if it does well there; "
            "each bar is one device, its colour says how it ended, its shades are the steps."
        ),
        blocks=tuple(blocks),
    )


def _of_rollout(desk: Desk, rollout: RolloutFacts) -> list[Block]:
    aside = worded(rollout.state) + (f": {rollout.why}" if rollout.why else "")
    name = f"Rollout {rollout.id}: version {rollout.number}"
    blocks: list[Block] = [Heading(text=name, aside=aside)]
    if rollout.members:
        left_out = len(rollout.members) - _MAX_BARS
        waves = counted(len({each.wave for each in rollout.members}), "wave")
        blocks.append(
            Picture(
                svg=desk.canvas.draw(
                    lambda: draw_rollout(_to_be_drawn(rollout), desk.moments), name
                ),
                caption=(
                    f"{counted(len(rollout.members), 'device')} in {waves}, begun at "
                    f"{desk.when(rollout.created_s)}. A bar goes from the order to the end; a "
                    "dotted line is a device that was never asked."
                    + (f" {left_out} of them are not drawn." if left_out > 0 else "")
                ),
            )
        )
    failed = [each for each in rollout.members if each.has_failed]
    if failed:
        titles = ("device", "outcome", "reason", "at")
        blocks.append(
            Table(
                columns=tuple(Column(title=title) for title in titles),
                rows=tuple(
                    (
                        Cell(text=each.device, is_code=True),
                        Cell(text=worded(each.state), tone="bad"),
                        Cell(text=each.reason or "not said"),
                        Cell(text=desk.when(each.ended_s)),
                    )
                    for each in failed[:_MAX_NAMED]
                ),
                note=f"{len(failed) - _MAX_NAMED} more." if len(failed) > _MAX_NAMED else "",
            )
        )
    return blocks


def _to_be_drawn(rollout: RolloutFacts) -> RolloutFacts:
    order = sorted(rollout.members, key=lambda each: (not each.has_failed, each.wave))
    return replace(rollout, members=tuple(order[:_MAX_BARS]))
