"""`edgeops simulate`: the agent and the hub in a world of faults, by seeds."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict

import click
from click.core import ParameterSource
from rich.live import Live
from rich.table import Table

from edgeops.cli.output import (
    EXIT_FAILED,
    console,
    errors_shown,
    output_option,
    plain,
    say,
    show_json,
)
from edgeops.simulation.run import DEVICES, Outcome, simulate_all
from edgeops.simulation.scenario import SCENARIOS

MOST_SHOWN = 20


class Summary:
    """What came of the seeds so far."""

    def __init__(self, scenario: str, devices: int, seeds: int) -> None:
        """Begin with nothing."""
        self.scenario = scenario
        self.devices = devices
        self.seeds = seeds
        self.done = self.events = self.installs = 0
        self.faults = Counter[str]()
        self.virtual_s = 0.0
        self.violations: list[Outcome] = []
        self.digests: dict[int, str] = {}
        self._began_s = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Count an outcome."""
        self.done += 1
        self.events += outcome.events
        self.installs += outcome.installs
        self.virtual_s += outcome.seconds
        self.digests[outcome.seed] = outcome.digest
        self.faults.update(outcome.faults)
        if outcome.violation:
            self.violations.append(outcome)

    def table(self) -> Table:
        """Return what a person looks at while it runs."""
        table = Table(box=None, pad_edge=False, show_header=False)
        rows = (
            ("scenario", f"{self.scenario}, {self.devices} devices"),
            ("seeds", f"{self.done} of {self.seeds}{self._time_left()}"),
            ("virtual time", f"{self.virtual_s / 3600:.1f} h in {self.events} events"),
            ("installs", f"{self.installs} committed"),
            ("faults", _in_words(self.faults) or "none"),
            ("violations", str(len(self.violations))),
        )
        for what, value in rows:
            table.add_row(
                what, f"[red]{value}[/red]" if what == "violations" and self.violations else value
            )
        return table

    def _time_left(self) -> str:
        """Nobody knows it before the first world has ended."""
        if self.done in (0, self.seeds):
            return ""
        took_s = time.monotonic() - self._began_s
        return f", about {took_s / self.done * (self.seeds - self.done):.0f} s left"

    def document(self) -> dict[str, object]:
        """Return it as JSON-ready values."""
        return {
            "scenario": self.scenario,
            "devices": self.devices,
            "seeds": self.done,
            "events": self.events,
            "installs": self.installs,
            "virtual_s": round(self.virtual_s, 3),
            "faults": dict(sorted(self.faults.items())),
            "digests": self.digests,
            "violations": [{**asdict(each), "replay": each.replay} for each in self.violations],
        }


@click.command()
@click.option("--seeds", default=100, show_default=True, type=click.IntRange(1), help="How many.")
@click.option("--seed", type=click.IntRange(0), help="This one alone.")
@click.option(
    "--first", default=0, show_default=True, type=click.IntRange(0), help="First of them."
)
@click.option(
    "--devices",
    default=DEVICES,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Devices of each world.",
)
@click.option(
    "--scenario",
    default="everything",
    show_default=True,
    type=click.Choice(list(SCENARIOS)),
    help="What kind of world.",
)
@click.option("--scenarios", is_flag=True, help="List the scenarios and end.")
@click.option(
    "--jobs",
    default=os.cpu_count() or 1,
    show_default="processors",
    type=click.IntRange(1),
    help="Worlds at a time.",
)
@click.option("--show-log", is_flag=True, help="Show the last events and the hash of each world.")
@output_option
@errors_shown
def simulate(
    seeds: int,
    seed: int | None,
    first: int,
    devices: int,
    scenario: str,
    scenarios: bool,
    jobs: int,
    show_log: bool,
    output: str,
) -> None:
    """Let the real agent and the real hub live through seeded faults, and watch them.

    Devices lose power between any two effects, networks lose, repeat and spoil messages, disks
    fill up, clocks jump, models are bad, the broker forgets, the hub crashes. Seven invariants are
    checked after every event, and in the end a good version must reach every device. One seed is
    always the same world: a violation is shown as soon as it is found, with the command that shows
    it again. Exit code 1 if an invariant did not hold, or if it was stopped.
    """
    _check_options(show_log=show_log, output=output)
    if scenarios:
        _list_scenarios(output)
        return
    logging.disable(logging.CRITICAL)  # thousands of faults are logged; the summary counts them
    chosen = range(first, first + seeds) if seed is None else range(seed, seed + 1)
    summary = Summary(scenario, devices, len(chosen))
    outcomes = simulate_all(chosen, SCENARIOS[scenario], devices, jobs=min(jobs, len(chosen)))
    try:
        _follow(summary, outcomes, show_log=show_log, output=output)
    except KeyboardInterrupt:
        say(f"stopped after {summary.done} of {summary.seeds} seeds")
    finally:
        outcomes.close()
    _conclude(summary, output)


def _in_words(faults: Mapping[str, int]) -> str:
    """Return how often what happened, the most frequent first."""
    ranked = sorted(faults.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in ranked)


def _check_options(*, show_log: bool, output: str) -> None:
    context = click.get_current_context()
    given = {
        name
        for name in ("seed", "seeds", "first")
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if "seed" in given and len(given) > 1:
        raise click.UsageError("--seed is one seed: it goes with neither --seeds nor --first")
    if show_log and output == "json":
        raise click.UsageError("--show-log is for people: it does not go with -o json")


def _follow(summary: Summary, outcomes: Iterator[Outcome], *, show_log: bool, output: str) -> None:
    is_live = console.is_terminal and output == "table" and not show_log
    with Live(summary.table(), console=console) if is_live else nullcontext() as live:
        for outcome in outcomes:
            summary.add(outcome)
            if live is not None:
                live.update(summary.table())
            if output == "table":
                _show(outcome, summary, show_log=show_log)


def _show(outcome: Outcome, summary: Summary, *, show_log: bool) -> None:
    """Print what is to be said of a seed as soon as it is known."""
    lines: list[str] = []
    if show_log:
        lines += [*outcome.last, f"seed {outcome.seed}: event log {outcome.digest}"]
    if outcome.violation and len(summary.violations) <= MOST_SHOWN:
        lines += [f"seed {outcome.seed}: {outcome.violation}", f"  again: {outcome.replay}"]
    for line in lines:
        console.print(plain(line), markup=False, emoji=False)


def _conclude(summary: Summary, output: str) -> None:
    if output == "json":
        show_json(summary.document())
    else:
        if not console.is_terminal:
            console.print(summary.table())
        if len(summary.violations) > MOST_SHOWN:
            click.echo(f"and {len(summary.violations) - MOST_SHOWN} violations more")
    if summary.violations or summary.done < summary.seeds:
        sys.exit(EXIT_FAILED)


def _list_scenarios(output: str) -> None:
    if output == "json":
        show_json({each.name: each.what for each in SCENARIOS.values()})
        return
    for each in SCENARIOS.values():
        click.echo(f"{each.name:<12} {each.what}")
