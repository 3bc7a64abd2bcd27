"""Alarms: how the verdicts of single devices become one finding with a name, a cohort, features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from device_agent.protocol.ids import DeviceId
from edgeops.domain.drift import Alarm, AlarmedFeature
from edgeops.domain.fleet import Device
from edgeops.statistics.attribution import Attribution

MAX_FEATURES = 16
COHORT_PRECISION = 0.8
"""Share of a cohort's devices that must be alarmed for it to be named."""
COHORT_RECALL = 0.8
"""Share of the alarmed devices that a cohort must hold for it to be named."""


def join(
    alarm: Alarm,
    device: DeviceId,
    evidence: float,
    since_s: float,
    features: Sequence[Attribution],
) -> Alarm:
    """Return the alarm with one more device, or the same device with more evidence."""
    known = device in alarm.devices
    return replace(
        alarm,
        devices={**alarm.devices, device: evidence},
        since_s=min(alarm.since_s, since_s),
        features=alarm.features if known else _with_features(alarm.features, features),
    )


def cohort_of(alarmed: Mapping[DeviceId, float], devices: Sequence[Device]) -> str:
    """Return the selector term that best tells the alarmed devices from the others.

    Empty if all devices are alarmed, if only one is, or if no label parts them well.

    Args:
        alarmed: the devices of the alarm.
        devices: every device that runs the version.
    """
    if len(alarmed) < 2 or len(alarmed) >= len(devices):
        return ""
    best, best_score = "", 0.0
    terms = {(key, value) for device in devices for key, value in device.all_labels.items()}
    for key, value in sorted(terms):
        inside = [device.id for device in devices if device.all_labels.get(key) == value]
        hits = sum(name in alarmed for name in inside)
        precision, recall = hits / len(inside), hits / len(alarmed)
        score = precision + recall
        if precision >= COHORT_PRECISION and recall >= COHORT_RECALL and score > best_score:
            best, best_score = f"{key}={value}", score
    return best


def _with_features(
    before: tuple[AlarmedFeature, ...], found: Sequence[Attribution]
) -> tuple[AlarmedFeature, ...]:
    known = {feature.name: feature for feature in before}
    for each in found:
        if not each.explains or each.effect is None:
            continue
        old = known.get(each.feature)
        known[each.feature] = AlarmedFeature(
            name=each.feature,
            devices=1 + (old.devices if old else 0),
            psi=round(max(each.effect.psi, old.psi if old else 0.0), 4),
            ks=round(max(each.effect.ks, old.ks if old else 0.0), 4),
            direction=each.direction,
        )
    ranked = sorted(known.values(), key=lambda f: (-f.devices, -f.psi, f.name))
    return tuple(ranked[:MAX_FEATURES])
