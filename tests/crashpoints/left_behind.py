"""What may lie in the state folder of a device that has come to rest, and what must."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from device_agent.protocol.ids import digest_hex, digest_of
from device_agent.shell import journal
from device_agent.shell.storage import FolderStorage
from tests.crashpoints.installer import Broken
from tests.crashpoints.scenarios import MODEL, Shop

SUSPICIOUS = (".new", ".damaged", ".data", ".bitmap", "-wal", "-journal")
"""Endings of files that are only there while something is under way, or went wrong."""


def look_at_folder(folder: Path) -> None:
    """Look at the folder of an agent that has stopped.

    Raises:
        Broken: something lies there that should not, lacks, or is damaged.
    """
    for check in (_leftovers, _blobs, _journal, _outbox):
        for finding in check(folder):
            raise Broken(f"left behind: {finding}")


def _leftovers(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")):
        if path.name.endswith(SUSPICIOUS):
            yield f"{path.relative_to(folder)} of {path.stat().st_size} bytes"


def _blobs(folder: Path) -> Iterator[str]:
    """Every blob is whole, all that the slots need are there, and no others."""
    kept = {path.name for path in (folder / "blobs" / "sha256").iterdir()}
    for name in kept:
        if digest_hex(digest_of((folder / "blobs" / "sha256" / name).read_bytes())) != name:
            yield f"blob {name} is not what it is called"
    shop, record = Shop(), journal.load_records(FolderStorage(folder), put_aside=False)[MODEL]
    wanted = set()
    for slot in record.slots.values():
        package = shop.packages[slot.version]
        wanted |= {digest_hex(digest) for digest in (package.digest, *package.blobs)}
    for name in wanted ^ kept:
        yield f"blob {name} {'lacks' if name in wanted else 'is in nobody’s slot'}"


def _journal(folder: Path) -> Iterator[str]:
    storage = FolderStorage(folder)
    record = journal.load_records(storage, put_aside=False)[MODEL]
    letter = journal.read_pointer(storage, MODEL)
    if letter is None or letter not in record.slots:
        yield f"the pointer names {letter}, slots are {sorted(record.slots)}"
    elif not record.slots[letter].committed:
        yield f"the active slot {letter} was never committed"


def _outbox(folder: Path) -> Iterator[str]:
    database = sqlite3.connect(folder / "outbox.sqlite")
    try:
        (said,) = database.execute("PRAGMA integrity_check").fetchone()
        if said != "ok":
            yield f"the outbox: {said}"
    finally:
        database.close()
