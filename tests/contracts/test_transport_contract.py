"""What every transport promises: in memory, and over MQTT to real brokers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from edgeops.hub.broker import HUB_USERNAME, Broker, find_mosquitto, hash_password, make_broker
from edgeops.hub.broker.iotcore import is_installed
from edgeops.transport.contract import Incoming, Transport, TransportLost
from edgeops.transport.memory import MemoryBroker, MemoryTransport, matches
from edgeops.transport.mqtt import MqttTransport
from tests.processes import free_port

PATIENCE_S = 20.0
PASSWORD = "hub-token"
BOTH = ("edgeops/v1/t/#",)


class MemoryWorld:
    """A broker in memory and its transports."""

    def __init__(self) -> None:
        self._broker = MemoryBroker()

    def transport(self, name: str) -> Transport:
        return MemoryTransport(self._broker)

    async def lose(self) -> None:
        """End every connection from the broker's side."""
        self._broker.lose_state()

    async def come_back(self) -> None:
        """Be there again."""

    def stop(self) -> None:
        """End."""


class MqttWorld:
    """A managed broker; two accounts, so that a test may have two connections."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._broker.set_accounts(
            {name: hash_password(PASSWORD) for name in (HUB_USERNAME, "dev-1")}
        )
        self._broker.start()

    def transport(self, name: str) -> Transport:
        return MqttTransport(
            self._broker.host,
            self._broker.port,
            client_id=f"{name}-{random.randrange(10**9)}",
            username=HUB_USERNAME,
            password=PASSWORD,
        )

    async def lose(self) -> None:
        await asyncio.to_thread(self._broker.stop)

    async def come_back(self) -> None:
        await asyncio.to_thread(self._broker.start)

    def stop(self) -> None:
        self._broker.stop()


World = MemoryWorld | MqttWorld


@pytest.fixture(params=["memory", "mosquitto", "iotcore"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "mosquitto" and find_mosquitto() is None:
        pytest.skip("no Mosquitto can be had: scripts/fetch_mosquitto failed")
    if request.param == "iotcore" and not is_installed():
        pytest.skip("iotcore is not installed")
    made: World = (
        MemoryWorld()
        if request.param == "memory"
        else MqttWorld(make_broker(tmp_path / "broker", free_port(), request.param))
    )
    yield made
    made.stop()


def run(story: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await story()

    asyncio.run(bounded())


@asynccontextmanager
async def connected(
    world: World, *filters: str, name: str = "a"
) -> AsyncIterator[tuple[Transport, AsyncIterator[Incoming]]]:
    transport = world.transport(name)
    await transport.connect(filters)
    try:
        yield transport, transport.incoming()
    finally:
        await transport.close()


async def take(incoming: AsyncIterator[Incoming], count: int) -> list[Incoming]:
    return [await anext(incoming) for _ in range(count)]


def test_what_is_published_reaches_who_subscribed_and_the_order_is_kept(world: World) -> None:
    async def story() -> None:
        async with (
            connected(world, *BOTH) as (_, incoming),
            connected(world, "edgeops/v1/other", name="b") as (publisher, _),
        ):
            payloads = [b"%d" % number for number in range(200)]
            for payload in payloads:
                await publisher.publish("edgeops/v1/t/x", payload)
            received = await take(incoming, 200)
            assert [each.payload for each in received] == payloads
            assert {each.topic for each in received} == {"edgeops/v1/t/x"}
            assert not any(each.retained for each in received)

    run(story)


@pytest.mark.parametrize("qos", [0, 1])
def test_a_payload_of_a_chunks_size_and_an_empty_one_arrive_as_they_are(
    world: World, qos: int
) -> None:
    async def story() -> None:
        async with connected(world, *BOTH) as (transport, incoming):
            for payload in (random.Random(1).randbytes(60 * 1024 + 32), b"", b"\0\xff"):
                await transport.publish("edgeops/v1/t/x", payload, qos=qos)
                assert (await anext(incoming)).payload == payload

    run(story)


def test_wildcards_take_what_they_say_and_nothing_else(world: World) -> None:
    async def story() -> None:
        filters = ("edgeops/v1/u/+/+/state", "edgeops/v1/hub/epoch")
        async with connected(world, *filters) as (transport, incoming):
            for topic in (
                "edgeops/v1/u/00/dev/event",
                "edgeops/v1/u/00/dev/state/more",
                "edgeops/v1/u/dev/state",
                "edgeops/v1/hub/epoch/more",
                "edgeops/v1/u/00/dev/state",
                "edgeops/v1/hub/epoch",
            ):
                await transport.publish(topic, b"x")
            assert [each.topic for each in await take(incoming, 2)] == [
                "edgeops/v1/u/00/dev/state",
                "edgeops/v1/hub/epoch",
            ]

    run(story)


def test_what_is_retained_is_given_to_who_comes_later_and_marked(world: World) -> None:
    async def story() -> None:
        async with connected(world, "edgeops/v1/none", name="b") as (publisher, _):
            await publisher.publish("edgeops/v1/t/kept", b"old", retain=True)
            await publisher.publish("edgeops/v1/t/kept", b"new", retain=True)
            await publisher.publish("edgeops/v1/t/gone", b"not kept")
            async with connected(world, *BOTH) as (_, incoming):
                (first,) = await take(incoming, 1)
                assert (first.topic, first.payload) == ("edgeops/v1/t/kept", b"new")
                assert first.retained
                await publisher.publish("edgeops/v1/t/kept", b"live", retain=True)
                (second,) = await take(incoming, 1)
                assert (second.payload, second.retained) == (b"live", False)

    run(story)


def test_an_empty_retained_message_forgets_what_was_kept(world: World) -> None:
    async def story() -> None:
        async with connected(world, "edgeops/v1/none", name="b") as (publisher, _):
            await publisher.publish("edgeops/v1/t/kept", b"old", retain=True)
            await publisher.publish("edgeops/v1/t/kept", b"", retain=True)
            await publisher.publish("edgeops/v1/t/other", b"x", retain=True)
            async with connected(world, *BOTH) as (_, incoming):
                assert (await anext(incoming)).topic == "edgeops/v1/t/other"

    run(story)


def test_a_loss_is_told_to_who_listens_and_to_who_publishes(world: World) -> None:
    async def story() -> None:
        async with connected(world, *BOTH) as (transport, incoming):
            await world.lose()
            with pytest.raises(TransportLost):
                await anext(incoming)
            with pytest.raises(TransportLost):
                await transport.publish("edgeops/v1/t/x", b"x")

    run(story)


def test_after_a_loss_the_same_transport_connects_again_and_works(world: World) -> None:
    async def story() -> None:
        async with connected(world, *BOTH) as (transport, incoming):
            for _ in range(2):
                await world.lose()
                with pytest.raises(TransportLost):
                    await anext(incoming)
                await world.come_back()
                await transport.connect(BOTH)
                incoming = transport.incoming()
                await transport.publish("edgeops/v1/t/x", b"again")
                assert (await anext(incoming)).payload == b"again"

    run(story)


def test_connecting_again_without_a_loss_replaces_the_connection(world: World) -> None:
    async def story() -> None:
        async with connected(world, "edgeops/v1/t/a") as (transport, _):
            await transport.connect(("edgeops/v1/t/b",))
            incoming = transport.incoming()
            await transport.publish("edgeops/v1/t/b", b"x")
            assert (await anext(incoming)).topic == "edgeops/v1/t/b"

    run(story)


def test_before_connecting_and_after_closing_nothing_can_be_published(world: World) -> None:
    async def story() -> None:
        transport = world.transport("a")
        with pytest.raises(TransportLost):
            await transport.publish("edgeops/v1/t/x", b"x")
        with pytest.raises(TransportLost):
            await anext(transport.incoming())
        await transport.connect(BOTH)
        await transport.close()
        await transport.close()
        with pytest.raises(TransportLost):
            await transport.publish("edgeops/v1/t/x", b"x")

    run(story)


def test_a_broker_that_is_not_there_is_a_loss_with_a_next_step() -> None:
    async def story() -> None:
        transport = MqttTransport("127.0.0.1", free_port(), client_id="hub")
        with pytest.raises(TransportLost, match="127.0.0.1") as caught:
            await transport.connect(BOTH)
        assert "broker" in caught.value.next_step
        await transport.close()

    run(story)


def test_a_wrong_password_is_a_loss_with_a_next_step(tmp_path: Path) -> None:
    if find_mosquitto() is None:
        pytest.skip("no Mosquitto can be had: scripts/fetch_mosquitto failed")

    async def story(broker: Broker) -> None:
        transport = MqttTransport(
            broker.host, broker.port, client_id="hub", username=HUB_USERNAME, password="wrong"
        )
        with pytest.raises(TransportLost, match=r"[Nn]ot authori[sz]ed") as caught:
            await transport.connect(BOTH)
        assert "account" in caught.value.next_step

    broker = make_broker(tmp_path, free_port(), "mosquitto")
    broker.set_accounts({HUB_USERNAME: hash_password(PASSWORD)})
    broker.start()
    try:
        run(lambda: story(broker))
    finally:
        broker.stop()


@pytest.mark.parametrize(
    ("topic_filter", "topic", "expected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/b/c", False),
        ("a/b/c", "a/b", False),
        ("a/+", "a/b", True),
        ("a/+", "a", False),
        ("a/+", "a/", True),
        ("+/+", "a/b", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/#", "ab", False),
        ("#", "a/b", True),
        ("+", "a/b", False),
    ],
)
def test_the_broker_in_memory_matches_filters_as_mqtt_says(
    topic_filter: str, topic: str, expected: bool
) -> None:
    assert matches(topic_filter, topic) is expected
