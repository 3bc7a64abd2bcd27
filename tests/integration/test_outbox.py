"""The outbox: what was accepted is sent until it is acknowledged, whatever happens to us."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.reasons import Reason
from device_agent.shell.outbox import MAX_ITEMS, RESEND_AFTER_S, SEND_AT_ONCE, Outbox

HERE = Path(__file__).resolve().parents[2]


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    made = Outbox(tmp_path / "outbox.sqlite")
    yield made
    made.close()


def put(outbox: Outbox, count: int, kind: str = "event") -> str:
    """Put some items; return the name of their stream."""
    for number in range(count):
        outbox.put(kind, b"%d" % number)
    return next(name for each, name, _ in outbox._streams() if each == kind)


def due(outbox: Outbox, now_s: float, kind: str = "event") -> list[int]:
    return [item.sequence for item in outbox.due(now_s) if item.kind == kind]


def test_items_are_numbered_from_one_and_sent_in_order_with_their_bodies(outbox: Outbox) -> None:
    stream = put(outbox, 3)
    items = outbox.due(0.0)
    assert [(item.stream, item.sequence, item.body) for item in items] == [
        (stream, 1, b"0"),
        (stream, 2, b"1"),
        (stream, 3, b"2"),
    ]


def test_each_kind_has_a_stream_and_numbers_of_its_own(outbox: Outbox) -> None:
    assert put(outbox, 2, "event") != put(outbox, 1, "telemetry")
    assert (due(outbox, 0.0), due(outbox, 9.0, "telemetry")) == ([1, 2], [1])


def test_what_was_sent_is_not_sent_again_until_the_answer_is_late(outbox: Outbox) -> None:
    put(outbox, 2)
    assert due(outbox, 0.0) == [1, 2]
    assert due(outbox, RESEND_AFTER_S - 0.1) == []
    assert due(outbox, RESEND_AFTER_S) == [1, 2]
    assert due(outbox, RESEND_AFTER_S + 0.1) == []


def test_a_new_connection_makes_everything_due_again(outbox: Outbox) -> None:
    put(outbox, 2)
    outbox.due(0.0)
    outbox.resend_all()
    assert due(outbox, 0.1) == [1, 2]


def test_at_most_a_batch_is_under_way_and_acknowledgements_let_the_next_follow(
    outbox: Outbox,
) -> None:
    stream = put(outbox, SEND_AT_ONCE + 5)
    assert due(outbox, 0.0) == list(range(1, SEND_AT_ONCE + 1))
    assert due(outbox, 0.1) == []
    outbox.acknowledge(stream, 3)
    assert due(outbox, 0.2) == [SEND_AT_ONCE + 1, SEND_AT_ONCE + 2, SEND_AT_ONCE + 3]


def test_an_acknowledgement_is_cumulative(outbox: Outbox) -> None:
    stream = put(outbox, 5)
    outbox.acknowledge(stream, 3)
    assert outbox.depth() == 2
    assert due(outbox, 0.0) == [4, 5]
    assert {item.oldest for item in outbox.due(99.0)} == {4}


def test_old_repeated_and_impossible_acknowledgements_change_nothing(outbox: Outbox) -> None:
    stream = put(outbox, 5)
    outbox.acknowledge(stream, 3)
    for name, number in [(stream, 3), (stream, 1), (stream, 0), (stream, 6), ("other", 5)]:
        outbox.acknowledge(name, number)
    assert (outbox.depth(), due(outbox, 0.0)) == (2, [4, 5])


def test_numbers_go_on_after_everything_was_acknowledged_and_after_a_restart(
    tmp_path: Path,
) -> None:
    first = Outbox(tmp_path / "outbox.sqlite")
    stream = put(first, 3)
    first.acknowledge(stream, 3)
    first.close()
    again = Outbox(tmp_path / "outbox.sqlite")
    assert again.put("event", b"x") == 4
    assert [(item.stream, item.sequence) for item in again.due(0.0)] == [(stream, 4)]
    again.close()


def test_another_database_is_another_stream(tmp_path: Path) -> None:
    names = set()
    for number in range(2):
        made = Outbox(tmp_path / f"{number}.sqlite")
        names.add(put(made, 1))
        made.close()
    assert len(names) == 2


def test_a_killed_writer_loses_nothing_that_it_was_told_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    child = subprocess.Popen(
        [sys.executable, "-m", "tests.outbox_writer", path], cwd=HERE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    for _ in range(40):
        child.stdout.readline()
    os.kill(child.pid, signal.SIGKILL)
    told = [int(line) for line in child.stdout.read().split()]
    child.wait()
    child.stdout.close()
    kept = Outbox(path)
    last = max(told, default=40)
    assert last <= kept.depth() <= last + 1
    seen: list[int] = []
    (stream,) = [name for kind, name, _ in kept._streams() if kind == "event"]
    while items := [item for item in kept.due(0.0) if item.kind == "event"]:
        assert all(item.body == b'{"n":%d}' % item.sequence for item in items)
        seen += [item.sequence for item in items]
        kept.acknowledge(stream, seen[-1])
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) >= last
    kept.close()


def test_a_full_stream_refuses_and_the_other_one_does_not(outbox: Outbox) -> None:
    bound = MAX_ITEMS
    outbox._database.execute("UPDATE stream SET last = ? WHERE kind = 'event'", (bound,))
    with pytest.raises(StorageFailed) as raised:
        outbox.put("event", b"x")
    assert raised.value.reason is Reason.DISK_FULL
    assert outbox.put("telemetry", b"x") == 1
    (stream,) = [name for kind, name, _ in outbox._streams() if kind == "event"]
    outbox.acknowledge(stream, 1)
    assert outbox.put("event", b"x") == bound + 1


def test_a_database_that_cannot_grow_says_that_the_disk_is_full_and_recovers(
    outbox: Outbox,
) -> None:
    put(outbox, 1)
    (pages,) = outbox._database.execute("PRAGMA page_count").fetchone()
    outbox._database.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StorageFailed) as raised:
        for _ in range(50):
            outbox.put("event", b"x" * 1000)
    assert raised.value.reason is Reason.DISK_FULL
    kept = outbox.depth()
    outbox._database.execute("PRAGMA max_page_count=100000")
    assert outbox.put("event", b"y") == kept + 1
    assert outbox.depth() == kept + 1


@pytest.mark.parametrize("damage", [b"", b"not a database" * 100])
def test_a_file_that_is_no_database_is_put_aside_and_the_device_goes_on(
    tmp_path: Path, damage: bytes
) -> None:
    path = tmp_path / "outbox.sqlite"
    path.write_bytes(damage)
    outbox = Outbox(path)
    assert outbox.put("event", b"x") == 1
    assert [item.body for item in outbox.due(0.0)] == [b"x"]
    assert (tmp_path / "outbox.damaged").exists() == bool(damage)
    outbox.close()


def test_a_database_that_is_damaged_later_is_put_aside_with_its_streams(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    outbox = Outbox(path)
    outbox.put("event", b"x")
    (before,) = outbox.due(0.0)
    outbox.close()
    path.write_bytes(path.read_bytes()[:1000] + b"\xff" * 5000)
    again = Outbox(path)
    for _ in range(2):
        with contextlib.suppress(StorageFailed):
            again.put("event", b"y")
    assert again.put("event", b"z") >= 1
    assert again.due(0.0)[0].stream != before.stream
    again.close()


def test_it_may_be_read_beside_a_running_agent(outbox: Outbox, tmp_path: Path) -> None:
    put(outbox, 3)
    reader = sqlite3.connect(f"file:{tmp_path / 'outbox.sqlite'}?mode=ro", uri=True)
    assert reader.execute("SELECT count(*) FROM item").fetchone() == (3,)
    reader.close()
    assert outbox.put("event", b"x") == 4
