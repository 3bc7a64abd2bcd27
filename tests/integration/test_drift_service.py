"""Windows reach the hub, devices are watched, and an alarm names version, cohort and features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from device_agent.monitor.inputs import InputSketch
from device_agent.protocol.evidence import Evidence
from device_agent.protocol.ids import digest_of
from device_agent.protocol.items import Window
from device_agent.protocol.manifest import Manifest
from device_agent.protocol.reference import ReferenceProfile
from edgeops.domain.drift import Alarm, AlarmKind
from edgeops.packaging.package import chunked
from edgeops.packaging.predictions import Predictions
from edgeops.packaging.reference import make_plan, make_reference
from edgeops.service import drift
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
        from edgeops.service import packages

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


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with HubHarness() as hub:
        yield Fleet(hub)


def test_a_fleet_without_a_shift_raises_no_alarm(fleet: Fleet) -> None:
    fleet.stream(30)
    assert drift.alarms(fleet.hub.context) == ()
    standings = drift.standings(fleet.hub.context, "kws:1")
    assert [each.windows for each in standings] == [30] * 6
    assert not any(each.alarmed for each in standings)


def test_an_alarm_names_the_version_the_cohort_the_features_and_since_when(fleet: Fleet) -> None:
    fleet.stream(8)
    began_s = fleet.hub.clock.now_s
    fleet.stream(12, shift={2: 1.0, 5: -1.0})
    (alarm,) = fleet.alarms(AlarmKind.DRIFT)
    assert (alarm.model, alarm.number, alarm.is_open) == ("kws", 1, True)
    assert set(alarm.devices) == {"cam-1", "cam-3", "cam-5"}
    assert alarm.cohort == "site=yard"
    assert {feature.name for feature in alarm.features} == {"x2", "x5"}
    assert abs(alarm.since_s - began_s) <= 180
    assert all(feature.psi > 0.2 for feature in alarm.features)


def test_drift_without_harm_opens_an_investigation_and_nothing_else(fleet: Fleet) -> None:
    """Brightness alone: every input moves, accuracy stays."""
    fleet.stream(15, shift=dict.fromkeys(range(FEATURES), 0.8))
    assert fleet.alarms(AlarmKind.DRIFT)
    assert not fleet.alarms(AlarmKind.HARM)


def test_labels_that_turn_out_wrong_raise_harm_though_inputs_are_the_same(fleet: Fleet) -> None:
    fleet.stream(25, yard_accuracy=0.6)
    (harm,) = fleet.alarms(AlarmKind.HARM)
    assert harm.cohort == "site=yard"
    assert not fleet.alarms(AlarmKind.DRIFT)


def test_every_device_that_joins_an_alarm_is_in_the_audit_once(fleet: Fleet) -> None:
    fleet.stream(15, shift={0: 2.0})
    (alarm,) = fleet.alarms(AlarmKind.DRIFT)
    drift.close(fleet.hub.context, "otto", alarm.id, "a camera was moved")
    acts = fleet.hub.acts()
    assert acts.count(("drift.alarm", alarm.id)) == len(alarm.devices) == 3
    assert ("drift.close", alarm.id) in acts
    assert not drift.alarm(fleet.hub.context, alarm.id).is_open


def test_a_window_twice_counts_once(fleet: Fleet) -> None:
    message = fleet.send(fleet.devices[0], fleet.window({}, 0.95))
    fleet.hub.take(message)
    (standing,) = drift.standings(fleet.hub.context, "kws:1")
    assert standing.windows == 1


def test_a_window_counted_by_another_plan_is_kept_and_not_compared(fleet: Fleet) -> None:
    fleet.send(fleet.devices[0], fleet.window({}, 0.95, plan="0123456789abcdef"))
    assert drift.standings(fleet.hub.context, "kws:1") == ()


def test_a_window_of_a_version_that_nobody_published_does_no_harm(fleet: Fleet) -> None:
    odd = replace(fleet.window({}, 0.95), version=9)
    assert fleet.send(fleet.devices[0], odd)
    assert drift.alarms(fleet.hub.context) == ()


def test_a_day_late_window_is_taken_in_the_order_of_its_arrival(fleet: Fleet) -> None:
    late = fleet.window({}, 0.95)
    fleet.hub.clock.pass_s(86_400)
    fleet.send(fleet.devices[0], fleet.window({}, 0.95))
    fleet.send(fleet.devices[0], late)
    (standing,) = drift.standings(fleet.hub.context, "kws:1")
    assert standing.windows == 2
