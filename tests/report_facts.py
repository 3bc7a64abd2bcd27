"""Facts for reports: the life of a digits model that meets dim light, and lives like it."""

from __future__ import annotations

import math
import random

from device_agent.protocol.evidence import ClassEvidence, Evidence, SliceEvidence
from edgeops.reports.facts import (
    AccuracySeries,
    AlarmFacts,
    ContestFacts,
    MemberFacts,
    ReportFacts,
    RetrainFacts,
    RolloutFacts,
    Series,
    TrafficFacts,
    VariantFacts,
    VersionFacts,
)

START_S = 1_795_000_000.0
LABELS = tuple(str(digit) for digit in range(10))
DIGEST = "sha256:" + "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"


def evidence(seed: int, wrong: float, classes: int = 10, rows: int = 900) -> Evidence:
    """Return evidence whose artifact is wrong on about that share of the rows."""
    chance = random.Random(seed)
    before, after = [0] * classes**2, [0] * classes**2
    same = 0
    for row in range(rows):
        truth = row % classes
        first = truth if chance.random() > 0.03 else chance.randrange(classes)
        second = first if chance.random() > wrong else (truth * 7 + 3) % classes
        before[truth * classes + first] += 1
        after[truth * classes + second] += 1
        same += first == second
    each = [sum(before[i * classes : (i + 1) * classes]) for i in range(classes)]
    right = [sum(m[i * classes + i] for i in range(classes)) / rows for m in (before, after)]
    drop = right[0] - right[1]
    return Evidence(
        recipe="tflite-int8",
        rows=rows,
        float_accuracy=right[0],
        accuracy=right[1],
        drop_low=round(drop - 0.006, 6),
        drop_high=round(drop + 0.006, 6),
        confidence=0.95,
        max_drop=0.02,
        agreement=same / rows,
        float_size_bytes=104_088,
        size_bytes=28_120,
        classes=tuple(
            ClassEvidence(
                rows=each[i], float_correct=before[i * classes + i], correct=after[i * classes + i]
            )
            for i in range(classes)
        ),
        float_confusion=tuple(before),
        confusion=tuple(after),
        sqnr_db=26.7,
        slices=(SliceEvidence(name="light=night", rows=120, float_correct=110, correct=96),),
    )


def version(number: int, at_s: float, by: str, **more: object) -> VersionFacts:
    """Return a version with two variants, one of them quantized."""
    return VersionFacts(
        number=number,
        digest=DIGEST,
        created_s=START_S + at_s,
        created_by=by,
        labels=LABELS,
        variants=(
            VariantFacts(
                runtime="litert",
                profiles=("raspberry-pi-zero-2w",),
                size_bytes=28_120,
                golden_accuracy=0.953,
                evidence=evidence(number, 0.008),
            ),
            VariantFacts(
                runtime="onnxruntime",
                profiles=("raspberry-pi-5", "x86-64-generic"),
                size_bytes=104_088,
                golden_accuracy=0.969,
                evidence=None,
            ),
        ),
        **more,
    )


def member(i: int, wave: int, ordered_s: float, state: str = "committed") -> MemberFacts:
    """Return a device that took the usual steps."""
    name, cohort = device(i)
    if state == "untouched":
        return MemberFacts(device=name, cohort=cohort, wave=wave, state=state)
    t = START_S + ordered_s
    lasts = (0.6, 0.9, 4.0 + i % 4, 0.4, 0.3, 2.5, 0.2, 11.0 + i % 5)
    names = ("admission", "manifest", "fetch", "verify", "stage", "self_test", "activate")
    steps, at = [], t + 0.8
    for step, last in zip((*names, "probation"), lasts, strict=True):
        steps.append((step, at))
        at += last
    if state == "committed":
        steps.append(("committed", at))
        return MemberFacts(
            device=name, cohort=cohort, wave=wave, state=state, steps=tuple(steps),
            ordered_s=t, ended_s=at,
        )  # fmt: skip
    steps.append(("roll_back", at))
    steps.append(("rolled_back", at + 1.0))
    return MemberFacts(
        device=name, cohort=cohort, wave=wave, state=state, reason="probation_class_shift",
        steps=tuple(steps), ordered_s=t, ended_s=at + 1.0,
    )  # fmt: skip


def device(i: int) -> tuple[str, str]:
    """Return the name of a device and its cohort: every third has dim light."""
    return f"cam-{i + 1}", "light=dim" if i % 3 == 2 else "light=day"


def rollout(n: int, number: int, at_s: float, devices: int, *, fails: bool = False) -> RolloutFacts:
    """Return a rollout of three waves that completes, or stops at the canary."""
    half = 1 + devices // 2
    waves = [0 if i == 0 else 1 if i < half else 2 for i in range(devices)]
    if fails:
        states = ["rolled_back"] + ["untouched"] * (devices - 1)
    else:
        states = ["committed"] * devices
    return RolloutFacts(
        id=f"r{n}",
        number=number,
        state="rolled_back" if fails else "completed",
        why="1 of 1 tolerated failures exceeded in wave 0" if fails else "",
        created_s=START_S + at_s,
        members=tuple(
            member(i, waves[i], at_s + 1 + 24 * waves[i], states[i]) for i in range(devices)
        ),
    )


