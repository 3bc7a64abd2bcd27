"""MQTT 5 (3.1.1 where the broker does not speak it), by aiomqtt."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from edgeops.transport.contract import Incoming, TransportLost

SESSION_EXPIRY_S = 24 * 3600
KEEPALIVE_S = 30
CONNECT_TIMEOUT_S = 10.0
MAX_QUEUED_INCOMING = 100_000
MAX_INFLIGHT = 1_000


class MqttTransport:
    """One MQTT connection at a time; ``connect`` may be called again after a loss."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        client_id: str,
        username: str | None = None,
        password: str | None = None,
        tls: bool = False,
    ) -> None:
        """Keep the address; nothing is connected yet."""
        self._host = host
        self._port = port
        self._client_id = client_id
        self._username = username
        self._password = password
        self._tls = tls
        self._version = aiomqtt.ProtocolVersion.V5
        self._client: aiomqtt.Client | None = None

    async def connect(self, filters: Sequence[str]) -> None:
        """Connect with MQTT 5, or 3.1.1 if that is refused, and subscribe."""
        await self.close()
        try:
            await self._enter(filters)
        except aiomqtt.MqttError as error:
            await self.close()
            if "protocol version" not in str(error).lower():
                raise self._lost(error) from error
            self._version = aiomqtt.ProtocolVersion.V311
            try:
                await self._enter(filters)
            except aiomqtt.MqttError as again:
                await self.close()
                raise self._lost(again) from again

    async def publish(
        self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False
    ) -> None:
        """Publish; with QoS 1, returns when the broker has the message."""
        if self._client is None:
            raise TransportLost("not connected to the broker")
        try:
            await self._client.publish(topic, payload, qos=qos, retain=retain)
        except aiomqtt.MqttError as error:
            raise self._lost(error) from error

    async def incoming(self) -> AsyncIterator[Incoming]:
        """Yield messages until the connection ends, then raise ``TransportLost``."""
        if self._client is None:
            raise TransportLost("not connected to the broker")
        try:
            async for message in self._client.messages:
                payload = message.payload
                yield Incoming(
                    topic=message.topic.value,
                    payload=payload if isinstance(payload, bytes) else b"",
                    retained=message.retain,
                )
        except aiomqtt.MqttError as error:
            raise self._lost(error) from error

    async def close(self) -> None:
        """End the connection."""
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(aiomqtt.MqttError):
                await client.__aexit__(None, None, None)

    async def _enter(self, filters: Sequence[str]) -> None:
        v5 = self._version is aiomqtt.ProtocolVersion.V5
        properties = None
        if v5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
        client = aiomqtt.Client(
            self._host,
            self._port,
            identifier=self._client_id,
            username=self._username,
            password=self._password,
            protocol=self._version,
            clean_start=False if v5 else 3,
            clean_session=None if v5 else False,
            properties=properties,
            keepalive=KEEPALIVE_S,
            timeout=CONNECT_TIMEOUT_S,
            max_queued_incoming_messages=MAX_QUEUED_INCOMING,
            max_inflight_messages=MAX_INFLIGHT,
            tls_params=aiomqtt.TLSParameters() if self._tls else None,
        )
        await client.__aenter__()
        self._client = client
        for each in filters:
            qos = 0 if each.endswith("/need") else 1
            await client.subscribe(
                each, **({"options": SubscribeOptions(qos=qos)} if v5 else {"qos": qos})
            )

    def _lost(self, error: aiomqtt.MqttError) -> TransportLost:
        return TransportLost(
            f"broker {self._host}:{self._port}: {error}",
            next_step="check that the broker runs and that the hub's account is right",
        )
