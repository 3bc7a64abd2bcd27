"""Windows reach the hub, devices are watched, and an alarm names version, cohort and features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from edgeops.domain.drift import AlarmKind
from edgeops.drift.watch import Watch
from edgeops.service import drift
from tests.hub_harness import MODEL, HubHarness
from tests.watched_fleet import FEATURES, Fleet


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


def test_accuracy_is_shown_by_labels_and_estimated_without_them(fleet: Fleet) -> None:
    fleet.stream(30, yard_accuracy=0.5)
    standings = drift.standings(fleet.hub.context, "kws:1")
    for n, each in enumerate(standings):
        assert each.recent_windows == 24
        assert each.labelled == 24 * 20
        assert each.labelled_accuracy == pytest.approx(0.5 if n % 2 else 0.95, abs=0.1)
        assert each.estimated_accuracy is not None
        assert each.estimated_accuracy > 0.98, "blind to what the labels show"


def test_a_watch_of_an_older_hub_goes_on(fleet: Fleet) -> None:
    fleet.stream(2)
    device = fleet.devices[0].id
    with fleet.hub.context.database.begin() as work:
        document = work.drift.watch(device, MODEL, 1)
        assert document is not None
        watch = Watch.from_document(document["drift"])
        document["drift"] = {
            "state": watch.state.to_document(),
            "started_s": list(watch.started_s),
            "recent": [part.tolist() for part in watch.recent],
        }
        del document["answers"]
        work.drift.put_watch(device, MODEL, 1, document)
    assert drift.standings(fleet.hub.context, "kws:1")[0].labelled_accuracy is None
    fleet.stream(1)
    standing = drift.standings(fleet.hub.context, "kws:1")[0]
    assert (standing.windows, standing.recent_windows) == (3, 1)
