"""Ten thousand installs in one process: nothing grows; and a planted leak is seen."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from device_agent.core.deployment import Deployment
from device_agent.protocol.ids import ModelName
from device_agent.shell.disk import FolderDisk
from edgeops.simulation.disk import SimulatedDisk
from edgeops.simulation.packages import Behaviour, make_package
from tests.one_device import KEYS, MODEL, OneDevice

INSTALLS = 10_000
WARM_UP = INSTALLS // 2
"""Installs after which every cache has what it will have; growth is that of the second half."""
MOST_GROWTH_BYTES = 512 * 1024
"""Of what is allocated, in any number of installs: a hundred bytes in each of 5,000."""
MOST_GROWTH_BLOCKS = 1_000
"""The same for Python's small objects: one in five installs."""
ON_A_FOLDER = 300
"""Installs on a real folder: a disk in memory opens no file."""

Leak = Callable[[OneDevice, int], None]


@dataclass(frozen=True)
class Size:
    """What must not grow."""

    allocated_bytes: int
    blocks: int
    handles: int
    disk_bytes: int
    outbox_pages: int


def grown(before: Size, after: Size) -> list[str]:
    """Return what has grown."""
    found = []
    more_bytes = after.allocated_bytes - before.allocated_bytes
    if more_bytes > MOST_GROWTH_BYTES or after.blocks - before.blocks > MOST_GROWTH_BLOCKS:
        found.append("memory")
    if after.handles > before.handles:
        found.append("handles")
    if after.disk_bytes > before.disk_bytes + 200:  # longer numbers
        found.append("disk")
    if after.outbox_pages > before.outbox_pages:
        found.append("outbox")
    return found


def install(device: OneDevice, first: int, last: int, leak: Leak | None = None) -> Size:
    """Install so many versions, one after the other; return how large everything is then."""
    for number in range(first, last + 1):
        package = make_package(
            KEYS, random.Random(number), ModelName(MODEL), number, Behaviour.GOOD
        )
        device.order(package, f"r{number}")
        device.settle()
        assert device.serving() == number
        _forget_the_past(device)
        if leak is not None:
            leak(device, number)
    return _measure(device)


@pytest.mark.timeout(900)
def test_ten_thousand_installs_in_one_process_grow_neither_memory_nor_handles_nor_disk() -> None:
    device = OneDevice()
    device.start()
    before = install(device, 1, WARM_UP)
    after = install(device, WARM_UP + 1, INSTALLS)
    assert grown(before, after) == [], f"from {before} to {after}"
    assert sum(isinstance(each, Deployment) for each in gc.get_objects()) < 100
    device.close()


def test_installs_on_a_real_folder_keep_no_file_open_and_no_file_more(tmp_path: Path) -> None:
    device = on_a_folder(tmp_path)
    before = install(device, 1, ON_A_FOLDER // 3)
    after = install(device, ON_A_FOLDER // 3 + 1, ON_A_FOLDER)
    assert grown(before, after) == [], f"from {before} to {after}"
    device.close()


# ---- it can fail


def _memory_leak() -> Leak:
    leaked: list[bytearray] = []
    return lambda device, number: leaked.append(bytearray(os.urandom(1024)))


def _handle_leak() -> Leak:
    leaked: list[int] = []

    def leak(device: OneDevice, number: int) -> None:
        if number % 100 == 0:
            leaked.append(os.open("/dev/null", os.O_RDONLY))

    return leak


def _outbox_leak() -> Leak:
    def leak(device: OneDevice, number: int) -> None:
        device._keeper.execute("CREATE TABLE IF NOT EXISTS leak (number)")
        device._keeper.execute("INSERT INTO leak VALUES (?)", (b"x" * 100,))
        device._keeper.commit()

    return leak


def _disk_leak() -> Leak:
    return lambda device, number: device.disk.write(f"kept-{number}", 0, b"x")


@pytest.mark.parametrize(
    ("leak", "what"),
    [
        (_memory_leak(), "memory"),
        (_handle_leak(), "handles"),
        (_outbox_leak(), "outbox"),
        (_disk_leak(), "disk"),
    ],
)
def test_a_leak_of_a_kibibyte_a_handle_a_row_or_a_file_is_seen(leak: Leak, what: str) -> None:
    device = OneDevice()
    device.start()
    before = install(device, 1, 300, leak)
    after = install(device, 301, 1500, leak)
    assert what in grown(before, after), f"from {before} to {after}"
    device.close()


def on_a_folder(folder: Path) -> OneDevice:
    """Return a device whose state folder and outbox are real files."""
    state = folder / "state"
    state.mkdir()
    disk: SimulatedDisk = FolderDisk(state)  # type: ignore[assignment]  # the same calls
    device = OneDevice(disk=disk, outbox_file=folder / "outbox.sqlite")
    device.start()
    return device


def _forget_the_past(device: OneDevice) -> None:
    """Drop what the test itself keeps: the hub's blobs, the events, what was published."""
    device.blobs.clear()
    device.events.clear()
    device.link.published.clear()
    device._seen = 0
    device.loaded.clear()


def _measure(device: OneDevice) -> Size:
    gc.collect()
    pages = device.outbox_pages()  # opens a file at the first look
    return Size(
        allocated_bytes=_allocated_bytes(),
        blocks=sys.getallocatedblocks(),
        handles=len(os.listdir("/proc/self/fd")),
        disk_bytes=_used_bytes(device.disk),
        outbox_pages=pages,
    )


class _MallInfo(ctypes.Structure):
    """``struct mallinfo2`` of glibc: ten sizes."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keep".split()
    ]


def _allocated_bytes() -> int:
    """Return what C, SQLite and Python's larger objects hold; what was freed does not hide it."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _MallInfo
    found = mallinfo2()
    return int(found.uordblks + found.hblkhd)


def _used_bytes(disk: object) -> int:
    if isinstance(disk, SimulatedDisk):
        return disk.used_bytes
    assert isinstance(disk, FolderDisk)
    return sum(path.stat().st_size for path in disk.root.rglob("*") if path.is_file())
