"""The fleet's pure rules: labels, selectors, presence, desired states, and why not converged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from device_agent.protocol.envelope import Signature
from device_agent.protocol.ids import DeviceId, ModelName, digest_of
from device_agent.protocol.reports import (
    Reported,
    ReportedDeployment,
    ReportedModel,
    ReportedVersion,
)
from edgeops.domain.errors import InvalidInput
from edgeops.domain.fleet import (
    DesiredState,
    DesiredVersion,
    Device,
    Presence,
    parse_labels,
)
from edgeops.domain.registry import Version
from edgeops.fleet import convergence, desired, selector
from edgeops.fleet.inventory import serving
from edgeops.fleet.presence import BELIEVED_AFTER_S, Seen, saw

CAM = DeviceId("cam-1")
KWS, VAD = ModelName("kws"), ModelName("vad")


def device(name: str = CAM, *, profile: str = "board-a", **labels: str) -> Device:
    return Device(
        id=DeviceId(name), profile=profile, enrolled_s=0.0, password_hash="", labels=labels
    )


# ---- labels


def test_labels_are_read_as_typed_and_an_empty_value_means_remove() -> None:
    assert parse_labels(("site=oslo", "rack/row.1-a=B_7", "old=")) == {
        "site": "oslo",
        "rack/row.1-a": "B_7",
        "old": "",
    }


@pytest.mark.parametrize(
    "text",
    [
        "site",
        "=oslo",
        "",
        "Site=oslo",
        "site=os lo",
        "site=a,b",
        "site=a=b",
        "-a=b",
        "a" * 64 + "=b",
        "a=" + "b" * 64,
        "ключ=b",
        "a=\n",
        "device=x",
        "profile=x",
        "profile=",
    ],
)
def test_what_is_no_label_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(InvalidInput, match="no label") as caught:
        parse_labels((text,))
    assert "key=value" in caught.value.next_step


# ---- selectors

FLEET = [
    device("cam-1", site="oslo", camera="wide"),
    device("cam-2", site="oslo"),
    device("cam-3", site="bergen", camera="tele", profile="board-b"),
    device("cam-4"),
]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("all", "1234"),
        ("  all  ", "1234"),
        ("site=oslo", "12"),
        ("site!=oslo", "34"),
        ("site", "123"),
        ("camera", "13"),
        ("site=oslo,camera", "1"),
        (" site=oslo , camera=wide ", "1"),
        ("site=oslo,site=bergen", ""),
        ("profile=board-b", "3"),
        ("profile!=board-b,site", "12"),
        ("device=cam-4", "4"),
        ("nothing=such", ""),
    ],
)
def test_a_selector_gives_the_devices_that_satisfy_each_term(query: str, expected: str) -> None:
    assert [each.id[-1] for each in selector.select(query, FLEET)] == list(expected)


def test_the_cohort_is_in_the_order_of_the_ids() -> None:
    assert [each.id for each in selector.select("all", FLEET[::-1])] == [d.id for d in FLEET]


@pytest.mark.parametrize(
    "query", ["=x", "a=", "a==b", "a=b,", ",a", "a b", "a>1", "a=b;c", "*", "Site=x", "a!", "é=x"]
)
def test_what_is_no_selector_is_refused_with_the_form(query: str) -> None:
    with pytest.raises(InvalidInput, match="no term") as caught:
        selector.parse(query)
    assert "key!=value" in caught.value.next_step


def test_a_label_cannot_pretend_to_be_a_built_in_one() -> None:
    liar = device("liar", profile="board-z", device="cam-1")
    liar = Device(
        id=liar.id,
        profile="board-a",
        enrolled_s=0.0,
        password_hash="",
        labels={"profile": "board-z", "device": "cam-1"},
    )
    assert selector.select("profile=board-z", [liar]) == ()
    assert selector.select("device=cam-1", [liar]) == ()


# ---- presence


def report(
    session: int, *, online: bool = True, instance: str = "i1", clock_s: float = 0.0
) -> Reported:
    return Reported(device=CAM, online=online, session=session, instance=instance, clock_s=clock_s)


class Watch:
    """A presence that sees reports, one after the other."""

    def __init__(self) -> None:
        self.presence = Presence()
        self.now_s = 100.0

    def see(self, reported: Reported) -> Seen:
        self.now_s += 1
        seen = saw(self.presence, reported, self.now_s)
        self.presence = seen.presence
        return seen


def test_a_birth_brings_a_device_online_and_measures_its_clock() -> None:
    watch = Watch()
    assert watch.see(report(1, clock_s=131.0)).is_current
    assert watch.presence.online
    assert watch.presence.last_seen_s == 101.0
    assert watch.presence.clock_offset_s == 30.0


def test_a_heartbeat_of_the_same_session_keeps_it_online() -> None:
    watch = Watch()
    watch.see(report(1))
    assert watch.see(report(1)) == Seen(presence=watch.presence, is_current=True)
    assert watch.presence.last_seen_s == 102.0


def test_the_will_of_the_session_that_is_alive_takes_it_offline() -> None:
    watch = Watch()
    watch.see(report(1))
    assert watch.see(report(1, online=False)).is_current
    assert not watch.presence.online
    assert watch.presence.last_seen_s == 101.0


def test_a_late_will_of_an_old_session_is_ignored() -> None:
    watch = Watch()
    watch.see(report(1))
    watch.see(report(2))
    assert not watch.see(report(1, online=False)).is_current
    assert watch.presence.online


def test_a_late_will_of_an_old_process_is_ignored_whatever_session_it_names() -> None:
    watch = Watch()
    watch.see(report(5, instance="i1"))
    watch.see(report(6, instance="i2"))
    assert not watch.see(report(9, online=False, instance="i1")).is_current
    assert watch.presence.online


def test_a_late_birth_of_an_old_session_is_ignored() -> None:
    watch = Watch()
    watch.see(report(2))
    assert not watch.see(report(1)).is_current
    assert watch.presence.session == 2


def test_a_restart_grows_the_session_and_is_no_duplicate() -> None:
    watch = Watch()
    watch.see(report(1, instance="i1"))
    seen = watch.see(report(2, instance="i2"))
    assert seen.is_current
    assert not seen.is_duplicate
    assert not watch.presence.duplicate


@pytest.mark.parametrize("session", [7, 3], ids=["equal session", "lower session"])
def test_a_new_card_with_the_same_enrolment_is_a_restart_and_no_clone(session: int) -> None:
    watch = Watch()
    watch.see(report(7, instance="i1"))
    seen = watch.see(report(session, instance="i2"))
    assert seen.is_current
    assert not watch.presence.duplicate
    assert (watch.presence.session, watch.presence.instance) == (session, "i2")
    assert watch.see(report(session, online=False, instance="i2")).is_current
    assert not watch.presence.online


@pytest.mark.parametrize("goes_offline", [False, True])
def test_a_late_word_of_two_lives_ago_changes_nothing(goes_offline: bool) -> None:
    watch = Watch()
    for session in (4, 5, 6):
        watch.see(report(session, instance=f"card-i{session}"))
    if goes_offline:
        watch.see(report(6, online=False, instance="card-i6"))
    assert not watch.see(report(4, instance="card-i4")).is_current
    assert not watch.see(report(5, instance="card-i4")).is_current
    assert watch.see(report(6, instance="card-i6")).is_current
    assert (watch.presence.instance, watch.presence.duplicate) == ("card-i6", False)


def test_a_life_that_was_heard_too_late_is_no_clone() -> None:
    watch = Watch()
    watch.see(report(3, instance="card-x"))
    watch.see(report(6, instance="card-z"))
    assert not watch.see(report(4, instance="card-x")).is_current
    assert (watch.presence.instance, watch.presence.duplicate) == ("card-z", False)


def test_a_new_card_counts_anew_and_the_old_ones_late_words_change_nothing() -> None:
    watch = Watch()
    watch.see(report(7, instance="old-a"))
    assert watch.see(report(1, instance="new-a")).is_current
    assert not watch.see(report(6, instance="old-b")).is_current
    assert watch.see(report(1, instance="new-a")).is_current
    assert not watch.presence.duplicate


def test_a_copied_card_is_told_when_the_first_one_connects_again() -> None:
    watch = Watch()
    watch.see(report(7, instance="card-a"))
    watch.see(report(8, instance="card-b"))
    assert watch.see(report(9, instance="card-a")).is_duplicate


def test_a_late_word_of_the_process_before_is_stale_and_no_clone() -> None:
    watch = Watch()
    watch.see(report(7, instance="i1"))
    watch.see(report(8, instance="i2"))
    assert not watch.see(report(7, instance="i1")).is_current
    assert not watch.presence.duplicate


def test_a_cloned_identity_is_told_once_and_stays_marked() -> None:
    watch = Watch()
    told = [watch.see(report(7 + n // 2, instance=f"i{1 + n % 2}")).is_duplicate for n in range(6)]
    assert told == [False, False, True, False, False, False]
    watch.see(report(20, instance="i1"))
    assert watch.presence.duplicate


def test_two_agents_that_alternate_with_growing_sessions_are_told_when_one_lags() -> None:
    watch = Watch()
    told = False
    for session_a, session_b in zip(range(1, 6), range(1, 6), strict=True):
        told |= watch.see(report(session_a, instance="a")).is_duplicate
        told |= watch.see(report(session_b, instance="b")).is_duplicate
    assert told


def test_the_death_of_one_clone_does_not_take_the_other_offline() -> None:
    watch = Watch()
    watch.see(report(7, instance="a"))
    watch.see(report(7, instance="b"))
    assert not watch.see(report(7, online=False, instance="a")).is_current
    assert watch.presence.online


def test_a_device_that_was_never_seen_may_say_goodbye() -> None:
    watch = Watch()
    assert watch.see(report(0, online=False)).is_current
    assert not watch.presence.online


# ---- desired states


def wish(model: ModelName = KWS, number: int = 1, rollout: str = "r1") -> DesiredVersion:
    return DesiredVersion(model=model, number=number, rollout=rollout)


def test_each_new_wish_is_a_generation_and_the_same_wish_again_none() -> None:
    state = desired.want(DesiredState(device=CAM), wish())
    assert state.generation == 1
    assert desired.want(state, wish()) is state
    assert desired.want(state, wish(number=2)).generation == 2
    assert desired.want(state, wish(rollout="r2")).generation == 2


def test_a_wish_for_one_model_leaves_the_others() -> None:
    state = desired.want(desired.want(DesiredState(device=CAM), wish(KWS)), wish(VAD, 3))
    assert {name: each.number for name, each in state.models.items()} == {KWS: 1, VAD: 3}


def test_forgetting_a_model_is_a_generation_and_forgetting_it_again_none() -> None:
    state = desired.want(DesiredState(device=CAM), wish())
    gone = desired.forget(state, KWS)
    assert (gone.generation, gone.models) == (2, {})
    assert desired.forget(gone, KWS) is gone


def test_overtaking_goes_one_beyond_what_the_device_has_and_never_back() -> None:
    state = desired.want(DesiredState(device=CAM), wish())
    assert desired.overtake(state, 40).generation == 41
    assert desired.overtake(state, 40).models == state.models
    assert desired.overtake(state, 1) is state
    assert desired.overtake(state, 0) is state


def test_the_document_names_for_each_model_the_package_of_the_registry() -> None:
    version = Version(
        model=KWS,
        number=1,
        digest=digest_of(b"manifest"),
        size_bytes=8,
        signature=Signature(keyid="k", value=b"s" * 64),
        created_s=0.0,
        created_by="ana",
    )
    state = desired.want(DesiredState(device=CAM), wish())
    document = desired.document(CAM, state, {KWS: version})
    assert (document.device, document.generation) == (CAM, 1)
    assert document.models[KWS].manifest.digest == version.digest
    assert document.models[KWS].signature == version.signature
    assert document.models[KWS].rollout == "r1"


# ---- converged, and why not


def standing(
    *,
    reported: Reported | None,
    wanted: int | None = 2,
    online: bool = True,
    generation: int = 5,
) -> convergence.ModelStanding:
    models = {} if wanted is None else {KWS: wish(number=wanted)}
    (only,) = convergence.standings(
        Device(
            id=CAM,
            profile="board-a",
            enrolled_s=0.0,
            password_hash="",
            presence=Presence(online=online),
            reported=reported,
        ),
        DesiredState(device=CAM, generation=generation, models=models),
    )
    return only


def reported(
    active: int | None, deployment: ReportedDeployment | None = None, *, generation: int = 5
) -> Reported:
    version = ReportedVersion(version=active, digest=digest_of(b"")) if active else None
    model = ReportedModel(active=version, previous=None, deployment=deployment)
    return Reported(
        device=CAM,
        online=True,
        session=1,
        instance="i",
        generation=generation,
        models={KWS: model},
    )


def deployment(state: str, *, version: int = 2, reason: str | None = None) -> ReportedDeployment:
    return ReportedDeployment(
        generation=5,
        rollout="r1",
        version=version,
        state=state,
        reason=reason,
        detail="it would not load" if reason else "",
        chunks_have=3 if state == "fetch" else 0,
        chunks_total=9 if state == "fetch" else 0,
    )


def test_a_device_that_serves_what_is_desired_is_converged_and_needs_no_words() -> None:
    only = standing(reported=reported(2, deployment("committed")))
    assert (only.converged, only.why, only.desired, only.active) == (True, "", 2, 2)


def test_a_model_that_nobody_desires_is_converged() -> None:
    assert standing(reported=reported(1), wanted=None).converged


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"reported": None}, "it never reported"),
        ({"reported": reported(1), "online": False}, "it is offline"),
        ({"reported": reported(1, generation=3)}, "it has generation 3 of 5 so far"),
        ({"reported": reported(1, deployment("fetch"))}, "fetch, 3 of 9 chunks"),
        ({"reported": reported(1, deployment("probation"))}, "probation"),
        (
            {"reported": reported(1, replace(deployment("stage"), detail="waits to be let go"))},
            "stage: waits to be let go",
        ),
        (
            {"reported": reported(1, deployment("failed", reason="load_failed"))},
            "failed: load_failed, it would not load",
        ),
        ({"reported": reported(1)}, "it has not begun"),
        (
            {"reported": reported(1, deployment("failed", reason="x")), "online": False},
            "failed: x",
        ),
    ],
)
def test_a_device_that_is_not_converged_has_one_sentence_why(
    facts: dict[str, object], why: str
) -> None:
    only = standing(**facts)  # type: ignore[arg-type]
    assert not only.converged
    assert only.why.startswith(why)


def test_a_device_that_is_still_at_it_is_not_converged_even_with_the_right_version() -> None:
    assert not standing(reported=reported(2, deployment("probation"))).converged


def test_what_serves_is_what_most_devices_run_and_not_the_newest() -> None:
    def runs(name: str, version: int | None) -> Device:
        return replace(device(name), reported=reported(version))

    assert serving([], KWS) is None
    assert serving([device("bare"), runs("empty", None)], KWS) is None
    fleet = [runs("a", 1), runs("b", 1), runs("c", 7), device("bare")]
    assert serving(fleet, KWS) == 1
    assert serving([*fleet, runs("d", 7)], KWS) == 7


def test_a_late_birth_with_the_number_of_the_living_one_does_not_displace_it() -> None:
    """The disk of the life before was full, and did not keep its last number."""
    watch = Watch()
    watch.see(report(2, instance="card-old"))
    watch.see(report(3, instance="card-new"))
    assert not watch.see(report(3, instance="card-old")).is_current
    assert watch.see(report(3, instance="card-new")).is_current
    assert not watch.see(report(3, instance="card-old", online=False)).is_current
    assert (watch.presence.online, watch.presence.duplicate) == (True, False)


def test_a_device_whose_number_went_back_is_believed_when_it_goes_on_talking() -> None:
    """A card is written anew from a copy, or its disk refused to keep the number."""
    watch = Watch()
    watch.see(report(9, instance="card-a"))
    watch.now_s += 1000
    assert not watch.see(report(4, instance="card-b")).is_current
    watch.now_s += BELIEVED_AFTER_S - 10
    assert not watch.see(report(4, instance="card-b")).is_current
    watch.now_s += 20
    assert watch.see(report(4, instance="card-b")).is_current
    known = watch.presence
    assert (known.online, known.session, known.instance) == (True, 4, "card-b")
    assert not known.duplicate
    assert not watch.see(report(9, instance="card-a")).is_current, "now that one is late"


def test_who_is_held_for_late_is_not_believed_while_the_known_one_talks() -> None:
    watch = Watch()
    watch.see(report(9, instance="card-a"))
    for _ in range(20):
        watch.now_s += 30
        assert watch.see(report(9, instance="card-a")).is_current
        assert not watch.see(report(4, instance="card-b")).is_current
    assert (watch.presence.instance, watch.presence.duplicate) == ("card-a", False)
    watch.see(report(4, instance="card-b"))
    watch.see(report(9, instance="card-a"))
    watch.now_s += BELIEVED_AFTER_S + 10
    assert not watch.see(report(4, instance="card-b")).is_current, "its silence began just then"
