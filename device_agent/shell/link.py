"""The link to the broker: one thread that connects, waits with full jitter, connects again.

paho's callbacks only put into the agent's queue. Sessions are kept by the broker
(``clean_start`` is never set), but nothing relies on it: whenever the broker has forgotten the
session, the loop subscribes again. How long the pauses are, and which version of MQTT is spoken, is
decided in ``device_agent.core.reconnecting``.
"""

from __future__ import annotations

import logging
import random
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from device_agent.core.reconnecting import MQTT_5, Attempts, Ended
from device_agent.protocol.enrolment import Enrolment
from device_agent.protocol.values import dataclass
from device_agent.shell.inbox import Inbox

logger = logging.getLogger(__name__)

MAX_FILTERS_PER_SUBSCRIBE = 8
UNSUPPORTED_PROTOCOL = frozenset({1, 0x84})


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkLimits:
    """Bounds of the link."""

    keepalive_s: int = 30
    connect_timeout_s: float = 10.0
    backoff_first_s: float = 1.0
    backoff_most_s: float = 120.0
    stable_s: float = 30.0
    """A connection that stood this long ends a row of failures."""
    session_expiry_s: int = 24 * 3600
    max_inbox: int = 20_000
    max_inbox_bytes: int = 16 * 2**20
    """What comes while more waits is dropped: the hub says again what matters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected:
    """Put into the inbox when a connection stands."""

    session: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnected:
    """Put into the inbox when a connection was lost or could not be made."""

    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """Put into the inbox for every message, as it came."""

    topic: str
    payload: bytes


class Will(Protocol):
    """Gives the topic and payload that the broker publishes when the connection is lost."""

    def __call__(self, session: int) -> tuple[str, bytes]:
        """Return the will of a session."""
        ...


class LinkLike(Protocol):
    """What the loop needs of a link. A fake that records is used in tests."""

    def start(self) -> None:
        """Begin to connect; ``Connected`` in the inbox tells when."""
        ...

    def stop(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Say farewell if connected, and end."""
        ...

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Hand a message over; False when there is no connection."""
        ...

    def subscribe(self, filters: Sequence[str], *, qos: int = 1) -> None:
        """Subscribe, if connected."""
        ...

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Unsubscribe, if connected."""
        ...


@dataclass(slots=True, kw_only=True)
class _Call:
    """One attempt to connect: what the broker answered, and since when the connection stands."""

    session: int = 0
    refused: Ended | None = None
    cause: str = "closed without an answer"
    since_s: float | None = None


class _Client(mqtt.Client):
    """paho's client, but for a name in ASCII, which is asked for as it is.

    For a ``str`` Python's resolver imports the codec of international names: 0.3 MiB, and 3 ms.
    """

    def _create_socket_connection(self) -> Any:
        if not self.host.isascii() or getattr(mqtt, "socks", None):  # a proxy is paho's to ask for
            return super()._create_socket_connection()
        address: Any = (self.host.encode("ascii"), self.port)
        return socket.create_connection(address, timeout=self.connect_timeout)


