"""Regular files: what people name may also be a pipe or a device, which has no end to wait for."""

from __future__ import annotations

from pathlib import Path

from edgeops.domain.errors import InvalidInput


def check_regular(path: Path, kind: type[InvalidInput] = InvalidInput) -> None:
    """Refuse what is there and is no file with an end; what is missing is for the reader to say.

    Args:
        path: what a person named; a folder is let through.
        kind: of the error.

    Raises:
        InvalidInput: it is a pipe, a socket or a device.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise kind(
            f"{path} is no regular file: a pipe or a device has no end that one could wait for",
            next_step="save what comes out of it into a file, and name that",
        )
