"""Samples become data sets, and harm becomes a request with data that are frozen."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from device_agent.protocol.ids import DeviceId
from device_agent.protocol.preprocessing import Preprocessing
from device_agent.protocol.samples import Sample
from device_agent.protocol.tabular import Feature, TabularStep
from edgeops.domain.drift import Alarm, AlarmKind
from edgeops.domain.errors import Conflict, InvalidInput, NotFound
from edgeops.domain.retraining import Contest, RetrainPolicy, RetrainState
from edgeops.retraining.contest import contest, why_not
from edgeops.retraining.machine import FINAL, TRANSITIONS, Step
from edgeops.retraining.rows import Rows, is_unseen, part, read_rows, without, write_rows
from edgeops.service import data, retraining
from tests.hub_harness import MODEL, START_S, FakeDevice, HubHarness, sample

RNG = np.random.default_rng(3)
POLICY = RetrainPolicy(model=MODEL, data=("base",), evaluation="held", auto=True, min_samples=20)


@pytest.fixture
def hub() -> Iterator[HubHarness]:
    with HubHarness() as harness:
        harness.publish()
        for name in ("base", "held"):
            data.add(harness.context, "ana", name, npz(RNG.normal(size=(30, 4))), {"file": name})
        yield harness


def npz(x: np.ndarray, y: np.ndarray | None = None, **more: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=x, y=np.arange(len(x)) % 2 if y is None else y, **more)
    return buffer.getvalue()


def made(row: np.ndarray, **more: object) -> Sample:
    return sample(row.astype(np.float32).tobytes(), **more)  # type: ignore[arg-type]


def send(hub: HubHarness, device: FakeDevice, count: int, **more: object) -> None:
    for _ in range(count):
        hub.take(device.numbered("sample", (made(RNG.normal(size=4), **more),)))


def alarm(
    hub: HubHarness, kind: AlarmKind, *devices: FakeDevice, since_s: float = START_S - 60
) -> Alarm:
    with hub.context.database.begin() as work:
        opened = Alarm(
            id=work.drift.next_alarm_id(),
            model=MODEL,
            number=1,
            kind=kind,
            opened_s=START_S,
            since_s=since_s,
            devices={DeviceId(device.id): 9.0 for device in devices},
        )
        work.drift.put_alarm(opened)
    return opened


def test_a_sample_is_taken_once_however_often_it_comes(hub: HubHarness) -> None:
    (cam,) = hub.online("cam-1")
    message = cam.numbered("sample", (made(np.ones(4)),))
    first, again = hub.take(message), hub.take(message)
    assert first == again
    assert data.samples(hub.context, MODEL).samples == 1


def test_rows_without_labels_are_kept_but_make_no_data_set(hub: HubHarness) -> None:
    (cam,) = hub.online("cam-1")
    send(hub, cam, 3, label=None)
    assert data.samples(hub.context, MODEL).labelled == 0
    with pytest.raises(InvalidInput, match="no labelled samples"):
        data.add_samples(hub.context, "ana", "seen", MODEL)


def test_the_same_content_is_the_same_version(hub: HubHarness) -> None:
    content = npz(RNG.normal(size=(5, 4)))
    first = data.add(hub.context, "ana", "rows", content, {"file": "a.npz"})
    again = data.add(hub.context, "bo", "rows", content, {"file": "b.npz"})
    other = data.add(hub.context, "bo", "rows", npz(np.zeros((5, 4))), {})
    assert (first.reference, again, other.number) == ("rows:1", first, 2)
    assert data.show(hub.context, "rows") == other
    assert data.show(hub.context, "rows:1") == first


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no .whole. .npz"),
        (npz(np.zeros((3, 2)))[:100], "no .whole. .npz"),
        (npz(np.zeros((3, 2)), z=np.zeros(1)), "not x and y"),
        (npz(np.full((3, 2), np.nan)), "a row of nothing but NaN"),
        (npz(np.array([[1.0, np.inf]])), "infinity"),
        (npz(np.zeros((3, 2)), np.array([0, 1])), "one class number"),
        (npz(np.zeros((3, 2)), np.array([0, 1, -1])), "the class -1, first in row 2"),
        (npz(np.zeros((3, 2)), np.array([0.5, 1, 1])), "not integers"),
        (npz(np.array([["a"], ["b"]])), "not rows of numbers"),
        (npz(np.zeros(3)), "not rows of numbers"),
    ],
)
def test_what_is_no_data_set_is_refused(hub: HubHarness, content: bytes, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        data.add(hub.context, "ana", "rows", content, {})
    with pytest.raises(NotFound):
        data.show(hub.context, "rows")


def test_harm_asks_for_a_retraining_and_drift_alone_does_not(hub: HubHarness) -> None:
    good, bad = since_yesterday(hub, "cam-1", "cam-2")
    retraining.set_policy(hub.context, "ana", POLICY)
    send(hub, good, 60)
    send(hub, bad, 160)
    alarm(hub, AlarmKind.DRIFT, bad)
    retraining.tick(hub.context)
    assert retraining.listed(hub.context) == ()
    harm = alarm(hub, AlarmKind.HARM, bad)
    retraining.tick(hub.context)
    retraining.tick(hub.context)
    (asked,) = retraining.listed(hub.context)
    assert (asked.parent, asked.alarm, asked.state) == (1, harm.id, RetrainState.REQUESTED)
    assert asked.train == ("base:1", f"{MODEL}-samples:1")
    assert ("retrain.request", asked.id) in hub.acts(actor="hub")


def test_too_few_samples_wait_without_a_request(hub: HubHarness) -> None:
    (cam,) = hub.online("cam-1")
    retraining.set_policy(hub.context, "ana", POLICY)
    alarm(hub, AlarmKind.HARM, cam)
    send(hub, cam, 5)
    retraining.tick(hub.context)
    assert retraining.listed(hub.context) == ()
    with pytest.raises(InvalidInput, match="5 labelled samples"):
        retraining.request(hub.context, "ana", MODEL)
    send(hub, cam, 160)
    retraining.tick(hub.context)
    assert len(retraining.listed(hub.context)) == 1


def since_yesterday(hub: HubHarness, *names: str) -> list[FakeDevice]:
    """Return devices that were enrolled a day ago."""
    hub.clock.pass_s(-86400.0)
    devices = hub.online(*names)
    hub.clock.pass_s(86400.0)
    return devices


def test_unseen_rows_are_drifted_ones_and_never_trained_on(hub: HubHarness) -> None:
    good, bad = hub.online("cam-1", "cam-2")
    retraining.set_policy(hub.context, "ana", POLICY)
    send(hub, good, 60)
    send(hub, bad, 40, at_s=START_S - 3600)
    send(hub, bad, 160)
    harm = alarm(hub, AlarmKind.HARM, bad)
    asked = retraining.request(hub.context, "ana", MODEL, harm.id)
    trained, unseen = (rows_of(hub, reference).x for reference in (asked.train[-1], asked.drifted))
    assert not any(is_unseen(row) for row in trained)
    assert all(is_unseen(row) for row in unseen)
    assert 30 <= len(unseen) < 80
    assert len(trained) + len(unseen) < 260


def test_harm_that_late_labels_show_counts_rows_since_the_drift_began(hub: HubHarness) -> None:
    (bad,) = since_yesterday(hub, "cam-1")
    retraining.set_policy(hub.context, "ana", POLICY)
    send(hub, bad, 160, at_s=START_S - 600)
    late = alarm(hub, AlarmKind.HARM, bad)
    with pytest.raises(InvalidInput, match="0 held out"):
        retraining.request(hub.context, "ana", MODEL, late.id)
    alarm(hub, AlarmKind.DRIFT, bad, since_s=START_S - 700)
    asked = retraining.request(hub.context, "ana", MODEL, late.id)
    assert data.show(hub.context, asked.drifted).rows >= 30


def rows_of(hub: HubHarness, reference: str) -> Rows:
    found = data.show(hub.context, reference)
    size = hub.blobs.size(found.digest)
    return read_rows(hub.blobs.read(found.digest, 0, size), reference)


def test_a_policy_needs_labelled_data_that_are_there(hub: HubHarness) -> None:
    with pytest.raises(NotFound, match="no data set"):
        retraining.set_policy(hub.context, "ana", replace(POLICY, evaluation="none"))
    buffer = io.BytesIO()
    np.savez(buffer, x=np.zeros((3, 2)))
    data.add(hub.context, "ana", "bare", buffer.getvalue(), {})
    with pytest.raises(InvalidInput, match="no labels"):
        retraining.set_policy(hub.context, "ana", replace(POLICY, data=("bare",)))


def test_rows_that_lack_numbers_are_for_models_whose_preprocessing_fills_them(
    hub: HubHarness,
) -> None:
    gaps = RNG.normal(size=(30, 4))
    gaps[::3, 1] = np.nan
    for name in ("gaps", "held-gaps"):
        data.add(hub.context, "ana", name, npz(gaps, np.arange(30) % 2), {})
    asked = replace(POLICY, data=("gaps",), evaluation="held-gaps")
    with pytest.raises(InvalidInput, match=rf"gaps:1 lack numbers \(NaN\) that {MODEL}:1 does not"):
        retraining.set_policy(hub.context, "ana", asked)
    filled = TabularStep(features=(Feature(), Feature(fill=0.5), Feature(), Feature()))
    hub.publish(2, preprocessing=Preprocessing(tabular=filled))
    retraining.set_policy(hub.context, "ana", asked)
    (cam,) = hub.online("cam-1")
    for row in gaps.astype(np.float32):
        hub.take(cam.numbered("sample", (made(row),)))
    broken = np.array([np.nan, 1, 1, 1], np.float32)
    hub.take(cam.numbered("sample", (made(broken),)))
    kept = data.add_samples(hub.context, "ana", "seen", MODEL)
    assert kept.rows == 30


def test_samples_that_lack_what_nothing_fills_are_left_out(hub: HubHarness) -> None:
    (cam,) = hub.online("cam-1")
    send(hub, cam, 5)
    hub.take(cam.numbered("sample", (made(np.array([np.nan, 1, 1, 1])),)))
    assert data.add_samples(hub.context, "ana", "seen", MODEL).rows == 5


def test_every_state_can_be_left_and_final_ones_cannot() -> None:
    assert {state for state, _ in TRANSITIONS} == set(RetrainState) - FINAL
    assert {RetrainState.REQUESTED, *TRANSITIONS.values()} == set(RetrainState)


def test_a_retraining_that_has_ended_moves_no_more(hub: HubHarness) -> None:
    (cam,) = hub.online("cam-1")
    retraining.set_policy(hub.context, "ana", POLICY)
    send(hub, cam, 160)
    asked = retraining.request(hub.context, "ana", MODEL)
    won = contest("drifted", "litert", *(np.ones(50, np.int64) for _ in range(3)))
    retraining.move(hub.context, "bo", asked.id, Step.CLAIM)
    ended = retraining.move(
        hub.context, "bo", asked.id, Step.REJECT, why="no better", contests=[won]
    )
    assert retraining.show(hub.context, asked.id) == ended
    with pytest.raises(Conflict, match="rejected cannot publish"):
        retraining.move(hub.context, "bo", asked.id, Step.PUBLISH)


def answers(right: int, of: int) -> np.ndarray:
    return np.array([1] * right + [0] * (of - right))


@pytest.mark.parametrize(
    ("champion", "challenger", "held", "said"),
    [
        (50, 90, 97, ""),
        (50, 52, 97, "not shown to be better"),
        (50, 90, 60, "may have lost"),
    ],
)
def test_a_challenger_must_be_shown_better_and_to_have_lost_nothing(
    champion: int, challenger: int, held: int, said: str
) -> None:
    truth = np.ones(100, np.int64)
    drifted = contest("drifted", "litert", truth, answers(champion, 100), answers(challenger, 100))
    long = np.ones(600, np.int64)
    kept = contest("evaluation", "litert", long, answers(582, 600), answers(held * 6, 600))
    assert why_not([kept, drifted], 0.03).startswith(said)
    assert bool(why_not([kept, drifted], 0.03)) == bool(said)


def test_without_drifted_rows_nobody_wins() -> None:
    kept: list[Contest] = []
    assert "no drifted rows" in why_not(kept, 0.03)


def test_rows_part_the_same_way_each_time_and_write_the_same_bytes() -> None:
    rows = Rows(x=RNG.normal(size=(300, 4)), y=np.zeros(300, np.int64))
    seen, unseen = part(rows)
    assert len(seen.x) + len(unseen.x) == 300
    assert 60 < len(unseen.x) < 140
    again, _ = part(Rows(x=rows.x[::-1], y=rows.y))
    assert {row.tobytes() for row in again.x} == {row.tobytes() for row in seen.x}
    assert write_rows(rows) == write_rows(rows)


def test_slices_stay_with_their_rows() -> None:
    named = {"slice.site": np.array(["a", "b", "a"])}
    rows = read_rows(npz(np.eye(3), np.arange(3), **named), "rows")
    again = read_rows(write_rows(without(rows, [Rows(x=np.eye(3)[:1], y=None)])), "again")
    assert (again.y.tolist(), again.slices["site"].tolist()) == ([1, 2], ["b", "a"])
    with pytest.raises(InvalidInput, match=r"slice\.site .* not a name a row"):
        read_rows(npz(np.eye(3), np.arange(3), **{"slice.site": np.zeros((3, 1), int)}), "rows")


def test_rows_that_judge_are_known_by_their_numbers_whatever_their_type() -> None:
    rows = Rows(x=np.arange(12, dtype=np.float64).reshape(4, 3), y=np.arange(4))
    judging = Rows(x=rows.x[1:3].astype(np.uint8), y=None)
    assert without(rows, [judging]).y.tolist() == [0, 3]
    assert without(rows, []) is rows


def test_a_class_that_the_model_does_not_know_never_comes_into_a_data_set(hub: HubHarness) -> None:
    (cam,) = hub.online("cam-1")
    retraining.set_policy(hub.context, "ana", POLICY)
    send(hub, cam, 160)
    send(hub, cam, 5, label=99)
    asked = retraining.request(hub.context, "ana", MODEL)
    for reference in (asked.train[-1], asked.drifted):
        with hub.context.database.read() as work:
            found = data.find(work, reference)
        blob = hub.context.blobs.read(found.digest, 0, 10**9)
        assert read_rows(blob, reference).classes <= 2


@pytest.mark.parametrize(
    ("x", "y", "why"),
    [
        (np.zeros((3, 5)), np.zeros(3, int), "have 5 numbers, kws:1 takes 4"),
        (np.zeros((3, 4)), np.array([0, 1, 2]), "has the class 2, kws:1 knows 0 to 1"),
    ],
)
def test_a_policy_takes_only_data_that_fit_the_model(
    hub: HubHarness, x: np.ndarray, y: np.ndarray, why: str
) -> None:
    data.add(hub.context, "ana", "odd", npz(x, y), {})
    for changed in (replace(POLICY, data=("odd",)), replace(POLICY, evaluation="odd")):
        with pytest.raises(InvalidInput, match=why):
            retraining.set_policy(hub.context, "ana", changed)


def test_a_policy_takes_no_selector_that_is_none(hub: HubHarness) -> None:
    with pytest.raises(InvalidInput, match="is no term"):
        retraining.set_policy(
            hub.context, "ana", replace(POLICY, rollout={"selector": "bad selector!!"})
        )


def test_without_an_alarm_the_champion_is_what_serves_and_not_the_newest(hub: HubHarness) -> None:
    cams = hub.online("cam-1", "cam-2")
    hub.run_out(hub.roll_out().id, cams)
    hub.publish(2)
    retraining.set_policy(hub.context, "ana", POLICY)
    send(hub, cams[0], 160)
    assert retraining.request(hub.context, "ana", MODEL).parent == 1


def test_a_worker_that_fell_silent_loses_it_and_the_third_such_ends_it(hub: HubHarness) -> None:
    (cam,) = hub.online("cam-1")
    retraining.set_policy(hub.context, "ana", POLICY)
    send(hub, cam, 160)
    asked = retraining.request(hub.context, "ana", MODEL)
    for tries in (1, 2, 3):
        assert retraining.move(hub.context, "bo", asked.id, Step.CLAIM).tries == tries
        hub.clock.pass_s(retraining.LEASE_S - 1)
        retraining.move(hub.context, "bo", asked.id, Step.RENEW)
        hub.clock.pass_s(retraining.LEASE_S - 1)
        retraining.tick(hub.context)
        assert retraining.show(hub.context, asked.id).state is RetrainState.TRAINING
        hub.clock.pass_s(2)
        retraining.tick(hub.context)
        ended = retraining.show(hub.context, asked.id)
        assert ended.state is (RetrainState.REQUESTED if tries < 3 else RetrainState.FAILED)
        assert "has not been heard of for 15 minutes" in ended.why
    acts = [act for act, _ in hub.acts() if act.startswith("retrain.")]
    assert acts.count("retrain.release") == 2
    assert "retrain.renew" not in acts
