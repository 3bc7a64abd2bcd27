"""A proxy before a broker: it can answer as an old broker does, and leave connections half open."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from tests.processes import free_port

MQTT_5 = 5
PIECE_BYTES = 64 * 1024
CONNACK_UNSUPPORTED = bytes([0x20, 2, 0, 1])
"""What MQTT 3.1.1 has for a protocol level that it does not know."""

Manner = Callable[[socket.socket], None]


def answers_unsupported(client: socket.socket) -> None:
    """Answer MQTT 5 as 3.1.1 asks a broker to."""
    client.sendall(CONNACK_UNSUPPORTED)


def closes(client: socket.socket) -> None:
    """Answer MQTT 5 as brokers do that take it for a broken packet."""


def says_nothing(client: socket.socket) -> None:
    """Answer MQTT 5 with silence, until the client gives up."""
    while client.recv(PIECE_BYTES):
        pass


def level_of(packet: bytes) -> int:
    """Return the protocol level of a CONNECT packet: after its length, and the name ``MQTT``."""
    at = 1
    while packet[at] & 0x80:
        at += 1
    assert packet[0] == 0x10
    assert packet[at + 3 : at + 7] == b"MQTT"
    return packet[at + 7]


@dataclass
class Proxy:
    """Forwards to a broker on this machine; use as a context manager.

    Attributes:
        target: port of the broker. May be changed for later connections.
        manner: how MQTT 5 is answered; None: it is forwarded as all else is.
        levels: protocol level of each CONNECT that came.
    """

    target: int
    manner: Manner | None = None
    port: int = field(default_factory=free_port)
    levels: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._open: list[tuple[socket.socket, socket.socket]] = []
        self._kept: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._listen)

    def drop(self) -> None:
        """Close every connection on both sides."""
        for pair in list(self._open):
            for each in pair:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def half_open(self) -> None:
        """Close every connection towards the device; the broker is not told."""
        for client, broker in list(self._open):
            self._kept.append(broker.dup())
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop()
        for each in self._kept:
            each.close()
        for thread in self._threads:
            thread.join()

    def _start(self, act: Callable[[], None]) -> None:
        thread = threading.Thread(target=act)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(partial(self._serve, client))

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(ConnectionError):
            first = client.recv(PIECE_BYTES)
            if not first:
                return
            self.levels.append(level_of(first))
            if self.manner is not None and self.levels[-1] == MQTT_5:
                self.manner(client)
                return
            with socket.create_connection(("127.0.0.1", self.target)) as broker:
                broker.sendall(first)
                self._open.append((client, broker))
                _forward(client, broker)
                self._open.remove((client, broker))


def _forward(one: socket.socket, two: socket.socket) -> None:
    other = {one: two, two: one}
    while True:
        for each in select.select([one, two], [], [])[0]:
            try:
                data = each.recv(PIECE_BYTES)
                if not data:
                    return
                other[each].sendall(data)
            except OSError:
                return
