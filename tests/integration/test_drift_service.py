"""Windows reach the hub, devices are watched, and an alarm names version, cohort and features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import reduce

import pytest

from device_agent.core.backlog import add_windows
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import digest_of
from device_agent.protocol.items import Window
from edgeops.domain.drift import AlarmKind
from edgeops.domain.errors import Conflict, InvalidInput
from edgeops.drift.watch import Watch
from edgeops.service import drift, inbox
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
    with pytest.raises(InvalidInput, match="with a reason"):
        drift.close(fleet.hub.context, "otto", alarm.id, "  ")
    drift.close(fleet.hub.context, "otto", alarm.id, "a camera was moved")
    with pytest.raises(Conflict, match="closed already"):
        drift.close(fleet.hub.context, "otto", alarm.id, "once more")
    acts = fleet.hub.acts()
    assert acts.count(("drift.alarm", alarm.id)) == len(alarm.devices) == 3
    assert ("drift.close", alarm.id) in acts
    assert not drift.alarm(fleet.hub.context, alarm.id).is_open


def words(fleet: Fleet) -> dict[str, int]:
    """What became of the windows, as the hub counts it."""
    counters = fleet.hub.handlers.counters
    return {n.removeprefix("telemetry."): c for n, c in counters.items() if n[:9] == "telemetry"}


def watch_of(fleet: Fleet, n: int = 0) -> object:
    with fleet.hub.context.database.read() as work:
        return work.drift.watch(fleet.devices[n].id, MODEL, 1)


def test_a_window_twice_counts_once(fleet: Fleet) -> None:
    message = fleet.send(fleet.devices[0], fleet.window({}, 0.95))
    before = watch_of(fleet)
    for _ in range(3):
        fleet.hub.take(message)
    (standing,) = drift.standings(fleet.hub.context, "kws:1")
    assert standing.windows == 1
    assert watch_of(fleet) == before
    assert words(fleet) == {"watched": 1}


def test_windows_out_of_order_change_nothing_until_the_gap_is_filled(fleet: Fleet) -> None:
    device = fleet.devices[0]
    first, second, third = (fleet.window({}, 0.95) for _ in range(3))
    fleet.hub.take(device.numbered("telemetry", (first,), 1))
    before = watch_of(fleet)
    fleet.hub.take(device.numbered("telemetry", (third,), 3))
    assert watch_of(fleet) == before
    assert words(fleet) == {"watched": 1}
    assert fleet.hub.handlers.counters["dropped.telemetry.out_of_order"] == 1
    fleet.hub.take(device.numbered("telemetry", (second,), 2))
    fleet.hub.take(device.numbered("telemetry", (third,), 3))
    other = fleet.devices[1]
    for window in (first, second, third):
        fleet.send(other, window)
    assert watch_of(fleet) == watch_of(fleet, 1), "as if they had come in order at once"
    assert words(fleet) == {"watched": 6}


def test_a_window_counted_by_another_plan_is_kept_counted_and_not_compared(fleet: Fleet) -> None:
    fleet.send(fleet.devices[0], fleet.window({}, 0.95, plan="0123456789abcdef"))
    assert drift.standings(fleet.hub.context, "kws:1") == ()
    assert words(fleet) == {"other_plan": 1}
    assert len(inbox.windows(fleet.hub.context, MODEL, None, limit=9)) == 1


def test_a_reference_that_cannot_be_read_holds_no_window_up(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(*_: object) -> None:
        raise ProtocolError("reference is not JSON")

    monkeypatch.setattr(drift, "watching_of", unreadable)
    fleet.send(fleet.devices[0], fleet.window({}, 0.95))
    assert words(fleet) == {"other_plan": 1}
    assert len(inbox.windows(fleet.hub.context, MODEL, None, limit=9)) == 1


def test_windows_of_one_message_are_counted_each_by_what_became_of_it(fleet: Fleet) -> None:
    good = fleet.window({}, 0.95)
    odd = replace(good, plan="0123456789abcdef")
    unknown = replace(good, version=9)
    fleet.hub.take(fleet.devices[0].numbered("telemetry", (good, odd, unknown, good)))
    assert words(fleet) == {"watched": 2, "other_plan": 1, "unknown_version": 1}


def test_a_window_of_a_version_that_nobody_published_does_no_harm(fleet: Fleet) -> None:
    odd = replace(fleet.window({}, 0.95), version=9)
    assert fleet.send(fleet.devices[0], odd)
    foreign = replace(odd, version=1, digest=digest_of(b"another package of that number"))
    assert fleet.send(fleet.devices[0], foreign)
    assert drift.alarms(fleet.hub.context) == ()
    assert drift.standings(fleet.hub.context, "kws:1") == ()
    assert words(fleet) == {"unknown_version": 2}


def test_windows_of_a_package_without_a_reference_are_counted_as_such(fleet: Fleet) -> None:
    plain = fleet.hub.publish(2)
    window = replace(fleet.window({}, 0.95, plan=""), version=2, digest=plain.digest)
    fleet.send(fleet.devices[0], window)
    assert words(fleet) == {"no_reference": 1}


def test_a_day_late_window_is_taken_in_the_order_of_its_arrival(fleet: Fleet) -> None:
    late = fleet.window({}, 0.95)
    fleet.hub.clock.pass_s(86_400)
    fleet.send(fleet.devices[0], fleet.window({}, 0.95))
    fleet.send(fleet.devices[0], late)
    (standing,) = drift.standings(fleet.hub.context, "kws:1")
    assert standing.windows == 2
    assert standing.labelled == 40
    assert words(fleet) == {"watched": 2}
    assert drift.alarms(fleet.hub.context) == ()


def test_a_day_of_late_windows_alarms_as_if_they_had_come_in_time(fleet: Fleet) -> None:
    """A device that was cut off sends its day in one go: since when is told by its windows."""
    device, began_s = fleet.devices[0], 0.0
    held = []
    for n in range(24):
        if n == 12:
            began_s = fleet.hub.clock.now_s
        held.append(fleet.window({2: 1.5} if n >= 12 else {}, 0.95))
        fleet.hub.clock.pass_s(3600)
    fleet.hub.clock.pass_s(86_400)
    for window in held:
        fleet.send(device, window)
    (alarm,) = fleet.alarms(AlarmKind.DRIFT)
    assert abs(alarm.since_s - began_s) <= 2 * 3600
    assert alarm.opened_s == fleet.hub.clock.now_s
    assert words(fleet) == {"watched": 24}


def outage(fleet: Fleet, windows: int, shift: dict[int, float], accuracy: float) -> Window:
    """Return what a full outbox makes of that many hours: one window."""
    parts = []
    for _ in range(windows):
        parts.append(fleet.window(shift, accuracy))
        fleet.hub.clock.pass_s(3600)
    return reduce(add_windows, parts)


def test_windows_that_an_outage_added_together_raise_no_alarm_by_their_length(
    fleet: Fleet,
) -> None:
    for _ in range(10):
        for device in fleet.devices:
            fleet.send(device, outage(fleet, 6, {}, 0.95))
    assert drift.alarms(fleet.hub.context) == ()
    assert [each.windows for each in drift.standings(fleet.hub.context, "kws:1")] == [10] * 6


def test_what_began_in_an_outage_is_found_and_dated_by_the_windows_starts(fleet: Fleet) -> None:
    device = fleet.devices[0]
    for _ in range(5):
        fleet.send(device, fleet.window({}, 0.95))
        fleet.hub.clock.pass_s(3600)
    began_s = fleet.hub.clock.now_s
    for _ in range(4):
        fleet.send(device, outage(fleet, 12, {2: 1.5}, 0.4))
    assert {each.kind for each in drift.alarms(fleet.hub.context)} == {
        AlarmKind.DRIFT,
        AlarmKind.HARM,
    }
    for each in drift.alarms(fleet.hub.context):
        assert abs(each.since_s - began_s) <= 12 * 3600


def test_a_window_of_more_rows_than_32_bits_count_is_taken(fleet: Fleet) -> None:
    each = fleet.window({}, 0.95)
    most = 2**36
    huge = replace(each, inferences=most, labelled=most, labelled_correct=most)
    fleet.send(fleet.devices[0], replace(huge, confidence=(*each.confidence[:-1], most)))
    assert words(fleet) == {"watched": 1}


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
