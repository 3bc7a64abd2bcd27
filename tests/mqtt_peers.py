"""MQTT clients that answer in the order of the questions, and accounts for them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edgeops.hub.broker import HUB_USERNAME, Broker, hash_password

PATIENCE_S = 20.0
PASSWORDS = {HUB_USERNAME: "hub-token", "dev-1": "token-1", "dev-2": "token-2"}
ACCOUNTS = {name: hash_password(password) for name, password in PASSWORDS.items()}


def wait_until(fact: Callable[[], bool], what: str) -> None:
    """Polls until the fact holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)


class Peer:
    """A client that answers questions in the order they are asked."""

    def __init__(
        self,
        broker: Broker,
        username: str,
        password: str | None = None,
        version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv5,
    ) -> None:
        self.messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._connected: queue.Queue[str] = queue.Queue()
        self._subscribed: queue.Queue[str] = queue.Queue()
        self._published: queue.Queue[str] = queue.Queue()
        self.disconnected = threading.Event()
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            protocol=version,
            reconnect_on_failure=False,
        )
        client.username_pw_set(username, PASSWORDS[username] if password is None else password)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.on_disconnect = lambda *_: self.disconnected.set()
        client.connect(broker.host, broker.port)
        client.loop_start()
        self.connected = self._connected.get(timeout=PATIENCE_S)

    def _on_connect(
        self, _c: paho.Client, _u: object, _f: object, reason: ReasonCode, _p: object
    ) -> None:
        self._connected.put(str(reason))

    def _on_subscribe(
        self, _c: paho.Client, _u: object, _m: int, reasons: list[ReasonCode], _p: object
    ) -> None:
        self._subscribed.put(str(reasons[0]))

    def _on_publish(
        self, _c: paho.Client, _u: object, _m: int, reason: ReasonCode, _p: Properties
    ) -> None:
        self._published.put(str(reason))

    def _on_message(self, _c: paho.Client, _u: object, message: paho.MQTTMessage) -> None:
        self.messages.put((message.topic, bytes(message.payload)))

    def subscribe(self, topic: str, qos: int = 1) -> None:
        self._client.subscribe(topic, qos)
        self._subscribed.get(timeout=PATIENCE_S)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> str:
        """Publishes at QoS 1 and gives the broker's answer."""
        self._client.publish(topic, payload, 1, retain)
        return self._published.get(timeout=PATIENCE_S)

    def send(self, topic: str, payload: bytes, qos: int) -> None:
        """Publishes without waiting."""
        self._client.publish(topic, payload, qos)

    def next(self) -> tuple[str, bytes]:
        return self.messages.get(timeout=PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()
