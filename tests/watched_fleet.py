"""A fleet of a version with a reference profile: devices stream windows, some of them shifted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from device_agent.monitor.inputs import InputSketch
from device_agent.protocol.evidence import Evidence
from device_agent.protocol.ids import digest_of
from device_agent.protocol.items import Window
from device_agent.protocol.manifest import Manifest
from device_agent.protocol.reference import ReferenceProfile
from edgeops.domain.drift import Alarm, AlarmKind
from edgeops.packaging.package import chunked
from edgeops.packaging.rows.predictions import Predictions
from edgeops.packaging.rows.reference import make_plan, make_reference
from edgeops.service import drift, packages
from tests.hub_harness import MODEL, FakeDevice, HubHarness, TinyPackage, tiny_package

ROWS = 60
FEATURES = 8
RNG = np.random.default_rng(7)
REFERENCE_ROWS = RNG.normal(size=(2000, FEATURES)).astype(np.float32)
EVIDENCE = Evidence(
    recipe="as-is",
    rows=1000,
    float_accuracy=0.95,
    accuracy=0.95,
    drop_low=0.0,
    drop_high=0.003,
    confidence=0.95,
    max_drop=0.02,
    agreement=1.0,
    float_size_bytes=9,
    size_bytes=9,
)


def reference() -> ReferenceProfile:
    classes = np.arange(len(REFERENCE_ROWS)) % 2
    predicted = Predictions(classes=classes, confidence=np.full(len(classes), 0.9))
    return make_reference(make_plan(REFERENCE_ROWS), REFERENCE_ROWS, predicted, classes)


def watched_package(hub: HubHarness) -> TinyPackage:
    """A tiny package with a reference profile and evidence."""
    plain = tiny_package(hub.keys)
    profile = reference().to_bytes()
    variant = replace(
        plain.manifest.variants[0], reference=chunked(profile, 4096), evidence=EVIDENCE
    )
    manifest: Manifest = replace(plain.manifest, variants=(variant,))
    data = manifest.to_bytes()
    return TinyPackage(
        manifest=manifest,
        data=data,
        signature=hub.keys.targets.sign(data),
        blobs={**plain.blobs, digest_of(profile): profile},
    )


class Fleet:
    """Devices that stream windows; those of site=yard may be shifted."""

    def __init__(self, hub: HubHarness, devices: int = 6) -> None:
        self.hub = hub
        package = watched_package(hub)
        hub.upload(package)
        self.version = package
        packages.publish(hub.context, "ana", package.digest, package.signature)
        self.devices = [
            hub.enroll(f"cam-{n}", site="yard" if n % 2 else "lab") for n in range(devices)
        ]
        for device in self.devices:
            hub.take(device.birth())
        self.rng = np.random.default_rng(11)
        self.number = 0

    def window(self, shift: dict[int, float], accuracy: float, plan: str | None = None) -> Window:
        base = reference().plan
        rows = self.rng.normal(size=(ROWS, FEATURES))
        for feature, by in shift.items():
            rows[:, feature] += by
        sketch = InputSketch(base)
        for row in rows:
            sketch.observe(row)
        counted, inputs = sketch.take()
        started_s = self.hub.clock.now_s
        return Window(
            model=MODEL,
            version=1,
            digest=self.version.digest,
            started_s=started_s,
            ended_s=started_s + 60,
            inferences=ROWS,
            failures=0,
            nonfinite=0,
            classes=(ROWS // 2, ROWS // 2),
            confidence=(*(0,) * 28, ROWS, 0, 0, 0),
            latency=(ROWS,),
            labelled=20,
            labelled_correct=int(self.rng.binomial(20, accuracy)),
            plan=base.schema if plan is None else plan,
            input_rows=counted,
            inputs=inputs,
        )

    def send(self, device: FakeDevice, window: Window) -> tuple[str, bytes]:
        message = device.numbered("telemetry", (window,))
        self.hub.take(message)
        return message

    def stream(
        self, windows: int, shift: dict[int, float] | None = None, yard_accuracy: float = 0.95
    ) -> None:
        for _ in range(windows):
            for n, device in enumerate(self.devices):
                in_yard = bool(n % 2)
                accuracy = yard_accuracy if in_yard else 0.95
                self.send(device, self.window((shift or {}) if in_yard else {}, accuracy))
            self.hub.clock.pass_s(60)

    def alarms(self, kind: AlarmKind) -> list[Alarm]:
        return [each for each in drift.alarms(self.hub.context) if each.kind is kind]
