"""The journal: one record a model, replaced atomically before each act, and the pointer.

``models/<name>/record.json`` says what is intended and done; ``models/<name>/active`` holds the
letter of the active slot and nothing else: switching models is the rename of a one-byte file.
"""

from __future__ import annotations

from device_agent.core.records import SLOTS, ModelRecord
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import ModelName, parse_model_name
from device_agent.shell.storage import Storage

MAX_RECORD_BYTES = 256 * 1024


def save_record(storage: Storage, record: ModelRecord) -> None:
    """Journal a record: durable when this returns."""
    storage.replace(f"models/{record.name}/record.json", encode(record.to_document()))


def load_records(storage: Storage, *, put_aside: bool = True) -> dict[ModelName, ModelRecord]:
    """Return the record of every model on this device.

    A record that cannot be read (a damaged disk) is put aside as ``record.damaged`` and the
    model starts from an empty one: its blobs are fetched again, nothing else is touched. Who
    only looks does not ``put_aside``.
    """
    records: dict[ModelName, ModelRecord] = {}
    for folder in storage.names("models"):
        path = f"models/{folder}/record.json"
        data = storage.read(path)
        if data is None:
            continue
        try:
            name = parse_model_name(folder)
            records[name] = ModelRecord.from_document(decode(data, max_bytes=MAX_RECORD_BYTES))
        except ProtocolError:
            if put_aside:
                storage.rename(path, f"models/{folder}/record.damaged")
    return records


def read_pointer(storage: Storage, name: ModelName) -> str | None:
    """Return the active slot's letter, None on day zero or for a damaged pointer."""
    data = storage.read(f"models/{name}/active")
    letter = (data or b"").decode("ascii", "replace").strip()
    return letter if letter in SLOTS else None


def write_pointer(storage: Storage, name: ModelName, slot: str | None) -> None:
    """Make ``slot`` the active one (None: no active slot); atomic and durable."""
    if slot is None:
        storage.remove(f"models/{name}/active")
    else:
        storage.replace(f"models/{name}/active", slot.encode())
