"""``make crashpoints``: each system call of an install that changes the disk, and what if it fails.

::

    python -m tests.crashpoints                               each call, in every way: half an hour
    python -m tests.crashpoints --only update                 one install
    python -m tests.crashpoints --only update:17:kill         one attempt
    python -m tests.crashpoints --seed N                      the sample that the suite tries with it
    python -m tests.crashpoints --suite --report FILE         what the suite runs: about a minute

The sample changes from day to day (``EDGEOPS_CRASHPOINTS_SEED`` sets it). Numbers of calls are
those of one version of agent, Python and SQLite.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy: what forks has one thread

from tests.crashpoints.calls import Kind, Point
from tests.crashpoints.experiment import Experiment
from tests.crashpoints.planted import PLANTED
from tests.crashpoints.scenarios import SCENARIOS
from tests.crashpoints.tracing import why_not

SEED_VARIABLE = "EDGEOPS_CRASHPOINTS_SEED"
SAMPLE = 600
"""Attempts in the suite: some 70 s on a quiet machine."""
MOST_S = 150.0
"""On a busy one the suite stops here, after having tried each install in every way."""
TELL_EVERY_S = 10.0
CANNOT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """Something done to a call of an install."""

    experiment: Experiment
    point: Point
    kind: Kind

    @property
    def scenario(self) -> str:
        """Name of the install."""
        return self.experiment.scenario.name

    @property
    def name(self) -> str:
        """By which it can be done again."""
        return f"{self.scenario}:{self.point.number}:{self.kind.value}"


@dataclass(slots=True)
class Tried:
    """What came of the attempts on one install."""

    points: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)
    same: bool = True
    """Whether doing it again made the same calls."""


def todays_seed() -> int:
    """Return the seed of this run's sample: of the environment, or of the day."""
    return int(os.environ.get(SEED_VARIABLE) or dt.date.today().strftime("%y%m%d"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 1 if something was found, 3 if nothing can be traced here."""
    options = _options(arguments)
    reason = why_not()
    if reason:
        print(f"no crash points: {reason}")
        _write(options.report, {"why_not": reason})
        return CANNOT
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        tried, attempts = _attempts(options, Path(work))
        _try_all(attempts, tried, began_s + (MOST_S if options.suite else float("inf")))
        planted = _planted(Path(work)) if options.suite else {}
    count = sum(sum(each.kinds.values()) for each in tried.values())
    found = sum(len(each.found) for each in tried.values())
    points = sum(each.points for each in tried.values())
    seconds = time.monotonic() - began_s
    print(
        f"{points} calls in {len(tried)} installs, {count} attempts in {seconds:.0f} s,"
        f" {found} findings"
    )
    _write(options.report, {"installs": {k: _facts(v) for k, v in tried.items()}} | planted)
    return 1 if found else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make crashpoints")
    parser.add_argument("--only", default="", help="SCENARIO, SCENARIO:NUMBER or with :KIND")
    parser.add_argument("--seed", type=int, help="the sample of that seed")
    parser.add_argument("--suite", action="store_true", help="what the suite runs")
    parser.add_argument("--report", type=Path, help="write the figures as JSON")
    options = parser.parse_args(arguments)
    if options.suite and options.seed is None:
        options.seed = todays_seed()
    name, _, rest = options.only.partition(":")
    number, _, kind = rest.partition(":")
    if name and name not in SCENARIOS:
        parser.error(f"no install is called {name!r}; there are: {', '.join(SCENARIOS)}")
    if number and not number.isdigit():
        parser.error(f"{number!r} is no number of a call")
    kinds = [each.value for each in Kind]
    if kind and kind not in kinds:
        parser.error(f"nothing is called {kind!r}; there are: {', '.join(kinds)}")
    options.names = [name] if name else list(SCENARIOS)
    options.number, options.kind = int(number or 0), kind
    return options


def _attempts(
    options: argparse.Namespace, work: Path
) -> tuple[dict[str, Tried], Iterator[Attempt]]:
    """Return where to write down what comes of it, and what is to be tried, in its order."""
    tried: dict[str, Tried] = {}
    groups: list[list[Attempt]] = []
    for name in options.names:
        experiment = Experiment(SCENARIOS[name], work / name)
        points = experiment.points()
        tried[name] = Tried(points=len(points), same=experiment.points() == points)
        for kind in Kind:
            chosen = [
                Attempt(experiment=experiment, point=point, kind=kind)
                for point in points
                if options.number in (0, point.number) and options.kind in ("", kind.value)
            ]
            groups.append(chosen)
    if not any(groups):
        counts = ", ".join(f"{name} has {each.points}" for name, each in tried.items())
        raise SystemExit(f"there is no call {options.number}: {counts}")
    if options.seed is None:
        return tried, chain.from_iterable(groups)
    print(f"the sample of {SEED_VARIABLE}={options.seed}")
    chance = random.Random(options.seed)
    for group in groups:
        chance.shuffle(group)
    turns = chain.from_iterable(zip_longest(*groups))
    sample = [attempt for attempt in turns if attempt is not None][:SAMPLE]
    return tried, iter(sample)


def _try_all(attempts: Iterator[Attempt], tried: dict[str, Tried], end_s: float) -> None:
    told_s = time.monotonic()
    for number, attempt in enumerate(attempts):
        now_s = time.monotonic()
        if now_s >= end_s and number >= len(SCENARIOS) * len(Kind):
            print(f"stopped after {number} attempts: this machine is busy")
            return
        if now_s - told_s >= TELL_EVERY_S:
            told_s = now_s
            found = sum(len(each.found) for each in tried.values())
            print(
                f"{time.strftime('%H:%M:%S')}  {attempt.name:28} of"
                f" {tried[attempt.scenario].points}, {number} attempts, found {found}",
                flush=True,
            )
        finding = attempt.experiment.attempt(attempt.point, attempt.kind)
        outcome = tried[attempt.scenario]
        outcome.kinds[attempt.kind.value] = outcome.kinds.get(attempt.kind.value, 0) + 1
        if finding:
            said = f"{attempt.name} {attempt.point.call} {attempt.point.what}: {finding}"
            outcome.found.append(f"{said}; again: make crashpoints ONLY={attempt.name}")
            print(f"FOUND {outcome.found[-1]}", flush=True)


def _planted(work: Path) -> dict[str, object]:
    """Return what is found of each planted bug."""
    found = {}
    for name, bug in PLANTED.items():
        experiment = Experiment(SCENARIOS["update"], work / name, storage=bug.storage)
        points = [
            point
            for point in experiment.points()
            if point.call == bug.call and bug.file in point.what
        ]
        found[name] = [experiment.attempt(point, bug.kind) for point in points]
    return {"planted": found}


def _facts(tried: Tried) -> dict[str, object]:
    return {
        "points": tried.points,
        "kinds": tried.kinds,
        "found": tried.found,
        "same": tried.same,
    }


def _write(report: Path | None, facts: object) -> None:
    if report is not None:
        report.write_text(json.dumps(facts))


if __name__ == "__main__":
    sys.exit(main())
