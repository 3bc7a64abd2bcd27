"""What a broker sends may be anything: the link counts it as a lost connection and comes back."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import paho.mqtt.client as mqtt
import pytest

from device_agent.shell.inbox import Inbox
from device_agent.shell.link import Disconnected, Link, LinkLimits
from tests.device_harness import Hub
from tests.processes import free_port

CONNACK = bytes([0x20, 3, 0, 0, 0])
WAIT_S = 30.0
SPOILED = (
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    bytes([0x20, 0]),
    bytes([0x20, 1, 0]),
    bytes([0x20, 7, 0, 0, 4, 0x99, 1, 1, 1]),  # an unknown property
    bytes([0xE0, 2, 0x99, 5]),  # a farewell before the answer
    CONNACK + bytes([0x30, 1, 0]),
    CONNACK + bytes([0x30, 3, 0, 9, 65]),  # a topic that is longer than its packet
    CONNACK + bytes([0x30, 5, 0, 2, 0xFF, 0xFE, 0]),  # a topic that is no UTF-8
    CONNACK + bytes([0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]),  # a length without an end
    CONNACK + bytes([0x40, 1, 0]),
    CONNACK + bytes([0x62, 0]),
    CONNACK + bytes([0x90, 5, 0, 9, 0, 1, 2]),
    CONNACK + bytes([0, 0]),
    CONNACK + bytes([0xF0, 0]),
)


@contextmanager
def broker(answers: tuple[bytes, ...]) -> Iterator[tuple[int, list[int]]]:
    """Answer one connection after the other with the next bytes; yield port and what was said."""
    said: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for number in range(10**6):
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    connection.settimeout(2.0)
                    connection.recv(4096)
                    connection.sendall(answers[number % len(answers)])
                    time.sleep(0.01)
                said.append(number)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1], said
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


def link_to(port: int, inbox: Inbox) -> Link:
    return Link(
        Hub().enrolment(broker=f"mqtt://127.0.0.1:{port}", password="x"),
        inbox,
        will=lambda session: ("t", b""),
        next_session=lambda: 1,
        chance=random.Random(0),
        limits=LinkLimits(backoff_first_s=0.001, backoff_most_s=0.002, connect_timeout_s=2.0),
    )


def connect(answers: tuple[bytes, ...], times: int) -> list[str]:
    """Let a link meet a broker so often; return why each of its connections ended."""
    inbox, until_s = Inbox(), time.monotonic() + WAIT_S
    with broker(answers) as (port, said):
        link = link_to(port, inbox)
        link.start()
        while len(said) < times:
            assert link._thread.is_alive(), "the thread ended: nothing would connect again"
            assert time.monotonic() < until_s
            time.sleep(0.01)
        link.stop()
    taken: list[object] = []
    while waits := inbox.take(0):
        taken += waits
    return [item.cause for item in taken if isinstance(item, Disconnected)]


def random_packets(chance: random.Random) -> bytes:
    packets = b""
    for _ in range(chance.randrange(1, 5)):
        body = bytes(chance.randrange(48) for _ in range(chance.randrange(24)))
        packets += bytes([chance.randrange(256), len(body)]) + body
    return packets


@pytest.mark.parametrize("kind", ["chosen", "random"])
def test_that_the_link_outlives_whatever_a_broker_sends(kind: str) -> None:
    chance = random.Random(7)
    made = tuple(CONNACK + random_packets(chance) for _ in range(200))
    answers = SPOILED if kind == "chosen" else made
    assert len(connect(answers, len(answers) + 1)) >= len(answers)


def test_that_a_refused_subscription_is_told_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    refused = CONNACK + bytes([0x90, 4, 0, 1, 0, 0x87])
    connect((refused,), 3)
    told = [each for each in caplog.records if each.getMessage() == "link.subscription_refused"]
    assert len(told) >= 2
    assert vars(told[0])["cause"] == "Not authorized"


def test_that_a_broker_that_is_not_there_is_told_once_and_tried_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inbox = Inbox()
    link = link_to(free_port(), inbox)
    link.start()
    until_s = time.monotonic() + WAIT_S
    while len(inbox) < 5 and time.monotonic() < until_s:
        time.sleep(0.01)
    link.stop()
    (told,) = [each for each in caplog.records if each.getMessage() == "link.unreachable"]
    assert len(inbox) >= 5
    assert "refused" in vars(told)["cause"]
    assert vars(told)["broker"].startswith("mqtt://127.0.0.1:")


def test_that_the_link_outlives_an_error_of_the_mqtt_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = iter([RuntimeError("a defect"), MemoryError()])
    real = mqtt.Client.loop_forever

    def loop(self: mqtt.Client, *arguments: object, **named: object) -> object:
        for error in broken:
            raise error
        return real(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(mqtt.Client, "loop_forever", loop)
    causes = connect((CONNACK,), 5)
    assert causes[:2] == ["RuntimeError: a defect", "MemoryError: "]
    assert "lost" in causes
