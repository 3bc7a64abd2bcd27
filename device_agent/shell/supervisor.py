"""Whoever watches over the agent's process: systemd's notification protocol, or nobody.

The protocol is a datagram to the socket that ``NOTIFY_SOCKET`` names (sd_notify(3),
sd_watchdog_enabled(3)); the standard library is enough for it. What is told must never disturb
the agent: a socket that is not there is no error.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, MutableMapping

PINGS_PER_TIMEOUT = 3
"""A watchdog is told this often in the time that it waits."""
MAX_STATUS = 200


class Supervisor:
    """The service manager that started this process, if one did."""

    def __init__(
        self, address: str, watchdog_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the socket's address (empty: nobody watches) and the watchdog's time (0: none)."""
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._pause_s = watchdog_s / PINGS_PER_TIMEOUT
        self._clock = clock
        self._next_ping_s = 0.0
        self._status = ""

    @classmethod
    def of_this_process(cls, environment: MutableMapping[str, str] = os.environ) -> Supervisor:
        """Read who watches, and take it out of the environment: it is not for our children."""
        address = environment.pop("NOTIFY_SOCKET", "")
        limit_us = environment.pop("WATCHDOG_USEC", "")
        meant = environment.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        ours = meant and limit_us.isascii() and limit_us.isdigit()
        return cls(address, int(limit_us) / 1e6 if ours else 0.0)

    @property
    def watches(self) -> bool:
        """Whether somebody starts this process again when it ends."""
        return bool(self._address)

    def ready(self) -> None:
        """Say that what served before serves again."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Say in one line how it goes, if that has changed."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + " ".join(text.split())[:MAX_STATUS])

    def alive(self) -> None:
        """Feed the watchdog, when it is time to. For the loop alone: a hung loop must starve it."""
        now_s = self._clock()
        if self._pause_s and now_s >= self._next_ping_s:
            self._next_ping_s = now_s + self._pause_s
            self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
            way.settimeout(0.0)
            way.sendto(text.encode("utf-8", "replace"), self._address)
