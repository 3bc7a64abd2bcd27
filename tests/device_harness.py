"""A device in this process without a network: the real agent loop, with a link that records.

``Hub`` holds the keys and signs; ``Device`` holds a state folder and a loop. Messages go through
the loop's own queue, needs are answered from the packages that the device was given.
"""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from device_agent.core.records import ModelRecord
from device_agent.core.states import State
from device_agent.protocol import topics
from device_agent.protocol.chunks import BlobRef, encode_chunk, expand_ranges
from device_agent.protocol.codec import encode
from device_agent.protocol.enrolment import Enrolment
from device_agent.protocol.envelope import (
    PAYLOAD_COMMAND,
    PAYLOAD_DESIRED,
    PAYLOAD_ROOT,
    pre_authentication,
    seal,
)
from device_agent.protocol.ids import DeviceId, Digest, ModelName, digest_of
from device_agent.protocol.manifest import Budget, Manifest
from device_agent.protocol.orders import Ack, Command, Desired, DesiredModel
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.reasons import Reason
from device_agent.protocol.reports import Need
from device_agent.protocol.root import ROLES, Root
from device_agent.shell.doors import Clock, Doors
from device_agent.shell.fetch import FetchLimits
from device_agent.shell.link import Connected, Message
from device_agent.shell.live import LiveModels
from device_agent.shell.loop import AgentLoop
from device_agent.shell.options import AgentOptions
from device_agent.shell.storage import Storage
from edgeops.packaging.build import build_package
from edgeops.packaging.package import Package, chunked
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
from tests.models import linear_onnx, save_golden, separable

PROFILE = "x86-64-generic"
DEVICE = DeviceId("cam-1")
FEATURES = 4
CHUNK_BYTES = 256
ROOMY = Budget(latency_ms_p95=1e6, memory_mib=1e6)
PATIENCE_S = 60.0
QUICK = ProbationRules(min_inferences=20, max_latency_ratio=1e6)
"""Latencies of microseconds on a shared machine are no measure of a model."""

OPTIONS = AgentOptions(
    heartbeat_s=86_400.0,
    telemetry_interval_s=1e6,
    fetch=FetchLimits(first_need_s=0.0, silence_s=0.05, most_silence_s=0.1),
)


class Hub:
    """The keys of a root of trust, and what they sign."""

    def __init__(self) -> None:
        self.keys = {role: SigningKey.generate() for role in ROLES}

    def root(self, version: int = 1) -> Root:
        return Root(
            version=version,
            roles={role: {key.keyid: key.public} for role, key in self.keys.items()},
        )

    def enrolment(self, device: DeviceId = DEVICE, **fields: Any) -> Enrolment:
        values: dict[str, Any] = {
            "device": device,
            "profile": PROFILE,
            "broker": "mqtt://127.0.0.1:1",
            "username": device,
            "password": "x",
            "root": self.sealed(PAYLOAD_ROOT, self.root().to_bytes(), role="root"),
        }
        return Enrolment(**{**values, **fields})

    def sealed(self, kind: str, payload: bytes, *, role: str = "director") -> bytes:
        return seal(kind, payload, [self.keys[role].sign(pre_authentication(kind, payload))])

    def desired(
        self, generation: int, orders: Mapping[str, DesiredModel], *, device: DeviceId = DEVICE
    ) -> bytes:
        models = {ModelName(name): order for name, order in orders.items()}
        wanted = Desired(device=device, generation=generation, models=models)
        return self.sealed(PAYLOAD_DESIRED, encode(wanted.to_document()))

    def command(
        self,
        name: str,
        kind: str = "announce",
        *,
        expires_in_s: float = 60.0,
        device: DeviceId = DEVICE,
        issued_s: float | None = None,
    ) -> bytes:
        issued_s = time.time() if issued_s is None else issued_s
        command = Command(
            device=device, id=name, kind=kind, issued_s=issued_s, expires_s=issued_s + expires_in_s
        )
        return self.sealed(PAYLOAD_COMMAND, encode(command.to_document()))


