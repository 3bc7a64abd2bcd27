"""A broker and a network that lose, repeat, delay, reorder and spoil messages, by a seed.

QoS 1 promises only what MQTT promises: a message may come twice, and one for a client that is
away is queued or lost. A spoiled message has one byte flipped; only signed and hashed messages
are spoiled, the others are protected by the transport's own checks.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from edgeops.simulation.clock import VirtualTime
from edgeops.transport.memory import matches

Receive = Callable[[str, bytes], None]

HUB = "hub"
PROTECTED_KINDS = ("desired", "cmd", "blob", "repair")
USUAL_DELAY_S = 0.05
WILL_AFTER_S = 45.0
"""One and a half times a keepalive of 30 s: when a broker gives a silent client up."""


@dataclass(slots=True, kw_only=True)
class NetworkFaults:
    """How bad the network is now; shares are 0 to 1."""

    drop: float = 0.0
    duplicate: float = 0.0
    spoil: float = 0.0
    most_delay_s: float = USUAL_DELAY_S
    most_repeat_s: float = 60.0
    """How late a message that comes twice may come the second time."""
    forget_session: float = 0.0
    lose_subscription: float = 0.0
    """Share of the subscriptions at which the connection is lost before the broker has them."""


@dataclass(slots=True)
class _Session:
    """Of a client, with the number of the last connection and of the newest message it got."""

    filters: dict[str, int] = field(default_factory=dict)
    queued: list[tuple[str, bytes]] = field(default_factory=list)
    receive: Receive | None = None
    will: tuple[str, bytes] | None = None
    connection: int = 0
    newest: int = 0
    is_silent: bool = False
    """Whether the way to it is cut, which neither side has noticed."""


class SimulatedBroker:
    """Routes between clients; the hub is one of them."""

    def __init__(self, time: VirtualTime, chance: random.Random) -> None:
        """Begin with nothing retained and nobody connected."""
        self.retained: dict[str, bytes] = {}
        self.faults = NetworkFaults()
        self._time = time
        self._chance = chance
        self._sessions: dict[str, _Session] = {}
        self._sent = 0

    def connect(self, name: str, receive: Receive, will: tuple[str, bytes] | None) -> None:
        """Take a connection; the session of before may be forgotten."""
        known = name in self._sessions and self._chance.random() >= self.faults.forget_session
        if name in self._sessions and not known:
            self._time.faults["session_forgotten"] += 1
        session = self._sessions[name] if known else _Session()
        session.connection = self._sessions[name].connection + 1 if name in self._sessions else 1
        self._sessions[name] = session
        session.receive, session.will, session.is_silent = receive, will, False
        queued, session.queued = session.queued, []
        for topic, payload in queued:
            self._send(name, topic, payload, 1)

    def disconnect(self, name: str, *, gracefully: bool) -> None:
        """End a connection; without grace the will is said when the broker notices."""
        session = self._sessions.get(name)
        if session is None or session.receive is None:
            return
        will, session.receive, session.will = session.will, None, None
        if will is not None and not gracefully:
            # Said even if the client is long back: a broker may notice late.
            late_s = self._chance.uniform(0.0, WILL_AFTER_S)
            self._time.after(late_s, lambda: self.publish(*will, qos=1, retain=True))

    def silence(self, name: str) -> None:
        """Let nothing reach a client until it connects again; the broker does not notice."""
        if name in self._sessions:
            self._sessions[name].is_silent = True

    def loses_subscription(self) -> bool:
        """Tell whether the next subscription does not reach the broker."""
        lost = self._chance.random() < self.faults.lose_subscription
        self._time.faults["subscription_lost"] += lost
        return lost

    def subscribe(self, name: str, filters: Sequence[str], qos: int) -> None:
        """Subscribe; what is retained comes at once."""
        session = self._sessions.get(name)
        if session is None:
            return
        for each in filters:
            session.filters[each] = qos
            for topic, payload in list(self.retained.items()):
                if matches(each, topic):
                    self._send(name, topic, payload, qos)

    def unsubscribe(self, name: str, filters: Sequence[str]) -> None:
        """Unsubscribe."""
        session = self._sessions.get(name)
        for each in filters if session is not None else ():
            session.filters.pop(each, None)  # type: ignore[union-attr]  # not None just above

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Route a message."""
        self._time.log.mix(self._time.now_s, topic, payload)
        if retain:
            self.retained[topic] = payload
            if not payload:
                del self.retained[topic]
        for name, session in list(self._sessions.items()):
            granted = [q for each, q in session.filters.items() if matches(each, topic)]
            if granted:
                self._send(name, topic, payload, min(qos, max(granted)))

    def lose_state(self) -> list[str]:
        """Forget everything, as a killed broker does; return who was connected."""
        names = [name for name, session in self._sessions.items() if session.receive is not None]
        self._sessions.clear()
        self.retained.clear()
        self._time.note("broker", "lost its state")
        return names

    def _send(self, name: str, topic: str, payload: bytes, qos: int) -> None:
        faults, chance = self.faults, self._chance
        happened = self._time.faults
        if qos == 0 and chance.random() < faults.drop:
            happened["message_dropped"] += 1
            return
        copies = 2 if qos and chance.random() < faults.duplicate else 1
        self._sent += 1
        for copy in range(copies):
            data = self._spoiled(topic, payload)
            most_s = faults.most_repeat_s if copy else faults.most_delay_s
            delay_s = chance.uniform(0.001, most_s)
            connection = self._sessions[name].connection
            happened["message_repeated"] += copy
            happened["message_delayed"] += delay_s > USUAL_DELAY_S
            happened["message_spoiled"] += data != payload
            arrive = partial(self._arrive, name, topic, data, qos, connection, self._sent)
            self._time.after(delay_s, arrive)

    def _arrive(
        self, name: str, topic: str, payload: bytes, qos: int, connection: int, number: int
    ) -> None:
        session = self._sessions.get(name)
        if session is None:
            return
        here = session.receive is not None and session.connection == connection
        if session.receive is not None and here and not session.is_silent:
            self._time.faults["message_reordered"] += number < session.newest
            session.newest = max(session.newest, number)
            session.receive(topic, payload)
        elif qos and self._chance.random() < 0.5:
            session.queued.append((topic, payload))
        else:
            self._time.faults["message_lost_with_connection"] += 1

    def _spoiled(self, topic: str, payload: bytes) -> bytes:
        signed = any(kind in topic.split("/") for kind in PROTECTED_KINDS)
        if not payload or not signed or self._chance.random() >= self.faults.spoil:
            return payload
        spoiled = bytearray(payload)
        spoiled[self._chance.randrange(len(spoiled))] ^= 1 << self._chance.randrange(8)
        return bytes(spoiled)
