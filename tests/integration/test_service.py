"""The use cases, over a real database and fake devices: no network, no clock but the test's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from device_agent.protocol.codec import decode
from device_agent.protocol.envelope import Signature
from device_agent.protocol.ids import digest_of
from device_agent.protocol.manifest import Waiver
from device_agent.protocol.orders import Ack
from device_agent.protocol.reports import ReportedModel, ReportedVersion
from device_agent.protocol.root import pinned_root
from edgeops.domain.errors import Conflict, InvalidInput, NotFound, NotTrusted
from edgeops.domain.rollout import MemberState
from edgeops.rollout.machine import Trigger
from edgeops.service import access, commands, fleet, inbox, packages, rollouts
from edgeops.trust.keys import verify_signature
from edgeops.trust.passwords import verify_password
from tests.hub_harness import (
    MODEL,
    START_S,
    FakeDevice,
    HubHarness,
    event,
    make_keys,
    tiny_package,
    window,
)


@pytest.fixture
def hub() -> Iterator[HubHarness]:
    """A hub; whatever the test does, its audit verifies in the end."""
    with HubHarness() as harness:
        yield harness
        verified = access.verify_audit(harness.context)
        assert verified.report.ok, verified.report.why


# ---- publishing


def test_a_signed_package_is_published_and_found_by_number_and_name(hub: HubHarness) -> None:
    version = hub.publish(1)
    assert version.reference == "kws:1"
    assert packages.find(hub.context, "kws:1") == packages.find(hub.context, "kws") == version
    assert packages.manifest_of(hub.context, version).lineage == {"run": "run-1"}
    assert hub.acts() == [("package.publish", "kws:1")]


def test_a_package_of_a_foreign_key_is_not_trusted_and_leaves_no_trace(hub: HubHarness) -> None:
    package = tiny_package(make_keys(), 1)
    hub.upload(package)
    with pytest.raises(NotTrusted, match="not signed by a key"):
        packages.publish(hub.context, "eve", package.digest, package.signature)
    assert packages.models(hub.context) == ()
    assert hub.acts() == []


def test_the_directors_key_cannot_publish_a_package(hub: HubHarness) -> None:
    package = tiny_package(hub.keys, 1)
    hub.upload(package)
    forged = hub.keys.director.sign(package.data)
    with pytest.raises(NotTrusted):
        packages.publish(hub.context, "eve", package.digest, forged)


def test_an_altered_manifest_is_not_trusted(hub: HubHarness) -> None:
    package = tiny_package(hub.keys, 1)
    altered = package.data.replace(b'"version":1', b'"version":9')
    assert altered != package.data
    packages.put_blob(hub.context, digest_of(altered), altered)
    with pytest.raises(NotTrusted, match="altered"):
        packages.publish(hub.context, "eve", digest_of(altered), package.signature)


@pytest.mark.parametrize("value", [b"", b"\0" * 64, b"\xff" * 64, b"x" * 63, b"x" * 1000])
def test_a_signature_that_is_none_is_not_trusted(hub: HubHarness, value: bytes) -> None:
    package = tiny_package(hub.keys, 1)
    hub.upload(package)
    signature = Signature(keyid=hub.keys.targets.keyid, value=value)
    with pytest.raises(NotTrusted):
        packages.publish(hub.context, "eve", package.digest, signature)


def test_a_package_whose_artifact_was_not_uploaded_is_refused(hub: HubHarness) -> None:
    package = tiny_package(hub.keys, 1)
    packages.put_blob(hub.context, package.digest, package.data)
    (missing,) = package.blobs
    with pytest.raises(NotFound, match=missing):
        packages.publish(hub.context, "ana", package.digest, package.signature)
    assert packages.models(hub.context) == ()


def test_a_manifest_that_was_not_uploaded_is_refused(hub: HubHarness) -> None:
    package = tiny_package(hub.keys, 1)
    with pytest.raises(NotFound):
        packages.publish(hub.context, "ana", package.digest, package.signature)


def test_bytes_of_another_digest_are_refused(hub: HubHarness) -> None:
    with pytest.raises(InvalidInput, match="are not sha256:"):
        packages.put_blob(hub.context, digest_of(b"one"), b"two")
    assert not hub.blobs.has(digest_of(b"one"))


def test_signed_bytes_that_are_no_manifest_are_refused(hub: HubHarness) -> None:
    for data in (b"", b"{}", b"[]", b'{"schema_version":1}', b"\xff" * 100):
        packages.put_blob(hub.context, digest_of(data), data)
        with pytest.raises(InvalidInput, match="not an edge manifest"):
            packages.publish(hub.context, "ana", digest_of(data), hub.keys.targets.sign(data))


def test_publishing_the_same_package_again_changes_nothing(hub: HubHarness) -> None:
    first = hub.publish(1)
    hub.clock.pass_s(100)
    assert hub.publish(1) == first
    assert hub.acts() == [("package.publish", "kws:1")]


def test_another_package_under_the_same_number_is_a_conflict(hub: HubHarness) -> None:
    hub.publish(1)
    with pytest.raises(Conflict) as caught:
        hub.publish(1, artifact=b"something else")
    assert "version 2" in caught.value.next_step
    assert packages.next_number(hub.context, MODEL) == 2


def test_waivers_are_in_the_audit_with_their_reason(hub: HubHarness) -> None:
    hub.publish(1, waivers=(Waiver(gate="golden", reason="the board has no camera yet"),))
    entry = access.audit_entries(hub.context, after=0, limit=10)[1]
    assert (entry.act, entry.subject, entry.actor) == ("model.waiver", "kws:1", "ana")
    assert entry.detail == {"gate": "golden", "reason": "the board has no camera yet"}


def test_an_alias_moves_from_where_the_caller_saw_it(hub: HubHarness) -> None:
    hub.publish(1)
    hub.publish(2)
    assert packages.move_alias(hub.context, "ana", MODEL, "prod", 1, 0).revision == 1
    assert packages.find(hub.context, "kws@prod").number == 1
    with pytest.raises(Conflict, match="moved by somebody else"):
        packages.move_alias(hub.context, "bob", MODEL, "prod", 2, 0)
    packages.move_alias(hub.context, "bob", MODEL, "prod", 2, 1)
    assert packages.find(hub.context, "kws@prod").number == 2
    with pytest.raises(NotFound):
        packages.move_alias(hub.context, "bob", MODEL, "prod", 3, None)
    assert hub.acts()[-2:] == [("alias.set", "kws@prod")] * 2


def test_a_model_shows_its_versions_and_aliases(hub: HubHarness) -> None:
    hub.publish(1)
    hub.publish(3)
    packages.move_alias(hub.context, "ana", MODEL, "prod", 3, None)
    detail = packages.model(hub.context, MODEL)
    assert [version.number for version in detail.versions] == [1, 3]
    assert [alias.name for alias in detail.aliases] == ["prod"]
    with pytest.raises(NotFound):
        packages.model(hub.context, "nothing")


# ---- devices


def test_enrolling_hands_out_the_root_and_a_password_of_which_only_the_hash_is_kept(
    hub: HubHarness,
) -> None:
    enrolment = fleet.enroll(hub.context, "ana", "cam-1", "x86-64-generic", {"site": "oslo"})
    assert pinned_root(enrolment.root, verify_signature) == hub.keys.root
    assert enrolment.broker == "mqtt://broker.test"
    kept = fleet.device(hub.context, "cam-1").device
    assert enrolment.password not in repr(kept)
    assert verify_password(enrolment.password, kept.password_hash)
    assert kept.labels == {"site": "oslo"}
    assert hub.acts() == [("device.enroll", "cam-1")]


def test_a_name_can_be_enrolled_once(hub: HubHarness) -> None:
    hub.enroll("cam-1")
    with pytest.raises(Conflict, match="enrolled already"):
        hub.enroll("cam-1")
    assert fleet.accounts_revision(hub.context) == "1"


@pytest.mark.parametrize(
    ("name", "profile", "labels"),
    [
        ("", "x86-64-generic", {}),
        ("a/b", "x86-64-generic", {}),
        ("+", "x86-64-generic", {}),
        ("a" * 65, "x86-64-generic", {}),
        ("cam-1", "X86", {}),
        ("cam-1", "../etc", {}),
        ("cam-1", "x86-64-generic", {"device": "cam-2"}),
        ("cam-1", "x86-64-generic", {"site": "os lo"}),
        ("cam-1", "x86-64-generic", {"a=b": "c"}),
        ("cam-1", "x86-64-generic", {"": "c"}),
    ],
)
def test_what_cannot_be_enrolled_is_refused(
    hub: HubHarness, name: str, profile: str, labels: dict[str, str]
) -> None:
    with pytest.raises(InvalidInput):
        fleet.enroll(hub.context, "ana", name, profile, labels)
    assert fleet.devices(hub.context) == ()


def test_removing_a_device_ends_its_account_and_withdraws_its_desired_state(
    hub: HubHarness,
) -> None:
    hub.publish(1)
    (cam,) = hub.online("cam-1")
    hub.run_out(hub.roll_out().id, [cam])
    before = fleet.accounts_revision(hub.context)
    fleet.remove(hub.context, "ana", "cam-1")
    assert fleet.accounts(hub.context)[1] == {}
    assert fleet.accounts_revision(hub.context) != before
    ((name, generation, payload),) = fleet.desired_documents(hub.context, limit=10)
    assert (name, payload) == ("cam-1", b"")
    assert generation > cam.generation
    with pytest.raises(NotFound):
        fleet.remove(hub.context, "ana", "cam-1")
    assert hub.acts()[-1] == ("device.remove", "cam-1")


def test_a_device_enrolled_again_under_its_old_name_begins_with_nothing(hub: HubHarness) -> None:
    hub.publish(1)
    (cam,) = hub.online("cam-1")
    hub.run_out(hub.roll_out().id, [cam])
    fleet.remove(hub.context, "ana", "cam-1")
    again = hub.enroll("cam-1")
    hub.take(again.birth())
    hub.deliver([again])
    assert again.models == {}
    assert again.generation > cam.generation


def test_a_removed_device_is_unknown_from_then_on(hub: HubHarness) -> None:
    (cam,) = hub.online("cam-1")
    fleet.remove(hub.context, "ana", "cam-1")
    hub.take(cam.report())
    assert hub.handlers.counters["dropped.state.unknown"] == 1
    assert fleet.devices(hub.context) == ()


def test_labels_are_set_and_removed(hub: HubHarness) -> None:
    hub.enroll("cam-1", site="oslo", rack="7")
    changed = fleet.label(hub.context, "ana", "cam-1", ("site=bergen", "rack=", "new=x"))
    assert changed.labels == {"site": "bergen", "new": "x"}
    assert [d.device.id for d in fleet.devices(hub.context, "site=bergen")] == ["cam-1"]
    with pytest.raises(InvalidInput):
        fleet.label(hub.context, "ana", "cam-1", ("profile=x",))
    with pytest.raises(NotFound):
        fleet.label(hub.context, "ana", "cam-9", ("a=b",))


def test_labels_survive_what_the_device_reports(hub: HubHarness) -> None:
    (cam,) = hub.online("cam-1", site="oslo")
    fleet.label(hub.context, "ana", "cam-1", ("site=bergen",))
    hub.take(cam.report())
    assert fleet.device(hub.context, "cam-1").device.labels == {"site": "bergen"}


def test_two_agents_with_one_identity_are_in_the_audit_once(hub: HubHarness) -> None:
    (cam,) = hub.online("cam-1")
    clone = FakeDevice(id=cam.id, root=cam.root, instance="i2")
    for _ in range(3):
        hub.take(clone.birth())
        hub.take(cam.birth())
    assert hub.acts().count(("device.duplicate_identity", "cam-1")) == 1
    assert fleet.device(hub.context, "cam-1").device.presence.duplicate


def test_a_device_with_an_older_generation_gets_its_desired_state_again(hub: HubHarness) -> None:
    hub.publish(1)
    (cam,) = hub.online("cam-1")
    hub.run_out(hub.roll_out().id, [cam])
    assert hub.deliver([]) == {}
    wiped = FakeDevice(id=cam.id, root=cam.root, session=5, instance="i9")
    hub.take(wiped.birth())
    assert hub.deliver([wiped]) == {"cam-1": cam.generation}
    assert wiped.active() == 1


# ---- rollouts


def test_a_rollout_goes_in_waves_to_the_end(hub: HubHarness) -> None:
    hub.publish(1)
    devices = hub.online(*(f"cam-{n}" for n in range(8)))
    begun = hub.roll_out(canary=1, steps=(50, 100))
    asked = []
    for _ in range(3):
        hub.turn(devices)
        asked.append(sum(bool(device.orders) for device in devices))
    assert asked == [1, 4, 8]
    ended = hub.run_out(begun.id, devices)
    assert ended.state == "completed"
    assert {device.active() for device in devices} == {1}
    acts = hub.acts()
    assert acts.count(("deployment.committed", begun.id)) == 8
    assert acts.count(("rollout.wave_opened", begun.id)) == 3
    assert acts.count(("rollout.completed", begun.id)) == 1


def test_a_version_that_a_canary_refuses_is_taken_back_and_nobody_else_sees_it(
    hub: HubHarness,
) -> None:
    hub.publish(1)
    hub.publish(2)
    devices = hub.online(*(f"cam-{n}" for n in range(5)))
    hub.run_out(hub.roll_out(1).id, devices)
    for device in devices:
        device.outcome = lambda number: "committed" if number == 1 else "failed"
        device.orders.clear()
    ended = hub.run_out(hub.roll_out(2).id, devices)
    assert ended.state == "rolled_back"
    assert "load_failed" in ended.why
    assert {device.active() for device in devices} == {1}
    saw = [d for d in devices if any(o.models[MODEL].version == 2 for o in d.orders)]
    assert len(saw) == 1
    (canary,) = [m for m in ended.members if m.wave == 0]
    assert canary.state is MemberState.REVERTED


def test_rollback_restores_the_version_of_before_with_a_higher_generation(hub: HubHarness) -> None:
    hub.publish(1)
    hub.publish(2)
    devices = hub.online("cam-1", "cam-2")
    hub.run_out(hub.roll_out(1).id, devices)
    second = hub.roll_out(2, steps=(100,))
    hub.run_out(second.id, devices)
    generations = [device.generation for device in devices]
    rollouts.ask(hub.context, "ana", second.id, Trigger.ROLL_BACK, "customers complain")
    assert hub.run_out(second.id, devices).state == "rolled_back"
    assert {device.active() for device in devices} == {1}
    assert all(
        device.generation > before for device, before in zip(devices, generations, strict=True)
    )
    assert ("rollout.rollback", second.id) in hub.acts(actor="ana")
    assert ("rollout.rolled_back", second.id) in hub.acts(actor="hub")


def test_rollback_of_a_first_version_leaves_the_model_and_withdraws_the_wish(
    hub: HubHarness,
) -> None:
    hub.publish(1)
    (cam,) = hub.online("cam-1")
    first = hub.roll_out(1)
    hub.run_out(first.id, [cam])
    rollouts.ask(hub.context, "ana", first.id, Trigger.ROLL_BACK)
    hub.run_out(first.id, [cam])
    assert cam.orders[-1].models == {}
    assert cam.active() == 1
    assert fleet.device(hub.context, "cam-1").desired.models == {}


def test_an_aborted_rollout_calls_back_who_is_under_way(hub: HubHarness) -> None:
    hub.publish(1)
    hub.publish(2)
    devices = hub.online("cam-1", "cam-2", "cam-3")
    hub.run_out(hub.roll_out(1).id, devices)
    for device in devices:
        device.outcome = lambda number: "committed" if number == 1 else "silent"
    second = hub.roll_out(2)
    hub.turn(devices)
    rollouts.ask(hub.context, "ana", second.id, Trigger.ABORT, "wrong file")
    hub.turn(devices)
    assert {
        model.number for d in fleet.devices(hub.context) for model in d.desired.models.values()
    } == {1}


def test_paused_and_resumed_by_a_person_is_in_the_audit(hub: HubHarness) -> None:
    hub.publish(1)
    devices = hub.online("cam-1", "cam-2")
    begun = hub.roll_out(canary=1, steps=(100,))
    hub.turn(devices)
    rollouts.ask(hub.context, "bob", begun.id, Trigger.PAUSE, "lunch")
    for _ in range(3):
        hub.turn(devices)
    assert sum(bool(device.orders) for device in devices) == 1
    with pytest.raises(Conflict, match="cannot pause"):
        rollouts.ask(hub.context, "bob", begun.id, Trigger.PAUSE)
    rollouts.ask(hub.context, "bob", begun.id, Trigger.RESUME)
    assert hub.run_out(begun.id, devices).state == "completed"
    assert [act for act, _ in hub.acts(actor="bob")] == ["rollout.pause", "rollout.resume"]


def test_after_a_failure_that_asks_a_person_resuming_goes_on_with_the_rest(
    hub: HubHarness,
) -> None:
    hub.publish(1)
    devices = hub.online("cam-1", "cam-2", "cam-3")
    begun = hub.roll_out(on_failure="pause", steps=(100,))
    (canary,) = [member.device for member in begun.members if member.wave == 0]
    next(d for d in devices if d.id == canary).outcome = lambda _: "failed"
    for _ in range(3):
        hub.turn(devices)
    assert rollouts.show(hub.context, begun.id).state == "paused"
    rollouts.ask(hub.context, "ana", begun.id, Trigger.RESUME, "that board is broken")
    ended = hub.run_out(begun.id, devices)
    assert (ended.state, ended.why) == ("completed", "2 devices committed")


def test_a_person_cannot_ask_for_what_only_the_machine_says(hub: HubHarness) -> None:
    hub.publish(1)
    hub.online("cam-1")
    begun = hub.roll_out()
    for trigger in (Trigger.FINISHED, Trigger.HARMED, Trigger.HELD, Trigger.REVERTED):
        with pytest.raises(InvalidInput):
            rollouts.ask(hub.context, "eve", begun.id, trigger)


def test_overlapping_rollouts_of_one_model_conflict_and_others_do_not(hub: HubHarness) -> None:
    hub.publish(1)
    hub.publish(1, model="vad")
    hub.online("cam-1", "cam-2", site="oslo")
    hub.online("cam-3", site="bergen")
    begun = hub.roll_out(selector="site=oslo")
    with pytest.raises(Conflict, match=f"rollout {begun.id} of kws:1 is running on 2") as caught:
        hub.roll_out()
    assert f"edgeops rollout abort {begun.id}" in caught.value.next_step
    hub.roll_out(selector="site=bergen")
    policy = begun.policy
    other = rollouts.NewRollout(reference="vad:1", selector="all", policy=policy)
    rollouts.create(hub.context, "ana", other)
    rollouts.ask(hub.context, "ana", begun.id, Trigger.ABORT)
    hub.roll_out(selector="site=oslo")


def test_devices_without_a_variant_are_named_before_anything_is_asked(hub: HubHarness) -> None:
    hub.publish(1, profiles=("x86-64-generic",))
    hub.online("cam-1")
    hub.enroll("cam-2", profile="raspberry-pi-5")
    with pytest.raises(InvalidInput, match="1 of 2 devices .* raspberry-pi-5"):
        hub.roll_out()
    assert rollouts.all_rollouts(hub.context) == ()


def test_a_selector_that_gives_nobody_or_is_none_begins_nothing(hub: HubHarness) -> None:
    hub.publish(1)
    hub.online("cam-1")
    with pytest.raises(NotFound, match="no device matches"):
        hub.roll_out(selector="site=mars")
    with pytest.raises(InvalidInput, match="no term"):
        hub.roll_out(selector="site=os lo")
    with pytest.raises(InvalidInput, match="canary"):
        hub.roll_out(canary=0)
    with pytest.raises(NotFound, match="no version"):
        hub.roll_out(7)
    assert rollouts.all_rollouts(hub.context) == ()


def test_an_offline_canary_times_out_and_its_wish_is_withdrawn(hub: HubHarness) -> None:
    hub.publish(1)
    hub.enroll("cam-1")
    begun = hub.roll_out(device_timeout_s=60.0)
    hub.turn([])
    hub.clock.pass_s(60)
    hub.turn([])
    seen = rollouts.show(hub.context, begun.id)
    assert "device_timeout" in seen.why
    assert fleet.device(hub.context, "cam-1").desired.models == {}


def test_a_committed_device_that_goes_away_holds_the_next_wave(hub: HubHarness) -> None:
    hub.publish(1)
    devices = hub.online("cam-1", "cam-2")
    begun = hub.roll_out(canary=1, steps=(100,))
    hub.turn(devices)
    (canary,) = [device for device in devices if device.orders]
    hub.take(canary.death())
    hub.turn(devices)
    seen = rollouts.show(hub.context, begun.id)
    assert seen.why == f"waits: {canary.id} is offline"
    hub.take(canary.birth())
    assert hub.run_out(begun.id, devices).state == "completed"


def test_a_version_that_only_a_device_knows_is_nothing_to_go_back_to(hub: HubHarness) -> None:
    hub.publish(1)
    (cam,) = hub.online("cam-1")
    unknown = ReportedVersion(version=77, digest=digest_of(b"from a hub that is gone"))
    cam.models[MODEL] = ReportedModel(active=unknown, previous=None, deployment=None)
    hub.take(cam.report())
    begun = hub.roll_out(1)
    assert begun.members[0].previous is None
    hub.turn([cam])
    rollouts.ask(hub.context, "ana", begun.id, Trigger.ROLL_BACK)
    assert hub.run_out(begun.id, [cam]).state == "rolled_back"


def test_a_word_about_another_version_of_a_rollout_of_the_same_name_is_not_believed(
    hub: HubHarness,
) -> None:
    hub.publish(1)
    hub.publish(2)
    (cam,) = hub.online("cam-1")
    begun = hub.roll_out(2)
    rollouts.tick(hub.context)
    hub.take(cam.numbered("event", event(begun.id, number=1, state="committed")))
    assert rollouts.show(hub.context, begun.id).members[0].state is MemberState.ORDERED
    hub.take(cam.numbered("event", event(begun.id, number=2, state="committed", inferences=9)))
    member = rollouts.show(hub.context, begun.id).members[0]
    assert (member.state, member.evidence) == (MemberState.COMMITTED, {"inferences": 9})


def test_a_hub_restored_from_an_older_copy_overtakes_the_generation_of_its_devices(
    tmp_path: Path,
) -> None:
    keys = make_keys()
    with HubHarness(tmp_path / "hub.sqlite", keys=keys) as old:
        old.publish(1)
        old.publish(2)
        (cam,) = old.online("cam-1")
        old.run_out(old.roll_out(1).id, [cam])
        shutil.copy(tmp_path / "hub.sqlite", tmp_path / "copy.sqlite")
        wal = tmp_path / "hub.sqlite-wal"
        if wal.exists():
            shutil.copy(wal, tmp_path / "copy.sqlite-wal")
        for number in (2, 1, 2):
            old.run_out(old.roll_out(number).id, [cam])
    with HubHarness(tmp_path / "copy.sqlite", keys=keys) as restored:
        restored.publish(1)
        restored.publish(2)
        assert cam.active() == 2
        known = fleet.device(restored.context, "cam-1").desired.generation
        assert cam.generation > known
        restored.take(cam.birth())
        assert fleet.device(restored.context, "cam-1").desired.generation > cam.generation
        restored.deliver([cam])
        assert cam.active() == 1, "what the restored hub wishes holds again"
        assert restored.run_out(restored.roll_out(2).id, [cam]).state == "completed"
        assert access.verify_audit(restored.context).report.ok


# ---- the inbox


def acked(payload: bytes | None) -> Ack:
    assert payload is not None
    return Ack.from_document(decode(payload))


def test_windows_are_taken_once_and_acknowledged_each_time(hub: HubHarness) -> None:
    (cam,) = hub.online("cam-1")
    assert acked(hub.take(cam.numbered("telemetry", (window(), window())))).sequence == 1
    for _ in range(3):
        again = hub.take(cam.numbered("telemetry", (window(), window()), sequence=1))
        assert acked(again).sequence == 1
    assert acked(hub.take(cam.numbered("telemetry", (window(inferences=7),)))).sequence == 2
    kept = inbox.windows(hub.context, MODEL, None, limit=100)
    assert sorted(each.inferences for _, each in kept) == [7, 10, 10]


def test_what_comes_after_a_gap_is_not_taken_until_the_gap_is_filled(hub: HubHarness) -> None:
    (cam,) = hub.online("cam-1")
    body = (window(),)
    hub.take(cam.numbered("telemetry", body))
    assert acked(hub.take(cam.numbered("telemetry", body, sequence=4))).sequence == 1
    assert [
        acked(hub.take(cam.numbered("telemetry", body, sequence=n))).sequence for n in (2, 3, 4)
    ] == [2, 3, 4]
    assert len(inbox.windows(hub.context, MODEL, None, limit=100)) == 4


def test_a_new_stream_begins_where_it_begins(hub: HubHarness) -> None:
    (cam,) = hub.online("cam-1")
    for _ in range(3):
        hub.take(cam.numbered("telemetry", (window(),)))
    cam.stream = "s2"
    assert acked(hub.take(cam.numbered("telemetry", (window(),), sequence=1))) == Ack(
        stream="s2", sequence=1
    )
    assert len(inbox.windows(hub.context, MODEL, cam.id, limit=100)) == 4


def test_a_hub_that_forgot_what_it_acknowledged_goes_on_from_the_oldest_that_is_left(
    hub: HubHarness,
) -> None:
    (cam,) = hub.online("cam-1")
    body = (window(),)
    assert acked(hub.take(cam.numbered("telemetry", body, 41, oldest=41))).sequence == 41
    assert acked(hub.take(cam.numbered("telemetry", body, 42, oldest=41))).sequence == 42
    assert acked(hub.take(cam.numbered("telemetry", body, 60, oldest=58))).sequence == 57
    assert acked(hub.take(cam.numbered("telemetry", body, 58, oldest=58))).sequence == 58
    assert len(inbox.windows(hub.context, MODEL, None, limit=100)) == 3


def test_a_new_stream_whose_first_message_was_lost_is_asked_for_from_its_beginning(
    hub: HubHarness,
) -> None:
    (cam,) = hub.online("cam-1")
    assert acked(hub.take(cam.numbered("telemetry", (window(),), 2))).sequence == 0
    assert inbox.windows(hub.context, MODEL, None, limit=100) == ()


def test_events_and_telemetry_are_counted_apart_and_so_are_devices(hub: HubHarness) -> None:
    devices = hub.online("cam-1", "cam-2")
    for device in devices:
        assert acked(hub.take(device.numbered("telemetry", (window(),)))).sequence == 1
        assert acked(hub.take(device.numbered("event", event("r9")))).sequence == 1


def test_an_unknown_device_gets_no_acknowledgement_and_keeps_what_it_has(hub: HubHarness) -> None:
    stranger = FakeDevice(id=hub.enroll("cam-1").id, root=hub.keys.root)
    fleet.remove(hub.context, "ana", "cam-1")
    assert hub.take(stranger.numbered("telemetry", (window(),))) is None
    assert hub.handlers.counters["dropped.telemetry.unknown"] == 1
    assert inbox.windows(hub.context, MODEL, None, limit=10) == ()


def test_windows_are_shown_newest_first_and_for_one_device_if_asked(hub: HubHarness) -> None:
    one, two = hub.online("cam-1", "cam-2")
    for at_s, device in enumerate((one, two, one), start=100):
        hub.take(device.numbered("telemetry", (window(ended_s=START_S + at_s),)))
    shown = inbox.windows(hub.context, MODEL, None, limit=2)
    ended = [(name, each.ended_s - START_S) for name, each in shown]
    assert ended == [("cam-1", 102.0), ("cam-2", 101.0)]
    (only,) = inbox.windows(hub.context, MODEL, two.id, limit=9)
    assert only[1].ended_s == START_S + 101


# ---- tokens and the audit


def test_the_first_token_is_an_admins_and_there_is_one(hub: HubHarness) -> None:
    text = access.first_token(hub.context)
    assert text is not None
    assert access.authenticate(hub.context, text).role == "admin"
    assert access.first_token(hub.context) is None
    assert text not in repr(access.list_tokens(hub.context))


def test_every_act_of_a_rollouts_life_is_in_one_verified_chain(hub: HubHarness) -> None:
    hub.publish(1)
    (cam,) = hub.online("cam-1")
    begun = hub.roll_out()
    hub.run_out(begun.id, [cam])
    commands.give(hub.context, "ana", "cam-1", "announce")
    assert hub.acts() == [
        ("package.publish", "kws:1"),
        ("device.enroll", "cam-1"),
        ("rollout.create", begun.id),
        ("rollout.wave_opened", begun.id),
        ("deployment.committed", begun.id),
        ("rollout.completed", begun.id),
        ("device.command", "cam-1"),
    ]
    verified = access.verify_audit(hub.context)
    assert verified.report.ok
    assert verified.head is not None
    assert verified.head.count == 7
