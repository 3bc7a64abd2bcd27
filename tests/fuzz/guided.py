"""Search guided by coverage, with atheris (libFuzzer) where it is installed.

The parser runs in a process of its own, with the bytecode of our packages instrumented; inputs
that reach something new are kept in ``.fuzz/corpus/NAME`` and spoiled further, by our spoilers.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.fuzz.check import Target
    from tests.fuzz.worker import Outcome

OVERHEAD_S = 240.0
"""Importing and instrumenting everything takes seconds, on a busy machine more."""
HANG_S = 60
MEMORY_MIB = 3072
_FOUND, _DONE = "\x1efound ", "\x1edone "


def is_installed() -> bool:
    """Tell whether atheris is there."""
    return importlib.util.find_spec("atheris") is not None


def hunt(target: Target, seconds: float, kept: Path) -> Outcome:
    """Search for so long; inputs that found something are written below ``kept``."""
    from tests.fuzz.check import Finding
    from tests.fuzz.worker import Outcome

    corpus = kept / "corpus" / target.name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    begun_s = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz.guided", target.name, str(seconds), str(kept)]
    most_s = seconds + HANG_S + OVERHEAD_S
    try:
        done = subprocess.run(command, capture_output=True, timeout=most_s, check=False)
    except subprocess.TimeoutExpired:
        print(f"the guided search of {target.name} took more than {most_s:g} s, and was ended")
        return Outcome(seconds=most_s)
    outcome = Outcome(seconds=time.monotonic() - begun_s)
    lines = done.stdout.decode(errors="replace").splitlines()
    for at, line in enumerate(each for each in lines if each.startswith(_FOUND)):
        found = json.loads(line.removeprefix(_FOUND))
        print(
            f"kept in {found['kept']}; again: make fuzz TARGET={target.name} FILE={found['kept']}"
        )
        outcome.found[-1 - at] = Finding(**found["finding"])
    outcome.inputs = max(
        (int(line.removeprefix(_DONE)) for line in lines if line.startswith(_DONE)), default=0
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").splitlines()[-3:]
        outcome.found[-1000] = Finding(kind="death", what=" ".join(said)[:300])
    return outcome


def main(name: str, seconds: str, kept: str) -> None:
    """Search in this process, which ends when the time is over."""
    import atheris

    with atheris.instrument_imports(include=["device_agent", "edgeops"]):
        from tests.fuzz.targets import TARGETS
    from dataclasses import asdict

    from tests.fuzz.check import Finding, check
    from tests.fuzz.worker import be_quiet

    target = TARGETS[name]
    seeds = target.seeds()
    be_quiet()
    known: set[tuple[str, str]] = set()
    count = 0

    def one(data: bytes) -> None:
        nonlocal count
        count += 1
        found = check(target, data)
        if isinstance(found, Finding) and found.key not in known:
            known.add(found.key)
            path = Path(kept) / f"{name}-guided-{count}"
            path.write_bytes(data)
            said = {"finding": asdict(found), "kept": str(path)}
            print(f"{_FOUND}{json.dumps(said)}", flush=True)
        if count % 100 == 0:
            print(f"{_DONE}{count}", flush=True)

    def spoil(data: bytes, most: int, seed: int) -> bytes:
        chance = Random(seed)
        try:
            return target.spoil(data, chance, seeds)[:most]
        except Exception:  # the corpus holds what is no document any more
            return target.spoil(chance.choice(seeds), chance, seeds)[:most]

    options = [f"-max_total_time={float(seconds):.0f}", f"-timeout={HANG_S}", "-max_len=131072"]
    options += [f"-rss_limit_mb={MEMORY_MIB}", f"-artifact_prefix={kept}/{name}-", "-verbosity=0"]
    corpus = str(Path(kept) / "corpus" / name)
    atheris.Setup([sys.argv[0], *options, corpus], one, custom_mutator=spoil)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
