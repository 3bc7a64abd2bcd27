"""What the hub needs of a transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from edgeops.domain.errors import EdgeopsError


class TransportLost(EdgeopsError):
    """The connection could not be made, or ended: connect again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A message as it came."""

    topic: str
    payload: bytes
    retained: bool = False


class Transport(Protocol):
    """A connection to a broker: at-least-once for QoS 1, retained messages, wildcards."""

    async def connect(self, filters: Sequence[str]) -> None:
        """Connect and subscribe.

        Raises:
            TransportLost: the broker is not there, or refuses.
        """

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Publish; with QoS 1, returns when the broker has the message.

        Raises:
            TransportLost: there is no connection any more.
        """

    def incoming(self) -> AsyncIterator[Incoming]:
        """Yield messages until the connection ends, then raise ``TransportLost``."""
        ...

    async def close(self) -> None:
        """End the connection; may be called again."""
