"""Files that only their owner can read, replaced whole or not at all."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from edgeops.hub.broker.errors import BrokerHomeUnusable

PRIVATE_FILE_MODE = 0o600
PRIVATE_FOLDER_MODE = 0o700


def make_private_folder(folder: Path) -> None:
    """Creates `folder` if it is missing and closes it to others.

    Raises:
        BrokerHomeUnusable: it cannot be created, or belongs to somebody else.
    """
    with _usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(PRIVATE_FOLDER_MODE)


def write_private(path: Path, text: str) -> None:
    """Replaces `path` by `text`: a reader sees the old or the new content, never a part.

    Raises:
        BrokerHomeUnusable: the folder is missing or full; `path` is then as it was.
    """
    with _usable(path.parent):
        # mkstemp creates with mode 0600.
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def open_private_log(path: Path) -> BinaryIO:
    """Opens an empty log for appending; the one before it is kept with the suffix `.1`.

    Raises:
        BrokerHomeUnusable: the folder is missing or full.
    """
    with _usable(path.parent):
        if path.exists():
            path.replace(path.with_name(path.name + ".1"))
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, PRIVATE_FILE_MODE)
        return os.fdopen(descriptor, "ab")


@contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BrokerHomeUnusable(
            f"cannot write to {folder}: {error.strerror}",
            next_step="make it writable for this user, free disk space, or use another home folder",
        ) from error
