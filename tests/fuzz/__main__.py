"""``make fuzz``: spoiled inputs for every parser, for minutes; what is found can be replayed.

::

    python -m tests.fuzz [--minutes 10] [--target NAME]      go on until the time is over
    python -m tests.fuzz --target NAME --seed N --count 1    these inputs, the same each time
    python -m tests.fuzz --target NAME --file PATH           one input that was kept
    python -m tests.fuzz --suite --report FILE               what the suite runs: about a minute

Inputs are numbered. The suite runs the first ones of each parser, which are always the same, and
some more from a number that changes from day to day (or is in ``EDGEOPS_FUZZ_SEED``).
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.fuzz.check import ROOT, Target
from tests.fuzz.guided import hunt, is_installed
from tests.fuzz.targets import TARGETS
from tests.fuzz.worker import Outcome, run, run_file

KEPT = ROOT / ".fuzz"
SEED_VARIABLE = "EDGEOPS_FUZZ_SEED"
SLICE_S = 2.0
GUIDED_S = 20.0
GUIDED_OF = 10
"""Of so many turns one is guided by coverage, where that can be."""


def todays_seed() -> int:
    """Return the first number of this run's inputs: of the environment, or of the day."""
    today = dt.date.today().strftime("%y%m%d")
    return int(os.environ.get(SEED_VARIABLE) or f"{today}000000")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; return 1 if something was found."""
    options = _options(arguments)
    known = {name: TARGETS[name] for name in options.target or TARGETS}
    totals = {name: Outcome() for name in known}
    for name, part in _parts(known, options):
        new = part.found.keys() - totals[name].found.keys()
        totals[name].add(part)
        _tell(name, totals[name], part)
        for number in sorted(new & totals[name].found.keys()):
            print(f"FOUND {name}: {part.found[number]}")
            if options.file is None and number >= 0:  # the guided search keeps its own
                _keep(known[name], number)
    if options.report:
        options.report.write_text(json.dumps({name: _facts(each) for name, each in totals.items()}))
    found = sum(len(each.found) for each in totals.values())
    inputs = sum(each.inputs for each in totals.values())
    print(f"{inputs} inputs to {len(known)} parsers, {found} findings")
    return 1 if found else 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make fuzz")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="only this one")
    parser.add_argument("--seed", type=int, help="number of the first input")
    parser.add_argument("--count", type=int, default=1000, help="how many, from --seed")
    parser.add_argument("--file", type=Path, help="an input that was kept")
    parser.add_argument("--suite", action="store_true", help="what the suite runs")
    parser.add_argument("--report", type=Path, help="write the figures as JSON")
    return parser.parse_args(arguments)


def _parts(known: dict[str, Target], options: argparse.Namespace) -> Iterator[tuple[str, Outcome]]:
    """Yield the outcome of each piece of work."""
    if options.file is not None:
        for name, target in known.items():
            yield name, run_file(target, options.file.read_bytes())
    elif options.seed is not None:
        for name, target in known.items():
            yield name, run(target, range(options.seed, options.seed + options.count))
    elif options.suite:
        seed = todays_seed()
        print(f"inputs from 0, and from {SEED_VARIABLE}={seed}")
        for name, target in known.items():
            half = target.count // 2
            outcome = run(target, range(half))
            outcome.add(run(target, range(seed, seed + half)))
            yield name, outcome
    else:
        yield from _rounds(known, time.monotonic() + options.minutes * 60)


def _rounds(known: dict[str, Target], end_s: float) -> Iterator[tuple[str, Outcome]]:
    """Give each parser its turn again and again, until the time is over."""
    guided = is_installed()
    print(f"guided by coverage now and then: {'yes' if guided else 'no, atheris is not installed'}")
    following = dict.fromkeys(known, todays_seed())
    turn = 0
    while True:
        for name, target in known.items():
            if (left_s := end_s - time.monotonic()) <= 0:
                return
            turn += 1
            outcome = run(target, range(following[name], sys.maxsize), seconds=min(SLICE_S, left_s))
            following[name] += outcome.inputs
            yield name, outcome
            if guided and not target.forks and turn % GUIDED_OF == 0 and left_s > 2 * GUIDED_S:
                yield name, hunt(target, GUIDED_S, KEPT)


def _tell(name: str, total: Outcome, part: Outcome) -> None:
    rate = part.inputs / max(part.seconds, 1e-9)
    share = total.accepted / max(1, total.inputs)
    print(
        f"{time.strftime('%H:%M:%S')}  {name:18}{total.inputs:9} inputs {rate:7.0f}/s"
        f"  accepted {share:4.0%}  found {len(total.found)}",
        flush=True,
    )


def _keep(target: Target, number: int) -> None:
    """Keep an input that found something, and say how to see it again."""
    KEPT.mkdir(exist_ok=True)
    path = KEPT / f"{target.name}-{number}"
    path.write_bytes(target.input(number))
    print(f"  kept in {path.relative_to(ROOT)}; again: {replay(target.name, number)}", flush=True)


def replay(name: str, number: int) -> str:
    """Return the line that gives a parser the same input again."""
    return f"make fuzz TARGET={name} SEED={number} COUNT=1"


def _facts(outcome: Outcome) -> dict[str, object]:
    return {
        "inputs": outcome.inputs,
        "accepted": outcome.accepted,
        "seconds": outcome.seconds,
        "found": {number: str(each) for number, each in outcome.found.items()},
    }


if __name__ == "__main__":
    sys.exit(main())