class Workshop:
    """Makes packages with the real packager, signed by one hub's targets key."""

    def __init__(self, hub: Hub, folder: Path) -> None:
        self.hub = hub
        self.folder = folder
        self.rows, self.labels, self.weights = separable(40, FEATURES)

    def linear(
        self,
        version: int,
        weights: Any = None,
        *,
        labels: Any = None,
        name: str = "digits",
        **request: Any,
    ) -> Package:
        """Package a linear ONNX model; golden rows with ``labels`` (by default the truth)."""
        folder = self.folder / f"{name}-{version}-{random.getrandbits(32):x}"
        folder.mkdir()
        model = folder / "model.onnx"
        model.write_bytes(linear_onnx(self.weights * version if weights is None else weights))
        golden = save_golden(
            folder / "golden.npz", self.rows, self.labels if labels is None else labels
        )
        return self.package(name, version, model, golden, **request)

    def package(
        self, name: str, version: int, model: Path, golden: Path | None, **request: Any
    ) -> Package:
        values: dict[str, Any] = {
            "profiles": (PROFILE,),
            "chunk_bytes": CHUNK_BYTES,
            "budget": ROOMY,
            **request,
        }
        return build_package(
            PackageRequest(models=(model,), name=name, version=version, golden=golden, **values),
            self.hub.keys["targets"],
            lambda line: None,
        )

    def altered(
        self,
        package: Package,
        *,
        artifact: bytes | None = None,
        variant: Mapping[str, Any] | None = None,
        **manifest: Any,
    ) -> Package:
        """Return the package with something in it exchanged, and truly signed again."""
        (old,) = package.manifest.variants
        blobs = dict(package.blobs)
        fields = dict(variant or {})
        if artifact is not None:
            fields["artifact"] = chunked(artifact, CHUNK_BYTES)
            blobs[digest_of(artifact)] = artifact
        changed = replace(package.manifest, variants=(replace(old, **fields),), **manifest)
        return self.signed(changed.to_bytes(), blobs, changed)

    def signed(self, data: bytes, blobs: Mapping[Digest, bytes], manifest: Manifest) -> Package:
        return Package(
            manifest=manifest,
            manifest_bytes=data,
            signature=self.hub.keys["targets"].sign(data),
            blobs=blobs,
        )


def order_of(
    package: Package, rollout: str = "r1", *, rules: ProbationRules = QUICK, **fields: Any
) -> DesiredModel:
    """Return the order of a package, as a rollout gives it."""
    data = package.manifest_bytes
    values: dict[str, Any] = {
        "version": package.manifest.version,
        "manifest": BlobRef(digest=package.digest, size_bytes=len(data), chunk_bytes=CHUNK_BYTES),
        "signature": package.signature,
        "rollout": rollout,
        "probation": rules,
        "download_timeout_s": 30.0,
    }
    return DesiredModel(**{**values, **fields})


@dataclass
class RecordingLink:
    """A link that is always connected and keeps what it was given."""

    published: list[tuple[str, bytes]] = field(default_factory=list)
    filters: set[str] = field(default_factory=set)
    connected: bool = True
    farewell: tuple[str, bytes] | None = None

    def start(self) -> None:
        """Nothing to do."""

    def stop(self, farewell: tuple[str, bytes] | None = None) -> None:
        self.farewell = farewell

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        if self.connected:
            self.published.append((topic, payload))
        return self.connected

    def subscribe(self, filters: Iterable[str], *, qos: int = 1) -> None:
        self.filters.update(filters)

    def unsubscribe(self, filters: Iterable[str]) -> None:
        self.filters.difference_update(filters)


