"""Scratch folders: temporary files of the packager, behind one door, since disks are full at times.

What a full or missing temporary folder says is a ``StoreFailed`` with its next step. Errors of what
is done inside of a scratch folder go through as they are.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeops.domain.errors import StoreFailed

HOW = "make room on the disk of temporary files, or name another with TMPDIR"
NO_FOLDER = "No usable temporary directory"
"""How Python begins its error when it cannot write into any of the folders that it knows."""


@contextmanager
def scratch_folder(prefix: str) -> Iterator[Path]:
    """Make a folder for temporary files, which is removed in the end.

    Args:
        prefix: beginning of its name.

    Raises:
        StoreFailed: the disk said no.
    """
    try:
        name = tempfile.mkdtemp(prefix=prefix)
    except OSError as error:
        raise StoreFailed(
            f"no temporary folder can be made: {error.strerror or error}", next_step=HOW
        ) from error
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)


def write_scratch(path: Path, data: bytes) -> None:
    """Write a temporary file.

    Raises:
        StoreFailed: the disk said no.
    """
    try:
        path.write_bytes(data)
    except OSError as error:
        raise _failed(path, error) from error


def check_room(path: Path, size_bytes: int) -> None:
    """Take room for a file on its disk and give it back: native code writes half without a word.

    Raises:
        OSError: the disk said no.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size_bytes)
    path.unlink()


def save_scratch(path: Path, rows: NDArray[Any]) -> None:
    """Write rows into a temporary ``.npy``.

    Raises:
        StoreFailed: the disk said no.
    """
    try:
        np.save(path, rows, allow_pickle=False)
    except OSError as error:
        raise _failed(path, error) from error


def _failed(path: Path, error: OSError) -> StoreFailed:
    # NumPy says of a write that was cut short only how much of it was written.
    return StoreFailed(f"{path.parent}: {error.strerror or error}", next_step=HOW)
