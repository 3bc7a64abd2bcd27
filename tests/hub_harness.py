"""A hub in one process: its context with a clock and keys of the test, tiny signed packages,
and devices that speak the protocol without an agent."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from device_agent.protocol import topics
from device_agent.protocol.chunks import BlobRef, decode_chunk, missing_ranges
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.envelope import (
    PAYLOAD_COMMAND,
    PAYLOAD_DESIRED,
    Signature,
    unseal,
)
from device_agent.protocol.ids import DeviceId, Digest, ModelName, digest_of
from device_agent.protocol.items import Event, Numbered, Window
from device_agent.protocol.manifest import Manifest, TensorSpec, Variant, Waiver
from device_agent.protocol.orders import Ack, Desired
from device_agent.protocol.outcomes import CommandOutcome
from device_agent.protocol.preprocessing import Preprocessing
from device_agent.protocol.reports import (
    Need,
    Reported,
    ReportedDeployment,
    ReportedModel,
    ReportedVersion,
)
from device_agent.protocol.root import Root
from device_agent.protocol.samples import Sample
from edgeops.delivery.demand import Demand
from edgeops.domain.registry import Version
from edgeops.domain.rollout import Policy, Rollout
from edgeops.hub.handlers import Handlers
from edgeops.packaging.package import chunked
from edgeops.service import fleet, packages, rollouts
from edgeops.service.context import Context
from edgeops.simulation.packages import Keys
from edgeops.simulation.packages import make_keys as simulated_keys
from edgeops.store.blobs import MemoryBlobStore
from edgeops.store.database import Database
from edgeops.transport.contract import TransportLost
from edgeops.transport.memory import MemoryBroker, MemoryTransport
from edgeops.trust.keys import SigningKey, verify_signature

MODEL = ModelName("kws")
PROFILE = "x86-64-generic"
START_S = 1_700_000_000.0


class ManualClock:
    """Seconds since the epoch, that pass when the test says so."""

    def __init__(self, now_s: float = START_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    def pass_s(self, seconds: float) -> None:
        self.now_s += seconds


def make_keys(make: Callable[[], SigningKey] = SigningKey.generate) -> Keys:
    return simulated_keys(make)


@dataclass(frozen=True, slots=True, kw_only=True)
class TinyPackage:
    """A signed package whose artifact no runtime has ever seen."""

    manifest: Manifest
    data: bytes
    signature: Signature
    blobs: dict[Digest, bytes]

    @property
    def digest(self) -> Digest:
        return digest_of(self.data)


def tiny_package(
    keys: Keys,
    number: int = 1,
    *,
    model: str = MODEL,
    artifact: bytes | None = None,
    profiles: Iterable[str] = (PROFILE,),
    waivers: tuple[Waiver, ...] = (),
    chunk_bytes: int = 256,
    lineage: dict[str, str] | None = None,
    preprocessing: Preprocessing | None = None,
) -> TinyPackage:
    """Make and sign a manifest by hand."""
    artifact = artifact if artifact is not None else f"{model}:{number} ".encode() * 100
    variant = Variant(
        profiles=tuple(profiles),
        runtime="onnxruntime",
        artifact=chunked(artifact, chunk_bytes),
        golden=None,
        inputs=(TensorSpec(name="x", dtype="float32", shape=(-1, 4)),),
        outputs=(TensorSpec(name="scores", dtype="float32", shape=(-1, 2)),),
        scores="scores",
        tolerance=1e-3,
        golden_accuracy=None,
    )
    manifest = Manifest(
        model=ModelName(model),
        version=number,
        min_agent="0.1.0" if preprocessing is None else "0.2.0",
        labels=("no", "yes"),
        variants=(variant,),
        min_accuracy=None,
        waivers=waivers,
        lineage={"run": f"run-{number}"} if lineage is None else lineage,
        preprocessing=preprocessing,
    )
    data = manifest.to_bytes()
    return TinyPackage(
        manifest=manifest,
        data=data,
        signature=keys.targets.sign(data),
        blobs={digest_of(artifact): artifact},
    )


class HubHarness:
    """A context, its handlers, and short ways to do what tests do."""

    def __init__(
        self, database: str | Path = "sqlite://", *, keys: Keys | None = None, seed: int = 0
    ) -> None:
        self.keys = keys or make_keys()
        self.clock = ManualClock()
        self.blobs = MemoryBlobStore()
        self.chance = random.Random(seed)
        self.context = Context(
            database=Database.open(database),
            blobs=self.blobs,
            director=self.keys.director,
            root=self.keys.root,
            root_envelope=self.keys.envelope,
            broker="mqtt://broker.test",
            clock=self.clock,
            chance=self.chance.randbytes,
        )
        self.demand = Demand()
        self.handlers = Handlers(self.context, self.demand)

    def close(self) -> None:
        self.context.database.close()

    def __enter__(self) -> HubHarness:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- packages

    def upload(self, package: TinyPackage) -> None:
        for digest, data in {**package.blobs, package.digest: package.data}.items():
            packages.put_blob(self.context, digest, data)

    def publish(self, number: int = 1, *, actor: str = "ana", **options: object) -> Version:
        package = tiny_package(self.keys, number, **options)  # type: ignore[arg-type]
        self.upload(package)
        return packages.publish(self.context, actor, package.digest, package.signature)

    # ---- devices

    def enroll(self, name: str, *, profile: str = PROFILE, **labels: str) -> FakeDevice:
        enrolment = fleet.enroll(self.context, "ana", name, profile, labels)
        return FakeDevice(
            id=enrolment.device, profile=profile, root=self.keys.root, password=enrolment.password
        )

    def online(self, *names: str, **labels: str) -> list[FakeDevice]:
        devices = [self.enroll(name, **labels) for name in names]
        for device in devices:
            self.take(device.birth())
        return devices

    def take(self, message: tuple[str, bytes]) -> bytes | None:
        """Hand a message to the handlers; return the payload of the answer."""
        answer = self.handlers.handle(*message)
        return answer.payload if answer else None

    def deliver(self, devices: Iterable[FakeDevice]) -> dict[DeviceId, int]:
        """Publish what is unpublished; each named device obeys and reports."""
        known = {device.id: device for device in devices}
        delivered: dict[DeviceId, int] = {}
        for name, generation, payload in fleet.desired_documents(self.context, limit=1000):
            delivered[name] = generation
            fleet.desired_published(self.context, name, generation)
            if name in known:
                known[name].obey(payload)
                self.take(known[name].report())
        return delivered

    # ---- rollouts

    def roll_out(self, number: int = 1, *, selector: str = "all", **policy: object) -> Rollout:
        wanted = rollouts.NewRollout(
            reference=f"{MODEL}:{number}",
            selector=selector,
            policy=Policy(**policy),  # type: ignore[arg-type]
        )
        return rollouts.create(self.context, "ana", wanted)

    def turn(self, devices: Iterable[FakeDevice], *, seconds: float = 1.0) -> None:
        """Let time pass once: a tick, then everything published is obeyed and reported."""
        rollouts.tick(self.context)
        self.deliver(list(devices))
        self.clock.pass_s(seconds)

    def run_out(self, rollout: str, devices: Iterable[FakeDevice], *, turns: int = 50) -> Rollout:
        """Turn until a rollout has ended; return it."""
        devices = list(devices)
        for _ in range(turns):
            self.turn(devices)
            seen = rollouts.show(self.context, rollout)
            if seen.state in ("completed", "rolled_back", "aborted"):
                return seen
        raise AssertionError(f"rollout {rollout} has not ended: {seen.state}, {seen.why}")

    # ---- the audit

    def acts(self, *, actor: str | None = None) -> list[tuple[str, str]]:
        with self.context.database.read() as work:
            entries = list(work.audit.entries())
        return [(e.act, e.subject) for e in entries if actor in (None, e.actor)]


Outcome = Callable[[int], str]
"""What becomes of a version on a device: committed, failed, rolled_back or silent."""


@dataclass
class FakeDevice:
    """A device that says what a device says, and runs nothing."""

    id: DeviceId
    root: Root
    profile: str = PROFILE
    password: str = ""
    session: int = 0
    instance: str = "i1"
    generation: int = 0
    models: dict[ModelName, ReportedModel] = field(default_factory=dict)
    outcome: Outcome = lambda _: "committed"
    stream: str = "s1"
    sequences: dict[str, int] = field(default_factory=dict)
    orders: list[Desired] = field(default_factory=list)
    clock_s: float = START_S

    def birth(self) -> tuple[str, bytes]:
        """Connect: a new session."""
        self.session += 1
        return self.report()

    def report(self, *, online: bool = True) -> tuple[str, bytes]:
        report = Reported(
            device=self.id,
            online=online,
            session=self.session,
            instance=self.instance,
            agent="0.1.0",
            profile=self.profile,
            runtimes=("onnxruntime",),
            generation=self.generation,
            models=self.models,
            clock_s=self.clock_s,
        )
        return topics.up(self.id, "state"), encode(report.to_document())

    def death(self) -> tuple[str, bytes]:
        return self.report(online=False)

    def open(self, payload: bytes) -> Desired:
        """Verify a desired state as an agent does."""
        keys = self.root.keys_of("director")
        inner = unseal(payload, PAYLOAD_DESIRED, keys, verify_signature)
        return Desired.from_document(decode(inner))

    def obey(self, payload: bytes) -> Desired | None:
        """Take a desired state if it is newer; the outcome of each new version is at once."""
        desired = self.open(payload)
        assert desired.device == self.id
        if desired.generation <= self.generation:
            return None
        self.generation = desired.generation
        self.orders.append(desired)
        for name, wish in desired.models.items():
            known = self.models.get(name)
            version = ReportedVersion(version=wish.version, digest=wish.manifest.digest)
            outcome = self.outcome(wish.version)
            if outcome == "silent" or (known and known.active == version):
                continue
            deployment = ReportedDeployment(
                generation=desired.generation,
                rollout=wish.rollout,
                version=wish.version,
                state=outcome,
                reason=None if outcome == "committed" else "load_failed",
                detail="" if outcome == "committed" else "it would not load",
            )
            active = known.active if known else None
            if outcome == "committed":
                known = ReportedModel(active=version, previous=active, deployment=None)
            self.models[name] = replace(
                known or ReportedModel(active=None, previous=None, deployment=None),
                deployment=deployment,
            )
        return desired

    def active(self, model: ModelName = MODEL) -> int | None:
        known = self.models.get(model)
        return known.active.version if known and known.active else None

    def numbered(
        self,
        kind: str,
        body: Event | CommandOutcome | tuple[Window | Sample, ...],
        sequence: int | None = None,
        oldest: int = 1,
    ) -> tuple[str, bytes]:
        """Return the next message of an outbox stream, or the one of ``sequence`` again.

        ``oldest`` is the lowest number that the device still holds.
        """
        if sequence is None:
            sequence = self.sequences.get(kind, 0) + 1
            self.sequences[kind] = sequence
        document = Numbered(
            device=self.id, stream=self.stream, sequence=sequence, oldest=oldest, body=body
        ).to_document()
        return topics.up(self.id, kind), encode(document)

    def need(self, blob: BlobRef, *ranges: tuple[int, int]) -> tuple[str, bytes]:
        need = Need(device=self.id, blob=blob, ranges=ranges)
        return topics.up(self.id, "need"), encode(need.to_document())


def event(rollout: str, *, number: int = 1, state: str = "committed", **evidence: float) -> Event:
    return Event(
        model=MODEL,
        generation=1,
        rollout=rollout,
        version=number,
        digest=digest_of(b""),
        state=state,
        reason=None,
        detail="",
        evidence=evidence,
        at_s=START_S,
    )


def outcome(command: str = "c1", kind: str = "announce", **fields: Any) -> CommandOutcome:
    return CommandOutcome(**{"id": command, "kind": kind, "outcome": "done", **fields})


def window(*, inferences: int = 10, ended_s: float = START_S) -> Window:
    return Window(
        model=MODEL,
        version=1,
        digest=digest_of(b""),
        started_s=ended_s - 60,
        ended_s=ended_s,
        inferences=inferences,
        failures=0,
        nonfinite=0,
        classes=(inferences, 0),
        confidence=(0,) * 32,
        latency=(0,) * 104,
        labelled=0,
        labelled_correct=0,
    )


def sample(data: bytes = bytes(16), *, label: int | None = 1, at_s: float = START_S) -> Sample:
    """A row of four float32 values."""
    return Sample(
        model=MODEL,
        version=1,
        digest=digest_of(b""),
        at_s=at_s,
        dtype="float32",
        shape=(4,),
        data=data,
        class_index=0,
        confidence=0.5,
        label=label,
    )


class MemoryDevice:
    """A fake device on a broker in memory: connects, obeys, fetches chunks, reports."""

    def __init__(self, device: FakeDevice, broker: MemoryBroker, *, fetches: bool = False) -> None:
        self.device = device
        self.commands: list[bytes] = []
        self.acks: list[Ack] = []
        self.epochs: list[bytes] = []
        self.roots: list[bytes] = []
        self.fetched: dict[Digest, bytes] = {}
        self.chunks_seen: list[tuple[str, int]] = []
        self._transport = MemoryTransport(broker)
        self._fetches = fetches
        self._missing: dict[Digest, tuple[BlobRef, dict[int, bytes]]] = {}

    async def run(self) -> None:
        """Stay connected, and connect again after each loss, until cancelled."""
        while True:
            filters = (*topics.device_filters(self.device.id), f"{topics.PREFIX}/blob/#")
            await self._transport.connect(filters)
            await self._publish(self.device.birth())
            for ref, _ in list(self._missing.values()):
                await self._ask(ref)
            with contextlib.suppress(TransportLost):
                async for message in self._transport.incoming():
                    await self._on(message.topic, message.payload)
            await asyncio.sleep(0)

    async def die(self) -> None:
        """Have the broker publish the will."""
        await self._publish(self.device.death())
        await self._transport.close()

    async def say(self, message: tuple[str, bytes]) -> None:
        await self._publish(message)

    async def want(self, ref: BlobRef) -> None:
        """Fetch a blob."""
        self._missing[ref.digest] = (ref, {})
        await self._ask(ref)

    async def _publish(self, message: tuple[str, bytes]) -> None:
        topic, payload = message
        retain = topic.endswith("/state")
        await self._transport.publish(topic, payload, retain=retain)

    async def _ask(self, ref: BlobRef) -> None:
        have = self._missing[ref.digest][1]
        ranges = missing_ranges([index in have for index in range(ref.count)], max_ranges=512)
        await self._publish(self.device.need(ref, *ranges))

    async def _on(self, topic: str, payload: bytes) -> None:
        parsed = topics.parse_down(topic, self.device.id)
        match parsed.kind:
            case "desired" if payload:
                desired = self.device.obey(payload)
                if desired is None:
                    return
                if self._fetches:
                    for wish in desired.models.values():
                        await self.want(wish.manifest)
                else:
                    await self._publish(self.device.report())
            case "cmd":
                keys = self.device.root.keys_of("director")
                self.commands.append(unseal(payload, PAYLOAD_COMMAND, keys, verify_signature))
                await self._publish(self.device.report())
            case "ack":
                self.acks.append(Ack.from_document(decode(payload)))
            case "epoch":
                self.epochs.append(payload)
            case "root":
                self.roots.append(payload)
            case "blob" | "repair":
                await self._on_chunk(topic, parsed.blob, payload)

    async def _on_chunk(self, topic: str, digest: Digest | None, payload: bytes) -> None:
        chunk = decode_chunk(payload)
        self.chunks_seen.append((topic, chunk.index))
        if digest is None or digest not in self._missing:
            return
        ref, have = self._missing[digest]
        have[chunk.index] = chunk.data
        if len(have) < ref.count:
            return
        data = b"".join(have[index] for index in range(ref.count))
        assert digest_of(data) == digest
        self.fetched[digest] = data
        del self._missing[digest]
        if not self._missing:
            await self._publish(self.device.report())
