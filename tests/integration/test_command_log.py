"""An agent begins each command once, whatever has become of its file and of its clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agent.core.window import EARLIEST_WALL_S
from device_agent.shell.commands import (
    COMMANDS_PATH,
    MAX_REMEMBERED,
    CommandLog,
    Standing,
)
from device_agent.shell.storage import FolderStorage
from tests import agent_values as valid

NOON_S = EARLIEST_WALL_S + 1e6


def issued(at_s: float, *, lives_s: float = 300.0, name: str | None = None) -> valid.Command:
    return valid.command(id=name or f"c{at_s:.0f}", issued_s=at_s, expires_s=at_s + lives_s)


@pytest.fixture
def storage(tmp_path: Path) -> FolderStorage:
    return FolderStorage(tmp_path)


def test_a_command_is_begun_once_also_after_a_restart(storage: FolderStorage) -> None:
    log = CommandLog(storage)
    assert log.judge(valid.command(), NOON_S, 0.0) is Standing.NEW
    log.begin(valid.command())
    for again in (log, CommandLog(storage)):
        assert again.judge(valid.command(), NOON_S, 0.0) is Standing.BEGUN_BEFORE


DAMAGED = [b"", b"{", b"null", b"\xff", b"[" * 100_000, b'["c1"]', b'{"begun":[{}]}']


@pytest.mark.parametrize("damaged", DAMAGED)
def test_after_its_file_was_damaged_what_was_issued_before_the_start_is_not_begun(
    storage: FolderStorage, damaged: bytes
) -> None:
    storage.replace(COMMANDS_PATH, damaged)
    log = CommandLog(storage, opened_s=100.0)
    for before_s in (0.0, 1.0, 299.0):
        assert log.judge(issued(NOON_S - before_s), NOON_S + 2, 102.0) is Standing.FORGOTTEN
    later = issued(NOON_S + 1)
    assert log.judge(later, NOON_S + 3, 103.0) is Standing.NEW
    log.begin(later)
    again = CommandLog(storage)
    assert again.judge(later, NOON_S + 4, 1.0) is Standing.BEGUN_BEFORE
    assert again.judge(issued(NOON_S - 1), NOON_S + 4, 1.0) is Standing.FORGOTTEN


def test_without_a_clock_the_first_command_after_the_damage_says_what_time_it_may_be(
    storage: FolderStorage,
) -> None:
    storage.replace(COMMANDS_PATH, b"damaged")
    log = CommandLog(storage)
    first, second = issued(NOON_S - 40), issued(NOON_S - 20)
    assert log.judge(first, 12.0, 0.0) is Standing.FORGOTTEN
    assert log.judge(second, 12.0, 0.0) is Standing.FORGOTTEN
    assert log.judge(issued(first.expires_s + 1), 500.0, 488.0) is Standing.NEW


def test_a_clock_that_is_years_ahead_at_the_damage_locks_no_command_out_for_years(
    storage: FolderStorage,
) -> None:
    storage.replace(COMMANDS_PATH, b"damaged")
    log = CommandLog(storage)
    assert log.judge(issued(NOON_S), NOON_S + 1e9, 5.0) is Standing.EXPIRED
    assert log.judge(issued(NOON_S + 60), NOON_S + 61, 66.0) is Standing.NEW


def test_what_was_forgotten_is_never_begun_again(storage: FolderStorage) -> None:
    log = CommandLog(storage)
    sent = [issued(NOON_S + number, lives_s=1e9) for number in range(MAX_REMEMBERED + 10)]
    for command in sent:
        assert log.judge(command, NOON_S, 0.0) is Standing.NEW
        log.begin(command)
    for again in (log, CommandLog(storage)):
        standings = {again.judge(command, NOON_S, 0.0) for command in sent}
        assert standings == {Standing.BEGUN_BEFORE, Standing.FORGOTTEN}
    assert log.judge(issued(NOON_S + 1e6), NOON_S, 0.0) is Standing.NEW


def test_what_was_issued_first_is_forgotten_first_in_whatever_order_it_came(
    storage: FolderStorage,
) -> None:
    log = CommandLog(storage)
    newest = issued(NOON_S + 1000, lives_s=1e9)
    sent = [newest, *(issued(NOON_S + number, lives_s=1e9) for number in range(MAX_REMEMBERED))]
    for command in sent:
        log.begin(command)
    assert log.judge(newest, NOON_S, 0.0) is Standing.BEGUN_BEFORE
    assert log.judge(issued(NOON_S + 500, lives_s=1e9), NOON_S, 0.0) is Standing.NEW


def test_a_command_expires_by_a_clock_that_is_set(storage: FolderStorage) -> None:
    log = CommandLog(storage)
    assert log.judge(issued(NOON_S), NOON_S + 301, 0.0) is Standing.EXPIRED
    # A hub whose clock once ran ahead does not make every later command expired.
    assert log.judge(issued(NOON_S + 1e8), NOON_S, 0.0) is Standing.NEW
    assert log.judge(issued(NOON_S + 5), NOON_S + 6, 1.0) is Standing.NEW


def test_a_board_that_boots_in_1970_takes_the_time_from_what_the_hub_signed(
    storage: FolderStorage,
) -> None:
    log, boot_s = CommandLog(storage), 12.0
    first = issued(NOON_S)
    assert log.judge(first, boot_s, 100.0) is Standing.NEW
    log.begin(first)
    kept_back = issued(NOON_S + 10)
    assert log.judge(kept_back, boot_s + 299, 399.0) is Standing.NEW
    assert log.judge(kept_back, boot_s + 312, 412.0) is Standing.EXPIRED
    after_a_reboot = CommandLog(storage)
    older = issued(NOON_S - 400)
    assert after_a_reboot.judge(older, boot_s, 3.0) is Standing.EXPIRED
    assert after_a_reboot.judge(first, boot_s, 3.0) is Standing.BEGUN_BEFORE


def test_what_was_begun_and_not_told_is_known_after_a_restart(storage: FolderStorage) -> None:
    log = CommandLog(storage)
    for name in ("c1", "c2"):
        log.begin(valid.command(id=name, kind="restart"))
    log.told("c1")
    (untold,) = CommandLog(storage).untold()
    assert (untold.id, untold.kind) == ("c2", "restart")