def drift_series(i: int, number: int, begin_s: float, end_s: float, every_s: float = 10) -> Series:
    """Return evidence that rises on devices in dim light from 260 s on, for version 1."""
    name, cohort = device(i)
    chance = random.Random(i * 31 + number)
    points, value = [], 0.02
    for k in range(int((end_s - begin_s) / every_s)):
        at_s = begin_s + every_s * (k + 1)
        rises = cohort == "light=dim" and number == 1 and at_s > 250
        value *= math.exp(chance.gauss(0.7 if rises else 0.0, 0.35))
        value = min(1e12, max(1e-6, value if rises else min(value, 0.3)))
        points.append((START_S + at_s, value))
    return Series(device=name, cohort=cohort, number=number, points=tuple(points))


def accuracy_series(cohort: str, *, is_estimate: bool = False) -> AccuracySeries:
    """Return accuracy that falls in dim light between 260 and 620 s."""
    chance = random.Random(cohort + str(is_estimate))
    points = []
    for at_s in range(60, 800, 20):
        is_hurt = cohort == "light=dim" and 260 < at_s < 620
        if is_estimate:
            points.append((START_S + at_s, int(10_000 * (0.86 if is_hurt else 0.955)), 10_000))
        else:
            labelled = 60 + chance.randrange(30)
            share = 0.66 if is_hurt else 0.955
            correct = sum(chance.random() < share for _ in range(labelled))
            points.append((START_S + at_s, correct, labelled))
    return AccuracySeries(cohort=cohort, points=tuple(points))


def full_facts(devices: int = 6) -> ReportFacts:
    """Return a whole life: published, rolled out, drifted, did harm, retrained, mended."""
    dim = tuple(device(i)[0] for i in range(devices) if device(i)[1] == "light=dim")
    cohorts = ("light=day", "light=dim")
    return ReportFacts(
        title="Digits in dim light",
        model="digits",
        generated_s=START_S + 815,
        hub="0.2.0",
        versions=(
            version(1, 0, "ana", lineage=(("data", "digits.npz"), ("code", "3f2a9c1"))),
            version(2, 120, "ana", waivers=(("golden_accuracy", "to show what happens then"),)),
            version(
                3, 540, "retraining t1", aliases=("production",),
                lineage=(("parent", "digits:1"), ("run", "t1"), ("data", "digits.npz + windows")),
            ),
        ),
        rollouts=(
            rollout(1, 1, 5, devices),
            rollout(2, 2, 130, devices, fails=True),
            rollout(3, 3, 560, devices),
        ),
        alarms=(
            AlarmFacts(
                id="a1", kind="drift", number=1, since_s=START_S + 258, opened_s=START_S + 322,
                closed_s=START_S + 700, cohort="light=dim", devices=dim,
                features=(("x27", 2.31, 0.61, "lower"), ("x36", 1.87, 0.55, "lower")),
            ),
            AlarmFacts(
                id="a2", kind="harm", number=1, since_s=START_S + 270, opened_s=START_S + 360,
                cohort="light=dim", devices=dim, closed_s=START_S + 701,
            ),
        ),
        drift=(
            *(drift_series(i, 1, 40, 610) for i in range(devices)),
            *(drift_series(i, 3, 620, 810) for i in range(devices)),
        ),
        accuracy=tuple(accuracy_series(cohort) for cohort in cohorts),
        estimated=tuple(accuracy_series(cohort, is_estimate=True) for cohort in cohorts),
        retrainings=(
            RetrainFacts(
                id="t1", state="published", alarm="a2", parent=1, child=3,
                why="better where it did harm, and no worse elsewhere",
                started_s=START_S + 420, ended_s=START_S + 535,
                metrics=(("loss", 0.0812), ("epochs", 12.0)),
                contests=(
                    ContestFacts(
                        rows_name="rows from light=dim", rows=420, champion=0.662,
                        challenger=0.941, gain_low=0.231, gain_high=0.327,
                    ),
                    ContestFacts(
                        rows_name="rows of before", rows=900, champion=0.961, challenger=0.957,
                        gain_low=-0.013, gain_high=0.005,
                    ),
                ),
                data=("digits.npz, 900 rows", "labelled rows from light=dim, 640"),
            ),
        ),
        traffic=(
            TrafficFacts(
                what="digits:1 litert", size_bytes=28_120, devices=devices, sent_bytes=33_744
            ),
            TrafficFacts(
                what="digits:3 litert", size_bytes=28_120, devices=devices, sent_bytes=30_932
            ),
        ),
        audit=(54, True),
    )  # fmt: skip