class Device:
    """One device: a state folder, a loop, and the blobs that a hub would serve to it."""

    def __init__(
        self,
        folder: Path,
        hub: Hub,
        *,
        options: AgentOptions = OPTIONS,
        storage: Storage | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.folder = folder
        self.clock = clock or Clock()
        self.hub = hub
        self.options = options
        self.storage = storage
        self.store: dict[Digest, bytes] = {}
        self.orders: dict[str, DesiredModel] = {}
        self.generation = 0
        self.serves_chunks = True
        self.rows: Any = np.eye(FEATURES, dtype=np.float32)
        self.events: list[dict[str, Any]] = []
        self.outcomes: list[dict[str, Any]] = []
        self.start()

    # ---- life

    def start(self) -> None:
        """Start an agent on the folder, as after a power cut."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.link = RecordingLink()
        self.live = LiveModels()
        self.log_lines: tuple[str, ...] = ()
        self.loop = AgentLoop(
            self.folder,
            self.hub.enrolment(),
            self.live,
            options=self.options,
            chance=random.Random(1),
            doors=Doors(
                link=self.link,
                storage=self.storage,
                clock=self.clock,
                log_lines=lambda: self.log_lines,
            ),
        )
        self.loop.begin()
        self.loop.inbox.put(Connected(session=1))
        self._seen = 0

    def stop(self) -> None:
        """End in good order."""
        self.loop.close()

    def crash(self) -> None:
        """End without a word: nothing is flushed; child processes die with their parent."""
        self.loop._deployer.acts.stop()
        self.loop._desk.stop()
        self.live.close()
        self.loop._outbox.close()

    def restart(self) -> None:
        self.crash()
        self.start()

    def copied(self, folder: Path, storage: Storage | None = None) -> Device:
        """Start an agent on a copy of this stopped device's folder, for the same hub."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        copy = Device(folder, self.hub, options=self.options, storage=storage)
        copy.store, copy.orders = dict(self.store), dict(self.orders)
        copy.generation = self.generation
        return copy

    # ---- what a hub does

    def send(self, topic: str, payload: bytes) -> None:
        """Put a message into the loop's queue, as the link does."""
        self.loop.inbox.put(Message(topic=topic, payload=payload))

    def offer(self, package: Package) -> None:
        """Let the hub have a package's blobs."""
        self.store.update(package.blobs)
        self.store[package.digest] = package.manifest_bytes

    def order(self, *packages: Package, rollout: str = "r1", **fields: Any) -> None:
        """Order versions by a new generation of the desired state."""
        for package in packages:
            self.offer(package)
            self.orders[package.manifest.model] = order_of(package, rollout, **fields)
        self.generation += 1
        desired = self.hub.desired(self.generation, self.orders)
        self.send(topics.desired(DEVICE), desired)

    def answer(self, need: Need) -> None:
        """Feed the chunks that a need asks for, if the hub has the blob."""
        data = self.store.get(need.blob.digest)
        if data is None or not self.serves_chunks:
            return
        size = need.blob.chunk_bytes
        for index in expand_ranges(need.ranges, need.blob.count):
            piece = data[index * size : (index + 1) * size]
            self.send(topics.blob(need.blob.digest), encode_chunk(need.blob, index, piece))

    # ---- turning

    def turn(self) -> None:
        """Let the loop take what waits, look at its clocks, and let the hub answer."""
        self.loop.turn(0.005)
        assert not self.loop.counters["defect"], "see agent.defect in the log"
        said, self._seen = self.link.published[self._seen :], len(self.link.published)
        for topic, payload in said:
            kind = topic.rsplit("/", 1)[1]
            if kind == "need":
                self.answer(Need.from_document(json.loads(payload)))
            elif kind in ("event", "outcome", "telemetry"):
                self._acknowledge(kind, json.loads(payload))

    def until(self, condition: Callable[[], object], what: str = "the condition") -> None:
        """Turn until something holds; gives up after a time that no healthy run needs."""
        give_up_s = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > give_up_s:
                raise AssertionError(f"{what} did not come; {self.describe()}")
            self.turn()

    def reach(self, state: State, model: str = "digits") -> None:
        """Turn until the model's deployment is in this state."""
        self.until(lambda: self.state(model) is state, f"{model} {state.value}")

    def settle(self, *models: str, rows: int = 0) -> None:
        """Turn, inferring all the while, until the deployments have ended."""
        names = models or ("digits",)

        def ended() -> bool:
            for name in names:
                for _ in range(5):
                    self.try_infer(name)
            return not self.loop.inbox and all(self.is_settled(name) for name in names)

        self.until(ended, "an end")
        for _ in range(3):
            self.turn()

    def try_infer(self, model: str = "digits") -> int | None:
        """Answer a row if there is a model; return the version that did."""
        if self.live.get(ModelName(model)) is None:
            return None
        return self.infer(model).version

    def infer(self, model: str = "digits", row: Any = None) -> Any:
        self._row = (getattr(self, "_row", -1) + 1) % len(self.rows)
        given = self.rows[self._row] if row is None else row
        return self.live.infer(ModelName(model), given)

    # ---- looking

    def record(self, model: str = "digits") -> ModelRecord:
        return self.loop._deployer.records.get(ModelName(model)) or ModelRecord(
            name=ModelName(model)
        )

    def state(self, model: str = "digits") -> State | None:
        deployment = self.record(model).deployment
        return deployment.state if deployment else None

    def reason(self, model: str = "digits") -> Reason | None:
        deployment = self.record(model).deployment
        return deployment.reason if deployment else None

    def detail(self, model: str = "digits") -> str:
        deployment = self.record(model).deployment
        return deployment.detail if deployment else ""

    def is_settled(self, model: str = "digits") -> bool:
        deployment = self.record(model).deployment
        wanted = self.orders.get(model)
        return (
            deployment is not None
            and deployment.is_final
            and wanted is not None
            and deployment.digest == wanted.manifest.digest
        )

    def serving(self, model: str = "digits") -> int | None:
        """Return the version that answers now."""
        live = self.live.get(ModelName(model))
        return live.manifest.version if live else None

    def outcome(self, model: str = "digits") -> tuple[State | None, Reason | None]:
        return self.state(model), self.reason(model)

    def states(self, model: str = "digits") -> list[str]:
        """Return the states that were reported through the outbox, in order."""
        return [event["state"] for event in self.events if event["model"] == model]

    def describe(self) -> str:
        names = list(self.loop._deployer.records)
        found = {name: (self.outcome(name), self.detail(name)) for name in names}
        return f"deployments: {found}; counters: {dict(self.loop.counters)}"

    def _acknowledge(self, kind: str, document: dict[str, Any]) -> None:
        if kind == "event":
            self.events.append(document["event"])
        if kind == "outcome":
            self.outcomes.append(document["outcome"])
        ack = Ack(stream=document["stream"], sequence=document["sequence"])
        self.send(topics.ack(DEVICE), encode(ack.to_document()))
