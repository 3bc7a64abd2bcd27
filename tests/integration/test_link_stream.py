"""What the loop's thread publishes, and what the link's thread sends meanwhile, stay whole packets."""

from __future__ import annotations

import random
import socket
import threading
import time
from contextlib import suppress

from device_agent.shell.inbox import Inbox
from device_agent.shell.link import Link, LinkLimits
from tests.device_harness import Hub

TOPIC = "up/x"
TRY_S = 8.0
SECONDS_A_BYTE = 1 / 50e6
"""Slow enough that the socket's buffer is full now and then, and a packet is sent in parts."""


class Broken(Exception):
    """The stream is no sequence of packets."""


class SlowBroker:
    """Reads slowly, answers, and looks at every byte."""

    def __init__(self) -> None:
        self.packets = self.connections = 0
        self.broken: list[str] = []
        self._server = socket.socket()
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        self._server.bind(("127.0.0.1", 0))
        self._server.listen()
        self.port = self._server.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                try:
                    while True:
                        self._packet(connection)
                except (EOFError, OSError):
                    continue
                except Broken as error:
                    self.broken.append(f"{error} in packet {self.packets}")

    def _packet(self, connection: socket.socket) -> None:
        header = self._read(connection, 1)[0]
        size = shift = 0
        while True:
            byte = self._read(connection, 1)[0]
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift > 21:
                raise Broken("a length without an end")
        body = self._read(connection, size)
        self.packets += 1
        kind, qos = header >> 4, header >> 1 & 3
        if kind == 1:
            connection.sendall(bytes([0x20, 3, 0, 0, 0]))
        elif kind == 3:
            self._published(connection, body, qos)
        elif kind == 12:
            connection.sendall(bytes([0xD0, 0]))
        elif kind not in (8, 14):
            raise Broken(f"kind {kind}")

    def _published(self, connection: socket.socket, body: bytes, qos: int) -> None:
        length = int.from_bytes(body[:2])
        if body[2 : 2 + length] != TOPIC.encode():
            raise Broken("another topic")
        at = 2 + length + (2 if qos else 0) + 1
        if len(set(body[at:])) != 1:
            raise Broken("a payload of two messages")
        if qos:
            connection.sendall(bytes([0x40, 2]) + body[2 + length : 4 + length])

    def _read(self, connection: socket.socket, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = connection.recv(min(4096, size - len(data)))
            if not piece:
                raise EOFError
            time.sleep(len(piece) * SECONDS_A_BYTE)
            data += piece
        return data


def test_that_packets_stay_whole_while_two_threads_have_something_to_send() -> None:
    broker, chance = SlowBroker(), random.Random(1)
    link = Link(
        Hub().enrolment(broker=f"mqtt://127.0.0.1:{broker.port}"),
        Inbox(),
        will=lambda session: ("t", b""),
        next_session=lambda: 1,
        chance=chance,
        limits=LinkLimits(backoff_first_s=0.02, backoff_most_s=0.1),
    )
    link.start()
    until_s = time.monotonic() + TRY_S
    number = 0
    while time.monotonic() < until_s:
        for _ in range(4):
            number += 1
            payload = bytes([65 + number % 26]) * chance.choice((300, 2_000, 20_000, 56_000))
            link.publish(TOPIC, payload, qos=chance.choice((0, 1)))
        time.sleep(0.002)
    link.stop()
    broker.close()
    assert broker.broken == []
    assert broker.connections == 1
    assert broker.packets > 100
