"""The journal: one record a model, replaced atomically before each act, and the pointer.

``models/<name>/record.json`` says what is intended and done; ``models/<name>/active`` holds the
letter of the active slot and nothing else: switching models is the rename of a one-byte file.
``record.kept.json`` is the record as of the newest end of a deployment, for a disk that spoils the
other one.
Both have a checksum: a flipped bit may leave a record that can be read and says something else.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from device_agent.core.records import SLOTS, ModelRecord
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError, StorageFailed
from device_agent.protocol.ids import ModelName, digest_hex, digest_of, parse_model_name
from device_agent.shell.storage import Storage

logger = logging.getLogger(__name__)

MAX_RECORD_BYTES = 256 * 1024
CHECK_CHARS = 16
RECORD, KEPT, DAMAGED = "record.json", "record.kept.json", "record.damaged"


def save_record(storage: Storage, record: ModelRecord) -> None:
    """Journal a record: durable when this returns."""
    storage.replace(_path(record.name, RECORD), _with_check(record))


def keep_record(storage: Storage, record: ModelRecord) -> None:
    """Keep a second copy of a record with a committed version, if the disk lets it."""
    if not any(slot.committed for slot in record.slots.values()):
        return
    wanted = _with_check(record)
    try:
        if storage.read(_path(record.name, KEPT)) != wanted:
            storage.replace(_path(record.name, KEPT), wanted)
    except StorageFailed as error:
        logger.warning("record.not_kept", extra={"model": record.name, "cause": str(error)})


def forget_damaged(storage: Storage, record: ModelRecord) -> None:
    """Remove what had been put aside, now that a version is committed without it."""
    is_committed = any(slot.committed for slot in record.slots.values())
    if is_committed and DAMAGED in storage.names(f"models/{record.name}"):
        storage.remove(_path(record.name, DAMAGED))


def load_records(storage: Storage, *, put_aside: bool = True) -> dict[ModelName, ModelRecord]:
    """Return the record of every model on this device.

    A record that cannot be read (a damaged disk) is put aside as ``record.damaged``, and the one
    that was kept is taken; without that the model starts from an empty one. Who only
    looks does not ``put_aside``.

    Raises:
        StorageFailed: the disk does not even say which models there are.
    """
    records: dict[ModelName, ModelRecord] = {}
    for folder in storage.names("models"):
        try:
            name = parse_model_name(folder)
            record = _load(storage, name, put_aside=put_aside)
        except ProtocolError:
            continue
        if record is not None:
            records[name] = record
    return records


def _load(storage: Storage, name: ModelName, *, put_aside: bool) -> ModelRecord | None:
    for file in (RECORD, KEPT):
        try:
            data = storage.read(_path(name, file))
            if data is None:
                continue
            record = ModelRecord.from_document(_checked(data))
            if record.name != name:
                raise ProtocolError(f"the record of {name} is of {record.name[:64]!r}")
        except (ProtocolError, StorageFailed) as error:
            logger.warning(
                "record.damaged", extra={"model": name, "file": file, "cause": str(error)}
            )
            if put_aside and file == RECORD and isinstance(error, ProtocolError):
                _put_aside(storage, name)
            continue
        if put_aside and file == KEPT:
            _write_again(storage, record)
        return record
    return None


def _write_again(storage: Storage, record: ModelRecord) -> None:
    try:
        save_record(storage, record)
    except StorageFailed as error:
        logger.warning("record.not_written", extra={"model": record.name, "cause": str(error)})


def _with_check(record: ModelRecord) -> bytes:
    document = record.to_document()
    return encode({**document, "check": _check_of(document)})


def _checked(data: bytes) -> dict[str, Any]:
    """Return a record's document; one of an older agent has no checksum."""
    document = decode(data, max_bytes=MAX_RECORD_BYTES)
    check = document.pop("check", None)
    if check is not None and check != _check_of(document):
        raise ProtocolError("record does not have its checksum")
    return document


def _check_of(document: Mapping[str, object]) -> str:
    return digest_hex(digest_of(encode(document)))[:CHECK_CHARS]


def _put_aside(storage: Storage, name: ModelName) -> None:
    try:
        storage.rename(_path(name, RECORD), _path(name, DAMAGED))
    except StorageFailed as error:
        logger.warning("record.not_put_aside", extra={"model": name, "cause": str(error)})


def is_anything_lost(storage: Storage, records: Mapping[ModelName, ModelRecord]) -> bool:
    """Tell whether a record that could not be read may name blobs that no other one names.

    So it is until its model has a committed version again.
    """
    for folder in storage.names("models"):
        record = records.get(ModelName(folder))
        if record is not None and any(slot.committed for slot in record.slots.values()):
            continue
        files = storage.names(f"models/{folder}")
        if DAMAGED in files or (record is None and RECORD in files):
            return True
    return False


def read_pointer(storage: Storage, name: ModelName) -> str | None:
    """Return the active slot's letter, None on day zero or for a damaged pointer."""
    try:
        data = storage.read(f"models/{name}/active")
    except StorageFailed as error:
        logger.warning("pointer.not_read", extra={"model": name, "cause": str(error)})
        return None
    letter = (data or b"").decode("ascii", "replace").strip()
    return letter if letter in SLOTS else None


def write_pointer(storage: Storage, name: ModelName, slot: str | None) -> None:
    """Make ``slot`` the active one (None: no active slot); atomic and durable."""
    if slot is None:
        storage.remove(f"models/{name}/active")
    else:
        storage.replace(f"models/{name}/active", slot.encode())


class Pointers:
    """Which slot of each model is active.

    Read from the disk once: what a worn-out disk does to a pointer while the agent runs must not
    make it forget what it serves.
    """

    def __init__(self, storage: Storage) -> None:
        """Begin with nothing known."""
        self._storage = storage
        self._known: dict[ModelName, str | None] = {}

    def of(self, name: ModelName) -> str | None:
        """Return the active slot's letter, None if there is none."""
        if name not in self._known:
            self._known[name] = read_pointer(self._storage, name)
        return self._known[name]

    def point(self, name: ModelName, slot: str | None) -> None:
        """Make ``slot`` the active one, durably.

        Raises:
            StorageFailed: the disk refuses; it may hold the old or the new one.
        """
        self._known.pop(name, None)
        write_pointer(self._storage, name, slot)
        self._known[name] = slot


def _path(name: ModelName, file: str) -> str:
    return f"models/{name}/{file}"
