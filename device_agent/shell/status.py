"""Reading a state folder from outside: `device-agent status` and `infer`.

Nothing is written and no lock is taken, so this works beside a running agent and without one.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from device_agent import __version__
from device_agent.core.records import ModelRecord
from device_agent.protocol.enrolment import Enrolment
from device_agent.protocol.errors import NotEnrolled, ProtocolError
from device_agent.shell import journal, packages
from device_agent.shell.blobs import bitmap_path, unpack_bits
from device_agent.shell.identity import IDENTITY_PATH, lock_holder
from device_agent.shell.live import LiveModels
from device_agent.shell.packages import Host
from device_agent.shell.reporter import reported_model
from device_agent.shell.storage import FolderStorage


def read_status(folder: Path) -> dict[str, Any]:
    """Return what a state folder says, as JSON-ready values.

    Raises:
        NotEnrolled: the folder is not an agent's.
        ProtocolError: its identity is damaged.
    """
    storage = _open(folder)
    enrolment = _identity(folder, storage)
    host = _host(folder, enrolment)
    models: dict[str, Any] = {}
    for name, record in journal.load_records(storage, put_aside=False).items():
        letter = journal.read_pointer(storage, name)
        active = letter if letter in record.slots else None
        progress = _progress(storage, host, record)
        models[name] = reported_model(record, active, progress).to_document()
        models[name]["quarantined"] = {
            digest: reason.value for digest, reason in record.quarantine.items()
        }
        models[name]["floor"] = record.floor
    return {
        "device": enrolment.device,
        "profile": enrolment.profile,
        "broker": enrolment.broker,
        "process": lock_holder(folder),
        "outbox": _outbox_depth(folder),
        "models": models,
    }


def open_models(folder: Path) -> LiveModels:
    """Load the active models of a state folder.

    Raises:
        NotEnrolled: the folder is not an agent's.
        ProtocolError: its identity is damaged.
        ModelRefused: an active model cannot be loaded.
    """
    storage = _open(folder)
    enrolment = _identity(folder, storage)
    live = LiveModels()
    for name, record in journal.load_records(storage, put_aside=False).items():
        letter = journal.read_pointer(storage, name)
        if letter in record.slots and letter is not None:
            packages.load_into(storage, _host(folder, enrolment), live, record, letter)
    return live


def _open(folder: Path) -> FolderStorage:
    if not (folder / IDENTITY_PATH).is_file():
        raise NotEnrolled(
            f"{folder} is no state folder of an agent",
            next_step="give the --state that the agent was started with",
        )
    return FolderStorage(folder)


def _identity(folder: Path, storage: FolderStorage) -> Enrolment:
    try:
        return Enrolment.from_bytes(storage.read(IDENTITY_PATH) or b"")
    except ProtocolError as error:
        raise ProtocolError(
            f"{folder / IDENTITY_PATH} is damaged: {error}",
            next_step="start the agent once with --enrolment FILE, or enroll the device again",
        ) from error


def _host(folder: Path, enrolment: Enrolment) -> Host:
    return Host(
        root=folder,
        profile=enrolment.profile,
        agent_version=__version__,
    )


def _progress(storage: FolderStorage, host: Host, record: ModelRecord) -> tuple[int, int]:
    """Return chunks on the disk, and chunks in all, of the variant that is being deployed."""
    deployment = record.deployment
    if deployment is None or deployment.is_final:
        return 0, 0
    manifest = packages.read_manifest(storage, deployment.digest)
    variant = manifest.variant_for(host.profile, host.machine.runtimes) if manifest else None
    have = total = 0
    for blob in variant.blobs if variant is not None else ():
        total += blob.ref.count
        if packages.has_blob(storage, blob.ref.digest):
            have += blob.ref.count
        else:
            bits = storage.read(bitmap_path(blob.ref.digest)) or b""
            have += sum(unpack_bits(bits, blob.ref.count))
    return have, total


def _outbox_depth(folder: Path) -> int:
    try:
        database = sqlite3.connect(f"file:{folder / 'outbox.sqlite'}?mode=ro", uri=True)
    except sqlite3.Error:
        return 0
    try:
        (count,) = database.execute("SELECT count(*) FROM item").fetchone()
        return int(count)
    except sqlite3.Error:
        return 0
    finally:
        database.close()
