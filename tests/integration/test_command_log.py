"""An agent begins each command once, whatever has become of the file that remembers them."""

from __future__ import annotations

from pathlib import Path

import pytest

from device_agent.shell.commands import COMMANDS_PATH, CommandLog
from device_agent.shell.storage import FolderStorage
from tests import agent_values as valid


def test_a_command_is_begun_once_also_after_a_restart(tmp_path: Path) -> None:
    storage = FolderStorage(tmp_path)
    assert CommandLog(storage).begin(valid.command(), 0.0)
    assert not CommandLog(storage).begin(valid.command(), 0.0)


@pytest.mark.parametrize("damaged", [b"", b"{", b"null", b"\xff", b"[" * 100_000, b'[1,null,"c2"]'])
def test_a_damaged_file_stops_no_agent(tmp_path: Path, damaged: bytes) -> None:
    storage = FolderStorage(tmp_path)
    storage.replace(COMMANDS_PATH, damaged)
    assert CommandLog(storage).begin(valid.command(), 0.0)
