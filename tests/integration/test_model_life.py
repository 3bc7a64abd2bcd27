"""One model's life as commands and the API show it: accuracy, counters, lineage."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from edgeops.cli.drift import drift as drift_command
from tests.served_hub import Served, served_hub
from tests.watched_fleet import Fleet


@pytest.fixture
def served() -> Iterator[Served]:
    with served_hub() as it:
        yield it


def test_drift_status_shows_both_accuracies_and_says_what_the_estimate_cannot_see(
    served: Served,
) -> None:
    fleet = Fleet(served.harness, devices=2)
    fleet.stream(3, yard_accuracy=0.0)
    done = served.run(drift_command, "status", "kws:1", role="viewer")
    assert done.exit_code == 0
    heads, lab, yard = done.stdout.splitlines()
    assert "ESTIMATED ACCURACY" in heads
    assert "LABELLED" in heads
    assert lab.endswith(" of 60")
    assert yard.endswith("0.000 of 60")
    assert "blind to concept drift" in done.stderr
    shown = json.loads(served.run(drift_command, "status", "kws:1", "-o", "json").stdout)
    assert [each["labelled"] for each in shown] == [60, 60]
    assert shown[1]["labelled_accuracy"] == 0.0
    assert shown[1]["estimated_accuracy"] > 0.98


def test_drift_status_of_a_version_without_windows_says_so(served: Served) -> None:
    served.harness.publish()
    done = served.run(drift_command, "status", "kws:1")
    assert done.stdout == "no windows of this version yet, or it has no reference\n"
    assert not done.stderr


def test_what_became_of_windows_is_in_the_hubs_counters(served: Served) -> None:
    fleet = Fleet(served.harness, devices=1)
    served.hub.handlers.handle(
        *fleet.devices[0].numbered("telemetry", (fleet.window({}, 0.95, plan="0123456789abcdef"),))
    )
    served.hub.handlers.handle(
        *fleet.devices[0].numbered("telemetry", (fleet.window({}, 0.95),) * 2)
    )
    counters = served.client("viewer").hub()["counters"]
    assert counters == {
        "received.telemetry": 2,
        "telemetry.other_plan": 1,
        "telemetry.watched": 2,
    }
