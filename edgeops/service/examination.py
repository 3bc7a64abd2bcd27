"""What `edgeops doctor` looks at on this machine. Light: it is imported by every command."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from device_agent.runtimes.available import available_runtimes
from edgeops.domain.errors import EdgeopsError
from edgeops.trust.keys import KeyFolder

LOW_DISK_BYTES = 500 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at: ``state`` is ok, warning or error."""

    subject: str
    state: str
    what: str
    next_step: str = ""


def examine(home: Path, keys: Path) -> list[Finding]:
    """Look at this machine: versions, runtimes, keys, disk."""
    return [_python(), _versions(), _runtimes(), _keys(keys), _disk(home)]


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    return Finding(
        subject="python",
        state="ok" if good else "error",
        what=found,
        next_step="" if good else "use Python 3.11 or newer",
    )


def _versions() -> Finding:
    versions = {name: metadata.version(name) for name in ("edgeops", "edgeops-device-agent")}
    same = len(set(versions.values())) == 1
    return Finding(
        subject="versions",
        state="ok" if same else "error",
        what=", ".join(f"{name} {version}" for name, version in versions.items()),
        next_step="" if same else "install both wheels of one release",
    )


def _runtimes() -> Finding:
    found = sorted(available_runtimes())
    return Finding(
        subject="runtimes",
        state="ok" if found else "warning",
        what=", ".join(found) or "none: models cannot be evaluated here",
        next_step="" if found else "pip install 'edgeops[litert,onnxruntime]'",
    )


def _keys(keys: Path) -> Finding:
    try:
        root = KeyFolder(keys).root()
        KeyFolder(keys).director()
    except EdgeopsError as error:
        return Finding(subject="keys", state="error", what=str(error), next_step=error.next_step)
    return Finding(subject="keys", state="ok", what=f"root version {root.version} in {keys}")


def _disk(home: Path) -> Finding:
    place = next(each for each in (home, *home.parents) if each.exists())
    free = shutil.disk_usage(place).free
    low = free < LOW_DISK_BYTES
    return Finding(
        subject="disk",
        state="warning" if low else "ok",
        what=f"{free / 1024**2:.0f} MiB free at {place}",
        next_step="free space, or choose another --home" if low else "",
    )
