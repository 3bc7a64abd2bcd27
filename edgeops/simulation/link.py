"""A device's link to the simulated broker: lost, refused and silent as the world wants it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from device_agent.shell.link import Connected, Disconnected, Message
from edgeops.simulation.network import SimulatedBroker

if TYPE_CHECKING:
    from edgeops.simulation.device import SimulatedDevice


class SimulatedLink:
    """Fulfils ``LinkLike`` on a simulated broker. Each connection may fail by a seed."""

    def __init__(self, device: SimulatedDevice, broker: SimulatedBroker) -> None:
        """Begin without a connection."""
        self._device = device
        self._broker = broker
        self.connected = False
        self.is_silent = False

    def start(self) -> None:
        """Begin to connect."""
        self._device.later(self._device.chance.uniform(0.05, 1.0), self._connect)

    def stop(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Say farewell if connected, and end."""
        if farewell is not None and self.connected:
            self._broker.publish(*farewell, qos=1, retain=True)
        self._broker.disconnect(self._device.name, gracefully=True)
        self.connected = False

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Hand a message over; the power may go before or after it."""
        self._device.effect()
        if not self.connected:
            return False
        if self.is_silent:
            self._device.count_fault("message_lost_in_silence")
            return True
        self._broker.publish(topic, payload, qos=qos, retain=retain)
        self._device.effect()
        return True

    def subscribe(self, filters: Sequence[str], *, qos: int = 1) -> None:
        """Subscribe, if connected; the connection may be lost before the broker has it."""
        if self.is_silent:
            return
        if self.connected and self._broker.loses_subscription():
            self.lose("lost at a subscription")
        elif self.connected:
            self._broker.subscribe(self._device.name, filters, qos)

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Unsubscribe, if connected."""
        if self.connected:
            self._broker.unsubscribe(self._device.name, filters)

    def fall_silent(self, for_s: float) -> None:
        """Let every message vanish, both ways; that the connection is lost is noticed late."""
        if self.connected:
            self.is_silent = True
            self._broker.silence(self._device.name)
            self._device.later(for_s, lambda: self.lose("cut off"))

    def lose(self, cause: str) -> None:
        """Lose the connection; the broker notices late. The agent tries again after a while."""
        if self.connected:
            self.connected = self.is_silent = False
            self._broker.disconnect(self._device.name, gracefully=False)
            self._device.put(Disconnected(cause=cause))
        self._device.later(self._device.chance.uniform(1.0, 8.0), self._connect)

    def _connect(self) -> None:
        if self.connected:
            return
        if self._device.is_cut_off:
            self.lose("no route")
            return
        loop = self._device.running
        session = loop.next_session()
        self.connected = True
        self._broker.connect(self._device.name, self._receive, loop.will(session))
        self._device.put(Connected(session=session))

    def _receive(self, topic: str, payload: bytes) -> None:
        self._device.put(Message(topic=topic, payload=payload))
