"""Who this device is: the enrolment file, the identity in the state folder, and the lock."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from device_agent.protocol.codec import MAX_DOCUMENT_BYTES
from device_agent.protocol.enrolment import Enrolment
from device_agent.protocol.errors import (
    NotEnrolled,
    ProtocolError,
    StateFolderBusy,
    StorageFailed,
    WrongStateFolder,
)
from device_agent.protocol.reasons import Reason
from device_agent.shell.storage import Storage

logger = logging.getLogger(__name__)

IDENTITY_PATH = "identity.json"
SESSION_PATH = "session"
MAX_DIGITS = 12


def read_enrolment(path: Path) -> Enrolment:
    """Read an enrolment file from disk.

    Raises:
        NotEnrolled: there is no such file, it cannot be read, or it is something else.
    """
    try:
        data = path.read_bytes()[: MAX_DOCUMENT_BYTES + 1]
    except OSError as error:
        raise NotEnrolled(
            f"cannot read the enrolment file {path}: {error.strerror}",
            next_step="make one with: edgeops devices enroll NAME --profile PROFILE --out FILE",
        ) from error
    try:
        return Enrolment.from_bytes(data)
    except ProtocolError as error:
        raise NotEnrolled(
            f"{path} is no enrolment file: {error}",
            next_step="make one with: edgeops devices enroll NAME --profile PROFILE --out FILE",
        ) from error


def offered_enrolment(storage: Storage, path: Path) -> Enrolment | None:
    """Read an enrolment file; a device that has its identity can do without.

    Raises:
        NotEnrolled: as ``read_enrolment``, for a folder without an identity.
    """
    try:
        return read_enrolment(path)
    except NotEnrolled as error:
        if storage.read(IDENTITY_PATH) is None:
            raise
        logger.warning("enrolment.not_read", extra={"cause": str(error)})
        return None


def adopt_identity(storage: Storage, offered: Enrolment | None) -> Enrolment:
    """Return the identity of this state folder, adopting ``offered`` on the first start.

    A folder keeps its device for good; a new enrolment of the same device (another broker or
    password) replaces the old one, as it does one that a worn-out disk has spoiled.

    Raises:
        NotEnrolled: no identity that can be read, and nothing offered.
        WrongStateFolder: the folder belongs to another device.
        StorageFailed: the disk refuses the first identity.
    """
    known = _stored_identity(storage, is_needed=offered is None)
    if known is None:
        if offered is None:
            raise NotEnrolled(
                "this state folder has no identity yet",
                next_step="start once with --enrolment FILE",
            )
        return _kept(storage, offered, is_first=IDENTITY_PATH not in storage.names(""))
    if offered is None or offered == known:
        return known
    if offered.device != known.device:
        raise WrongStateFolder(
            f"this state folder belongs to {known.device}, the enrolment is for {offered.device}",
            next_step="give each device a state folder of its own (--state)",
        )
    return _kept(storage, offered, is_first=False)


def _kept(storage: Storage, offered: Enrolment, *, is_first: bool) -> Enrolment:
    """Keep an identity; a device that had one before works without, until the disk is well."""
    try:
        storage.replace(IDENTITY_PATH, offered.to_bytes())
    except StorageFailed as error:
        if is_first:
            raise
        logger.warning("identity.not_kept", extra={"cause": str(error)})
    return offered


def _stored_identity(storage: Storage, *, is_needed: bool) -> Enrolment | None:
    """Return the identity of before; None without one, or for a spoiled one if it is offered."""
    try:
        stored = storage.read(IDENTITY_PATH)
        return None if stored is None else Enrolment.from_bytes(stored)
    except (ProtocolError, StorageFailed) as error:
        if is_needed:
            raise NotEnrolled(
                f"the identity of this device, {IDENTITY_PATH}, is damaged: {error}",
                next_step="start once with --enrolment FILE",
            ) from error
        logger.warning("identity.damaged", extra={"path": IDENTITY_PATH, "cause": str(error)})
        return None


FOLDER_PATH = "folder"
FOLDER_CHARS = 16


def folder_id(storage: Storage, new_id: Callable[[], str]) -> str:
    """Return what names this state folder, made on the first start.

    A disk that refuses it does not silence the device: then it has another one at each start.
    """
    known = _text(storage, FOLDER_PATH)
    if known.isalnum() and len(known) == FOLDER_CHARS:
        return known
    made = new_id()[:FOLDER_CHARS]
    try:
        storage.replace(FOLDER_PATH, made.encode())
    except StorageFailed as error:
        logger.warning("folder.not_named", extra={"cause": str(error)})
    return made


class Sessions:
    """Numbers of connections: each higher than all before, across restarts."""

    def __init__(self, storage: Storage) -> None:
        """Begin after the number that was kept last."""
        self._storage = storage
        self._last = 0

    def next(self) -> int:
        """Return the number of the next connection, and keep it.

        A disk that refuses does not silence the device: it counts on in memory. After a restart
        it may then look older than it was, until the hub has heard it for a while.
        """
        text = _text(self._storage, SESSION_PATH)
        stored = int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else 0
        self._last = max(stored, self._last) + 1
        try:
            self._storage.replace(SESSION_PATH, str(self._last).encode())
        except StorageFailed as error:
            logger.warning("session.not_stored", extra={"cause": str(error)})
        return self._last


def _text(storage: Storage, path: str) -> str:
    """Return what a small file says, nothing if it cannot be read."""
    try:
        return (storage.read(path) or b"").decode("ascii", "replace").strip()
    except StorageFailed as error:
        logger.warning("file.not_read", extra={"path": path, "cause": str(error)})
        return ""


class FolderLock:
    """At most one agent on a state folder; released by the kernel however the process ends."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            StateFolderBusy: another agent has it; the message says which process.
            StorageFailed: the folder can neither be used nor made.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = _open_lock(folder / "lock")
        except OSError as error:
            raise StorageFailed(
                Reason.STORAGE_FAILED,
                f"cannot use {folder} as a state folder: {error.strerror or error}",
                next_step="give a folder that this user may write (--state)",
            ) from error
        if not self._take():
            self._file.seek(0)
            holder = self._file.read(32).decode("ascii", "replace").strip() or "unknown"
            self._file.close()
            raise StateFolderBusy(
                f"another agent (process {holder}) runs on {folder}",
                next_step="stop it, or give this agent its own --state folder",
            )
        with suppress(OSError):  # no room: the lock holds all the same, only nobody is named
            self._file.truncate(0)
            self._file.write(str(os.getpid()).encode())

    def release(self) -> None:
        """Give the lock back."""
        self._file.close()

    def _take(self) -> bool:
        """Try a few times: `device-agent status` touches the lock for a moment."""
        for pause_s in (0.0, 0.05, 0.1):
            time.sleep(pause_s)
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            return True
        return False


def _open_lock(path: Path) -> Any:
    """Open the lock's file; on a disk that has become read-only the one of before will do.

    It has no buffer, which a full disk would refuse once more at the closing.
    """
    try:
        return open(path, "a+b", buffering=0)
    except PermissionError:
        raise
    except OSError:
        if not path.is_file():
            raise
        return open(path, "rb", buffering=0)


def lock_holder(folder: Path) -> int | None:
    """Return the process that runs an agent on this folder, None if none does."""
    try:
        with open(folder / "lock", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                text = file.read(32).strip()
                return int(text) if text.isdigit() else 0
    except OSError:
        return None
    return None