class Link:
    """A connection that comes back. ``publish`` and ``subscribe`` never block or raise."""

    def __init__(
        self,
        enrolment: Enrolment,
        inbox: Inbox,
        *,
        will: Will,
        next_session: Callable[[], int],
        chance: random.Random,
        limits: LinkLimits | None = None,
    ) -> None:
        """Prepare; ``start`` begins to connect."""
        self._enrolment = enrolment
        self._inbox = inbox
        self._will = will
        self._next_session = next_session
        self._chance = chance
        self._limits = limits or LinkLimits()
        self._attempts = Attempts()
        self._client: mqtt.Client | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgeops-link", daemon=True)
        self.overflowed = 0
        self._is_full = False
        self._told = ""

    def start(self) -> None:
        """Begin to connect, in a thread of its own."""
        self._thread.start()

    def stop(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Say farewell (retained) if connected, disconnect, and end the thread."""
        self._stopping.set()
        client = self._client
        if client is not None:
            if farewell is not None and client.is_connected():
                info = client.publish(*farewell, qos=1, retain=True)
                try:
                    info.wait_for_publish(timeout=2.0)
                except (RuntimeError, ValueError):
                    logger.debug("farewell.not_sent")
            client.disconnect()
        if self._thread.is_alive():
            self._thread.join(timeout=self._limits.connect_timeout_s + 1)

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Hand a message to the connection; False when there is none."""
        client = self._client
        if client is None or not client.is_connected():
            return False
        return client.publish(topic, payload, qos=qos, retain=retain).rc == mqtt.MQTT_ERR_SUCCESS

    def subscribe(self, filters: Sequence[str], *, qos: int = 1) -> None:
        """Subscribe, at most eight filters a packet."""
        client = self._client
        if client is None or not client.is_connected():
            return
        for at in range(0, len(filters), MAX_FILTERS_PER_SUBSCRIBE):
            batch = filters[at : at + MAX_FILTERS_PER_SUBSCRIBE]
            if client.protocol is MQTTProtocolVersion.MQTTv5:
                client.subscribe([(each, SubscribeOptions(qos=qos)) for each in batch])
            else:
                client.subscribe([(each, qos) for each in batch])

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Unsubscribe."""
        client = self._client
        if client is not None and client.is_connected() and filters:
            client.unsubscribe(list(filters))

    def _run(self) -> None:
        limits = self._limits
        while not self._stopping.is_set():
            ended, stood_s, cause = self._one_connection()
            self._inbox.put(Disconnected(cause=cause))
            self._tell(ended, cause)
            self._attempts = self._attempts.after(ended, stood_s=stood_s, stable_s=limits.stable_s)
            pause_s = self._attempts.pause_s(
                self._chance, limits.backoff_first_s, limits.backoff_most_s
            )
            self._stopping.wait(pause_s)

    def _tell(self, ended: Ended, cause: str) -> None:
        """Warn of a broker that is not there, once for each cause until it is."""
        if ended is Ended.LOST:
            self._told = ""
        elif ended in (Ended.UNREACHABLE, Ended.SILENT) and cause != self._told:
            self._told = cause
            logger.warning(
                "link.unreachable", extra={"broker": self._enrolment.broker, "cause": cause}
            )

    def _one_connection(self) -> tuple[Ended, float, str]:
        """Connect, serve until the connection ends; return how it did, how long it stood, why."""
        call = _Call()
        try:
            call.session = self._next_session()
            client = self._new_client(call)
            host, port, _ = self._enrolment.address()
            client.connect(host, port, self._limits.keepalive_s, **self._connect_options())
            self._client = client
            client.loop_forever(retry_first_connection=False)
        except Exception as error:  # noqa: BLE001 - the thread must outlive whatever the network or disk says
            call.refused, call.cause = Ended.UNREACHABLE, f"{type(error).__name__}: {error}"
        finally:
            self._client = None
        if call.since_s is None:
            return call.refused or Ended.SILENT, 0.0, call.cause
        return Ended.LOST, time.monotonic() - call.since_s, call.cause

    def _new_client(self, call: _Call) -> mqtt.Client:
        options: dict[str, Any] = {} if self._speaks_5 else {"clean_session": False}
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=self._enrolment.device,
            protocol=MQTTProtocolVersion(self._attempts.version),
            reconnect_on_failure=False,
            **options,
        )
        client.connect_timeout = self._limits.connect_timeout_s
        client.username_pw_set(self._enrolment.username, self._enrolment.password)
        if self._enrolment.address()[2]:
            client.tls_set()
        topic, payload = self._will(call.session)
        client.will_set(topic, payload, qos=1, retain=True)
        client.on_connect = lambda *args: self._on_connect(call, *args)
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        # Without it, whoever publishes also writes to the socket, while the link's thread does.
        client.on_socket_register_write = lambda *_: None
        return client

    def _connect_options(self) -> dict[str, Any]:
        if not self._speaks_5:
            return {}
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._limits.session_expiry_s
        return {"clean_start": False, "properties": properties}

    @property
    def _speaks_5(self) -> bool:
        return self._attempts.version == MQTT_5

    def _on_connect(self, call: _Call, client: mqtt.Client, _data: Any, *args: Any) -> None:
        code = args[1]
        if code.is_failure:
            logger.warning("link.refused", extra={"cause": str(code)})
            unsupported = code.value in UNSUPPORTED_PROTOCOL
            call.refused = Ended.UNSUPPORTED if unsupported else Ended.REFUSED
            call.cause = str(code)
            client.disconnect()
            return
        call.since_s, call.cause = time.monotonic(), "lost"
        self._inbox.put(Connected(session=call.session))

    def _on_subscribe(self, client: mqtt.Client, _data: Any, _mid: int, *args: Any) -> None:
        refused = [str(code) for code in args[0] if code.is_failure]
        if refused:
            # Who cannot hear its orders is not connected: it tries again, more and more seldom.
            logger.warning("link.subscription_refused", extra={"cause": ", ".join(refused)})
            client.disconnect()

    def _on_message(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        self._take_in(Message(topic=topic, payload=bytes(message.payload)))

    def _take_in(self, message: Message) -> None:
        waiting, limits = self._inbox, self._limits
        if len(waiting) < limits.max_inbox and waiting.size_bytes < limits.max_inbox_bytes:
            self._is_full = False
            waiting.put(message, len(message.payload))
            return
        self.overflowed += 1
        if not self._is_full:
            self._is_full = True
            logger.warning(
                "inbox.full", extra={"messages": len(waiting), "dropped": self.overflowed}
            )
