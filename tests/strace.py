"""Finding strace: the one that ``scripts/fetch_strace`` fetched, or the system's."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

NOT_INSTALLED = "strace is not installed"
FORBIDDEN = "processes may not be traced here"


def find_strace() -> tuple[str, dict[str, str]] | None:
    """Return a strace and the environment that it needs, or None."""
    fetched = Path(sys.prefix, "strace")
    if (fetched / "bin/strace").is_file():
        libraries = {"LD_LIBRARY_PATH": str(fetched / "lib")}
        return str(fetched / "bin/strace"), {**os.environ, **libraries}
    installed = shutil.which("strace")
    return (installed, dict(os.environ)) if installed else None
