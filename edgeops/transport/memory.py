"""A broker in memory: retained messages and wildcards, without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

from edgeops.transport.contract import Incoming, TransportLost


def matches(topic_filter: str, topic: str) -> bool:
    """Tell whether an MQTT topic filter (``+``, ``#``) takes a topic."""
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels) or level not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)


class MemoryBroker:
    """What the transports of one test or simulation share."""

    def __init__(self) -> None:
        """Begin with nothing retained and nobody connected."""
        self.retained: dict[str, bytes] = {}
        self._clients: list[MemoryTransport] = []

    def lose_state(self) -> None:
        """Forget everything and drop every connection, as a killed broker does."""
        self.retained.clear()
        for client in list(self._clients):
            client.drop()

    def attach(self, client: MemoryTransport) -> None:
        """Take a connection."""
        self._clients.append(client)

    def detach(self, client: MemoryTransport) -> None:
        """Let a connection go."""
        if client in self._clients:
            self._clients.remove(client)

    def route(self, topic: str, payload: bytes, *, retain: bool) -> None:
        """Deliver a message, and keep (or, if empty, forget) it if it is to be retained."""
        if retain:
            self.retained[topic] = payload
            if not payload:
                del self.retained[topic]
        for client in list(self._clients):
            client.deliver(Incoming(topic=topic, payload=payload))


class MemoryTransport:
    """A connection to a ``MemoryBroker``."""

    def __init__(self, broker: MemoryBroker) -> None:
        """Keep the broker; nothing is connected yet."""
        self._broker = broker
        self._filters: tuple[str, ...] = ()
        self._queue: asyncio.Queue[Incoming | None] | None = None

    async def connect(self, filters: Sequence[str]) -> None:
        """Connect, subscribe and take what is retained."""
        await self.close()
        self._filters = tuple(filters)
        self._queue = asyncio.Queue()
        self._broker.attach(self)
        for topic, payload in self._broker.retained.items():
            self.deliver(Incoming(topic=topic, payload=payload, retained=True))

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Publish."""
        if self._queue is None:
            raise TransportLost("not connected to the broker in memory")
        self._broker.route(topic, payload, retain=retain)

    async def incoming(self) -> AsyncIterator[Incoming]:
        """Yield messages until the connection ends, then raise ``TransportLost``."""
        queue = self._queue
        while queue is not None:
            item = await queue.get()
            if item is None:
                break
            yield item
        raise TransportLost("the connection to the broker in memory ended")

    async def close(self) -> None:
        """End the connection."""
        self.drop()

    def deliver(self, message: Incoming) -> None:
        """Queue a message if a filter takes its topic."""
        if self._queue is not None and any(matches(f, message.topic) for f in self._filters):
            self._queue.put_nowait(message)

    def drop(self) -> None:
        """End the connection from the broker's side."""
        self._broker.detach(self)
        if self._queue is not None:
            self._queue.put_nowait(None)
            self._queue = None
