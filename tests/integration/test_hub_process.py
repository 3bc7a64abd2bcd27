"""The running hub, on a broker in memory, with devices that speak the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress

import pytest

from device_agent.protocol import topics
from device_agent.protocol.chunks import BlobRef
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.ids import Digest
from device_agent.protocol.orders import Epoch
from edgeops.hub.broker import HUB_USERNAME, BrokerStartFailed
from edgeops.hub.process import Hub, HubOptions
from edgeops.rollout.machine import Trigger
from edgeops.service import access, commands, fleet, packages, rollouts
from edgeops.store.blobs import MemoryBlobStore
from edgeops.transport.memory import MemoryBroker, MemoryTransport
from edgeops.trust.passwords import verify_password
from tests.hostile import hostile_payloads
from tests.hub_harness import FakeDevice, HubHarness, MemoryDevice, tiny_package, window

PATIENCE_S = 20.0
QUICK = HubOptions(tick_s=0.01, epoch_wait_s=0.05, reconnect_s=0.01)
STATE_LOST = ("broker.state_lost", "broker")


class StubBroker:
    """A managed broker that the test ends and starts."""

    kind, host, port, url, limits = "stub", "127.0.0.1", 1, "mqtt://127.0.0.1:1", None

    def __init__(self, *, supports_accounts: bool = True, failing_starts: int = 0) -> None:
        self.supports_accounts = supports_accounts
        self.alive = False
        self.starts = 0
        self.accounts: Mapping[str, str] = {}
        self.failing_starts = failing_starts

    def start(self) -> None:
        self.starts += 1
        if self.starts <= self.failing_starts:
            raise BrokerStartFailed("it ended at start")
        self.alive = True

    def stop(self) -> None:
        self.alive = False

    def is_alive(self) -> bool:
        return self.alive

    def set_accounts(self, accounts: Mapping[str, str]) -> None:
        self.accounts = accounts


class World:
    """A broker in memory, the hub on it, and its devices."""

    def __init__(self) -> None:
        self.harness = HubHarness()
        self.broker = MemoryBroker()
        self.tasks: list[asyncio.Task[None]] = []
        self.hub: Hub
        self.transport: MemoryTransport

    @property
    def context(self):
        return self.harness.context

    async def start(
        self, *, options: HubOptions = QUICK, managed: StubBroker | None = None
    ) -> asyncio.Task[None]:
        self.transport = MemoryTransport(self.broker)
        self.hub = Hub(
            self.context, self.transport, broker=managed, hub_password="pw", options=options
        )
        task = asyncio.create_task(self.hub.run())
        self.tasks.append(task)
        await self.until(lambda: self.hub.connected, task)
        return task

    async def stop(self, task: asyncio.Task[None]) -> None:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    async def join(self, device: FakeDevice, *, fetches: bool = False) -> MemoryDevice:
        """Bring a device online and wait until the hub knows."""
        there = MemoryDevice(device, self.broker, fetches=fetches)
        self.tasks.append(asyncio.create_task(there.run()))
        await self.until(lambda: self.detail(device.id).device.presence.online)
        return there

    def detail(self, name: str) -> fleet.DeviceDetail:
        return fleet.device(self.context, name)

    async def until(
        self, fact: Callable[[], object], task: asyncio.Task[None] | None = None
    ) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not fact():
                if task is not None and task.done():
                    task.result()
                await asyncio.sleep(0.005)

    async def ended(self, rollout: str) -> str:
        ends = ("completed", "rolled_back", "aborted")
        await self.until(lambda: rollouts.show(self.context, rollout).state in ends)
        return str(rollouts.show(self.context, rollout).state)

    def counters(self) -> dict[str, int]:
        return dict(self.hub.handlers.counters)


@asynccontextmanager
async def a_world() -> AsyncIterator[World]:
    world = World()
    try:
        yield world
    finally:
        for task in world.tasks:
            task.cancel()
        results = await asyncio.gather(*world.tasks, return_exceptions=True)
        verified = access.verify_audit(world.context)
        world.harness.close()
        assert verified.report.ok
        failures = [r for r in results if r and not isinstance(r, asyncio.CancelledError)]
        assert failures == []


def run(story: Callable[[World], Awaitable[None]]) -> None:
    async def told() -> None:
        async with a_world() as world:
            await story(world)

    asyncio.run(told())


def test_a_hub_on_an_empty_broker_publishes_root_and_epoch_retained() -> None:
    async def story(world: World) -> None:
        await world.start()
        assert world.broker.retained[topics.root(1)] == world.harness.keys.envelope
        epoch = Epoch.from_document(decode(world.broker.retained[topics.epoch()]))
        assert epoch.epoch
        acts = world.harness.acts()
        assert acts[0] == ("hub.start", "hub")

    run(story)


def test_a_hub_that_stops_and_starts_finds_its_epoch_and_publishes_nothing_again() -> None:
    async def story(world: World) -> None:
        first = await world.start()
        kept = dict(world.broker.retained)
        lost = world.harness.acts().count(STATE_LOST)
        await world.stop(first)
        await world.start()
        assert world.broker.retained == kept
        assert world.harness.acts().count(STATE_LOST) == lost
        assert [act for act, _ in world.harness.acts() if act.startswith("hub.")] == [
            "hub.start",
            "hub.stop",
            "hub.start",
        ]

    run(story)


def test_the_desired_state_is_retained_and_signed_by_the_director() -> None:
    async def story(world: World) -> None:
        version = world.harness.publish(1)
        cam = world.harness.enroll("cam-1")
        await world.start()
        await world.join(cam)
        begun = world.harness.roll_out()
        await world.until(lambda: topics.desired(cam.id) in world.broker.retained)
        desired = cam.open(world.broker.retained[topics.desired(cam.id)])
        (wish,) = desired.models.values()
        assert (wish.version, wish.manifest.digest) == (1, version.digest)
        assert wish.rollout == begun.id
        assert await world.ended(begun.id) == "completed"
        assert cam.active() == 1

    run(story)


def test_a_rollout_to_a_fleet_ends_and_a_bad_version_is_taken_back() -> None:
    async def story(world: World) -> None:
        world.harness.publish(1)
        world.harness.publish(2)
        cams = [world.harness.enroll(f"cam-{n}") for n in range(6)]
        await world.start()
        for cam in cams:
            await world.join(cam)
        assert await world.ended(world.harness.roll_out(1).id) == "completed"
        for cam in cams:
            cam.outcome = lambda number: "committed" if number == 1 else "rolled_back"
        assert await world.ended(world.harness.roll_out(2).id) == "rolled_back"
        assert {cam.active() for cam in cams} == {1}

    run(story)


def test_chunks_are_published_for_needs_and_make_the_blob() -> None:
    async def story(world: World) -> None:
        world.harness.publish(1)
        package = tiny_package(world.harness.keys, 1)
        cam = world.harness.enroll("cam-1")
        await world.start()
        there = await world.join(cam, fetches=True)
        begun = world.harness.roll_out()
        assert await world.ended(begun.id) == "completed"
        assert there.fetched == {package.digest: package.data}
        artifact = package.manifest.variants[0].artifact.ref
        await there.want(artifact)
        await world.until(lambda: artifact.digest in there.fetched)
        sent = world.hub.demand.sent()[artifact.digest]
        assert sent.chunks == artifact.count
        assert sent.bytes == artifact.size_bytes + 32 * artifact.count

    run(story)


def sent_chunks(world: World, blob: BlobRef) -> int:
    sent = world.hub.demand.sent().get(blob.digest)
    return sent.chunks if sent else 0


def test_the_bytes_that_were_sent_are_known_after_the_hub_started_again() -> None:
    async def story(world: World) -> None:
        world.harness.publish(1)
        artifact = tiny_package(world.harness.keys, 1).manifest.variants[0].artifact.ref
        cam = world.harness.enroll("cam-1")
        size_bytes = artifact.size_bytes + 32 * artifact.count
        task = await world.start()
        there = await world.join(cam)
        for lives in (1, 2):
            await there.want(artifact)
            await world.until(lambda: sent_chunks(world, artifact) == artifact.count)
            await world.stop(task)
            task = await world.start()
            with world.context.database.read() as work:
                assert work.delivery.all() == {artifact.digest: lives * size_bytes}

    run(story)


def test_what_two_devices_miss_together_is_published_once_for_both() -> None:
    async def story(world: World) -> None:
        world.harness.publish(1)
        artifact = tiny_package(world.harness.keys, 1).manifest.variants[0].artifact.ref
        cams = [world.harness.enroll(f"cam-{n}") for n in range(5)]
        # Slow enough that all needs are known before the second chunk goes.
        await world.start(options=HubOptions(tick_s=0.01, epoch_wait_s=0.05, bandwidth=4000.0))
        there = [await world.join(cam) for cam in cams]
        for device in there:
            await device.want(artifact)
        await world.until(lambda: all(artifact.digest in d.fetched for d in there))
        assert world.hub.demand.sent()[artifact.digest].chunks <= artifact.count + 1

    run(story)


def test_a_blob_that_cannot_be_read_any_more_is_counted_and_others_go_on() -> None:
    class Forgetful(MemoryBlobStore):
        """Knows the size of a blob that it cannot read."""

        def read(self, digest: Digest, offset: int, length: int) -> bytes:
            return super().read(Digest("sha256:" + "0" * 64), offset, length)

    async def story(world: World) -> None:
        world.harness.publish(1)
        package = tiny_package(world.harness.keys, 1)
        artifact = package.manifest.variants[0].artifact.ref
        cam = world.harness.enroll("cam-1")
        await world.start()
        there = await world.join(cam)
        good = world.context.blobs
        bad = Forgetful()
        for digest, data in package.blobs.items():
            bad.put(digest, data)
        object.__setattr__(world.context, "blobs", bad)
        await there.want(artifact)
        await world.until(lambda: world.counters().get("chunk.unreadable", 0) == artifact.count)
        object.__setattr__(world.context, "blobs", good)
        await there.want(artifact)
        await world.until(lambda: artifact.digest in there.fetched)

    run(story)


def test_a_broker_that_lost_its_state_gets_everything_again_and_the_audit_says_so() -> None:
    async def story(world: World) -> None:
        world.harness.publish(1)
        cam = world.harness.enroll("cam-1")
        await world.start()
        there = await world.join(cam)
        begun = world.harness.roll_out()
        assert await world.ended(begun.id) == "completed"
        before = dict(world.broker.retained)
        lost = world.harness.acts().count(STATE_LOST)
        world.broker.lose_state()
        await world.until(lambda: world.broker.retained.keys() == before.keys())
        for topic in (topics.desired(cam.id), topics.root(1), topics.epoch()):
            assert world.broker.retained[topic] == before[topic]
        assert world.harness.acts().count(STATE_LOST) == lost + 1
        await world.until(lambda: world.detail(cam.id).device.presence.session == 2)
        assert len(cam.orders) == 1, "the same generation is no new order"
        assert len(there.epochs) >= 2

    run(story)


def test_a_lost_connection_alone_is_no_lost_state() -> None:
    async def story(world: World) -> None:
        await world.start()
        lost = world.harness.acts().count(STATE_LOST)
        world.transport.drop()
        await world.until(lambda: not world.hub.connected)
        assert "ended" in world.hub.why_disconnected
        await world.until(lambda: world.hub.connected)
        assert world.hub.why_disconnected == ""
        assert world.harness.acts().count(STATE_LOST) == lost

    run(story)


def test_an_epoch_of_another_hub_is_not_taken_for_ours() -> None:
    async def story(world: World) -> None:
        other = Epoch(epoch="another", hub="0.0.0")
        world.broker.retained[topics.epoch()] = encode(other.to_document())
        await world.start()
        epoch = Epoch.from_document(decode(world.broker.retained[topics.epoch()]))
        assert epoch.epoch != "another"

    run(story)


def test_an_epoch_that_is_none_is_counted_and_replaced() -> None:
    async def story(world: World) -> None:
        world.broker.retained[topics.epoch()] = b"\xff{"
        await world.start()
        assert world.counters() == {"dropped.epoch.malformed": 1}
        Epoch.from_document(decode(world.broker.retained[topics.epoch()]))

    run(story)


def test_hostile_bytes_do_not_end_the_hub() -> None:
    async def story(world: World) -> None:
        cam = world.harness.enroll("cam-1")
        task = await world.start()
        there = await world.join(cam)
        sent = 0
        for kind in topics.UP_KINDS:
            for payload in hostile_payloads():
                if payload:
                    await there.say((topics.up(cam.id, kind), payload))
                    sent += 1
        await there.say((topics.epoch(), b"nonsense"))
        await there.say(cam.numbered("telemetry", (window(),)))
        await world.until(lambda: there.acks, task)
        malformed = {n: c for n, c in world.counters().items() if n.endswith(".malformed")}
        assert sum(malformed.values()) == sent + 1
        assert world.hub.connected

    run(story)


def test_telemetry_is_acknowledged_once_it_is_in_the_database() -> None:
    async def story(world: World) -> None:
        cam = world.harness.enroll("cam-1")
        await world.start()
        there = await world.join(cam)
        for _ in range(3):
            await there.say(cam.numbered("telemetry", (window(),)))
        await world.until(lambda: len(there.acks) == 3)
        assert [(ack.stream, ack.sequence) for ack in there.acks] == [("s1", n) for n in (1, 2, 3)]

    run(story)


def test_the_will_takes_a_device_offline_and_forgets_what_it_asked_for() -> None:
    async def story(world: World) -> None:
        cam = world.harness.enroll("cam-1")
        await world.start()
        there = await world.join(cam)
        await there.say(cam.death())
        await world.until(lambda: not world.detail(cam.id).device.presence.online)

    run(story)


def test_a_second_agent_with_the_same_identity_is_in_the_audit() -> None:
    async def story(world: World) -> None:
        cam = world.harness.enroll("cam-1")
        await world.start()
        there = await world.join(cam)
        clone = FakeDevice(id=cam.id, root=cam.root, instance="another card")
        await world.join(clone)
        await world.until(lambda: world.detail(cam.id).device.presence.instance == "another card")
        await there.say(cam.birth())
        await world.until(lambda: world.detail(cam.id).device.presence.duplicate)
        assert ("device.duplicate_identity", cam.id) in world.harness.acts(actor="hub")

    run(story)


def test_a_command_reaches_its_device_signed() -> None:
    async def story(world: World) -> None:
        cam = world.harness.enroll("cam-1")
        await world.start()
        there = await world.join(cam)
        given, payload = commands.give(world.context, "ana", "cam-1", "announce")
        await world.hub.publish_command(given.device, payload)
        await world.until(lambda: there.commands)
        assert decode(there.commands[0])["kind"] == "announce"

    run(story)


def test_what_the_broker_keeps_of_a_removed_device_is_withdrawn() -> None:
    async def story(world: World) -> None:
        world.harness.publish(1)
        cam = world.harness.enroll("cam-1")
        await world.start()
        await world.join(cam)
        assert await world.ended(world.harness.roll_out().id) == "completed"
        fleet.remove(world.context, "ana", "cam-1")
        await world.until(lambda: topics.desired(cam.id) not in world.broker.retained)
        await world.until(lambda: topics.up(cam.id, "state") not in world.broker.retained)

    run(story)


def test_a_rollback_that_a_person_asks_for_reaches_the_device() -> None:
    async def story(world: World) -> None:
        world.harness.publish(1)
        world.harness.publish(2)
        cam = world.harness.enroll("cam-1")
        await world.start()
        await world.join(cam)
        assert await world.ended(world.harness.roll_out(1).id) == "completed"
        second = world.harness.roll_out(2)
        assert await world.ended(second.id) == "completed"
        rollouts.ask(world.context, "ana", second.id, Trigger.ROLL_BACK)
        await world.until(lambda: cam.active() == 1)
        assert await world.ended(second.id) == "rolled_back"

    run(story)


def test_a_tick_that_fails_is_counted_and_the_next_one_works() -> None:
    async def story(world: World) -> None:
        world.harness.publish(1)
        cam = world.harness.enroll("cam-1")
        await world.start()
        await world.join(cam)
        head = None
        with world.context.database.begin() as work:
            head = work.audit.head()
            work.audit._connection.exec_driver_sql("DELETE FROM audit_head")
        with world.context.database.begin() as work:
            work.fleet.put_desired(fleet.DesiredState(device=cam.id, generation=1))
        with pytest.raises(Exception, match="audit"):
            world.harness.roll_out()
        await world.until(lambda: topics.desired(cam.id) in world.broker.retained)
        with world.context.database.begin() as work:
            work.audit._connection.exec_driver_sql(
                "INSERT INTO audit_head (id, entries, hash) VALUES (1, ?, ?)",
                (head.count, head.hash),
            )
        assert await world.ended(world.harness.roll_out().id) == "completed"

    run(story)


def test_a_store_that_fails_while_greeting_a_broker_does_not_end_the_hub() -> None:
    async def story(world: World) -> None:
        task = await world.start()
        with world.context.database.begin() as work:
            head = work.audit.head()
            work.audit._connection.exec_driver_sql("DELETE FROM audit_head")
        assert head is not None
        world.broker.lose_state()
        await world.until(lambda: "audit" in world.hub.why_disconnected, task)
        with world.context.database.begin() as work:
            work.audit._connection.exec_driver_sql(
                "INSERT INTO audit_head (id, entries, hash) VALUES (1, ?, ?)",
                (head.count, head.hash),
            )
        await world.until(lambda: world.hub.connected, task)
        assert topics.epoch() in world.broker.retained

    run(story)


def test_accounts_follow_enrolments_on_a_managed_broker() -> None:
    async def story(world: World) -> None:
        managed = StubBroker()
        await world.start(managed=managed)
        assert list(managed.accounts) == [HUB_USERNAME]
        cam = world.harness.enroll("cam-1")
        await world.until(lambda: "cam-1" in managed.accounts)
        assert verify_password(cam.password, managed.accounts["cam-1"])
        assert verify_password("pw", managed.accounts[HUB_USERNAME])
        fleet.remove(world.context, "ana", "cam-1")
        await world.until(lambda: "cam-1" not in managed.accounts)

    run(story)


def test_a_managed_broker_that_ends_is_started_again_with_its_accounts() -> None:
    async def story(world: World) -> None:
        managed = StubBroker()
        await world.start(managed=managed)
        world.harness.enroll("cam-1")
        managed.stop()
        managed.accounts = {}
        await world.until(lambda: managed.starts == 2 and world.hub.connected)
        assert sorted(managed.accounts) == ["cam-1", HUB_USERNAME]

    run(story)


def test_why_the_hub_is_not_connected_is_said_in_the_words_of_the_cause() -> None:
    async def story(world: World) -> None:
        managed = StubBroker()
        await world.start(managed=managed, options=HubOptions(tick_s=0.01, epoch_wait_s=0.05))
        managed.stop()
        await world.until(lambda: not world.hub.connected)
        assert world.hub.why_disconnected == "the managed broker has ended"

    run(story)


def test_a_managed_broker_that_does_not_start_is_tried_again() -> None:
    async def story(world: World) -> None:
        managed = StubBroker(failing_starts=3)
        await world.start(managed=managed)
        assert managed.starts == 4

    run(story)


def test_a_hub_that_stops_ends_its_broker_and_says_so_in_the_audit() -> None:
    async def story(world: World) -> None:
        managed = StubBroker()
        task = await world.start(managed=managed)
        await world.stop(task)
        assert not managed.alive
        assert world.harness.acts()[-1] == ("hub.stop", "hub")

    run(story)


def test_packages_can_be_published_while_the_hub_works() -> None:
    async def story(world: World) -> None:
        await world.start()
        for number in range(1, 6):
            await asyncio.to_thread(world.harness.publish, number)
        assert packages.find(world.context, "kws").number == 5
        assert world.hub.connected

    run(story)
