"""A clean environment with the agent's wheel and LiteRT, all compiled; and programs run in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clean:
    """An environment of its own.

    Attributes:
        python: its interpreter.
        wheel_bytes: size of the agent's wheel.
        versions: what is installed there, by name.
    """

    python: str
    wheel_bytes: int
    versions: dict[str, str]

    def command(self, script: str, *arguments: object) -> list[str]:
        """Return the command that runs a script of this folder, apart from this project."""
        return [self.python, "-I", str(HERE / script), *map(str, arguments)]

    def run(
        self, script: str, *arguments: object, under: Sequence[str] = (), one_blas: bool = False
    ) -> Any:
        """Run a script; return the document that it prints last.

        With ``one_blas``, numpy's BLAS makes no threads: they spin for a tenth of a second after
        the import, beside whatever goes on, and what is measured then is how long that took.

        Raises:
            RuntimeError: it failed; says what it said.
        """
        inherited = {
            name: text for name, text in os.environ.items() if not name.startswith("PYTHON")
        }
        done = subprocess.run(
            [*under, *self.command(script, *arguments)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={**inherited, **({"OPENBLAS_NUM_THREADS": "1"} if one_blas else {})},
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{script} failed: {done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1])


def clean(work: Path) -> Clean:
    """Build the wheel and install it, with LiteRT, into a new environment in ``work``."""
    _run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", work, ROOT / "device_agent")
    (wheel,) = work.glob("*.whl")
    _run(sys.executable, "-m", "venv", work / "venv")
    python = str(work / "venv" / "bin" / "python")
    pinned = ("-c", ROOT / "constraints.txt")
    _run(python, "-m", "pip", "install", "-q", "--compile", *pinned, f"{wheel}[litert]")
    listed = _run(python, "-m", "pip", "list", "--format", "json")
    os.sync()  # pages of a file that is not on the disk yet count as dirty memory of who maps it
    versions = {each["name"]: each["version"] for each in json.loads(listed)}
    return Clean(
        python=python,
        wheel_bytes=wheel.stat().st_size,
        versions={name: text for name, text in versions.items() if name not in ("pip",)},
    )


def _run(*command: object) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return done.stdout
