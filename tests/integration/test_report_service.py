"""The hub gathers the facts of a report from its stores; they travel as JSON and are drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from device_agent.protocol.ids import digest_of
from edgeops.domain.errors import NotFound
from edgeops.reports import render
from edgeops.reports.exchange import facts_from_document, to_document
from edgeops.reports.facts import ReportFacts
from edgeops.service import drift, packages, report
from tests.hub_harness import HubHarness
from tests.watched_fleet import EVIDENCE, Fleet

MANIFEST_BYTES, ARTIFACT_BYTES = 900, 1234


@pytest.fixture(scope="module")
def lived() -> Iterator[Fleet]:
    """A fleet that took version 1 in waves, drifted in the yard and did harm there."""
    with HubHarness() as hub:
        fleet = Fleet(hub)
        packages.move_alias(hub.context, "ana", "kws", "production", 1, None)
        hub.run_out(hub.roll_out(canary=1).id, fleet.devices)
        fleet.stream(6)
        fleet.stream(14, shift={2: 1.5}, yard_accuracy=0.5)
        artifact = fleet.version.manifest.variants[0].artifact.ref
        with hub.context.database.begin() as work:
            work.delivery.add(artifact.digest, ARTIFACT_BYTES - 34)
            work.delivery.add(artifact.digest, 34)
            work.delivery.add(fleet.version.digest, MANIFEST_BYTES)
            work.delivery.add(digest_of(b"of another model"), 7)
        yield fleet


def facts_of(fleet: Fleet) -> ReportFacts:
    return report.gather(fleet.hub.context, "kws")


def test_versions_carry_evidence_aliases_and_lineage(lived: Fleet) -> None:
    (version,) = facts_of(lived).versions
    assert (version.number, version.digest) == (1, lived.version.digest)
    assert version.aliases == ("production",)
    assert version.lineage == (("run", "run-1"),)
    assert version.variants[0].evidence == EVIDENCE
    assert version.labels == ("no", "yes")


def test_a_rollout_has_its_members_with_the_cohort_that_the_alarm_named(lived: Fleet) -> None:
    (rollout,) = facts_of(lived).rollouts
    assert (rollout.state, rollout.number) == ("completed", 1)
    assert {each.device: each.cohort for each in rollout.members} == {
        f"cam-{n}": "site=yard" if n % 2 else "site=lab" for n in range(6)
    }
    for each in rollout.members:
        assert each.state == "committed"
        assert each.ordered_s is not None
        assert each.ended_s is not None
        assert each.steps == (("committed", each.ended_s),)
        assert each.ordered_s <= each.ended_s


def test_drift_recomputed_from_the_windows_ends_where_the_watch_stands(lived: Fleet) -> None:
    facts = facts_of(lived)
    standings = drift.standings(lived.hub.context, "kws:1")
    ends = {series.device: series.points[-1][1] for series in facts.drift}
    assert ends == {each.device: each.evidence / each.threshold for each in standings}
    assert {len(series.points) for series in facts.drift} == {20}
    assert {s.device for s in facts.drift if max(e for _, e in s.points) >= 1} == {
        "cam-1", "cam-3", "cam-5",
    }  # fmt: skip
    assert [(each.kind, each.cohort) for each in facts.alarms] == [
        ("drift", "site=yard"),
        ("harm", "site=yard"),
    ]


def test_accuracy_is_by_cohort_and_no_label_is_lost(lived: Fleet) -> None:
    facts = facts_of(lived)
    shares = {}
    for series in facts.accuracy:
        assert sum(labelled for _, _, labelled in series.points) == 3 * 20 * 20
        assert [at_s for at_s, _, _ in series.points] == sorted({p[0] for p in series.points})
        _, correct, labelled = series.points[-1]
        shares[series.cohort] = correct / labelled
    assert shares["site=lab"] > 0.8 > shares["site=yard"]


def test_the_estimate_without_labels_does_not_see_that_answers_are_wrong(lived: Fleet) -> None:
    for series in facts_of(lived).estimated:
        assert all(rows == 10_000 for _, _, rows in series.points)
        assert series.points[-1][1] > 9_500


def test_traffic_names_each_blob_of_the_model_and_who_committed_it(lived: Fleet) -> None:
    traffic = {each.what: each for each in facts_of(lived).traffic}
    assert sorted(traffic) == ["kws:1 manifest", "kws:1 onnxruntime artifact"]
    artifact = traffic["kws:1 onnxruntime artifact"]
    assert (artifact.devices, artifact.sent_bytes) == (6, ARTIFACT_BYTES)
    assert artifact.size_bytes == lived.version.manifest.variants[0].artifact.ref.size_bytes


def test_the_audit_is_counted_and_walked(lived: Fleet) -> None:
    entries, unbroken = facts_of(lived).audit
    assert entries == len(lived.hub.acts())
    assert unbroken


def test_the_facts_survive_json_and_are_drawn(lived: Fleet) -> None:
    facts = facts_of(lived)
    there = facts_from_document(json.loads(json.dumps(to_document(facts), allow_nan=False)))
    assert there == facts
    page = render(there)
    assert "site=yard" in page
    assert "cam-3" in page


def test_a_device_that_was_removed_has_no_cohort_and_its_labels_still_count() -> None:
    from edgeops.service import fleet as devices

    with HubHarness() as hub:
        fleet = Fleet(hub, devices=2)
        fleet.stream(2)
        devices.remove(hub.context, "ana", "cam-1")
        facts = facts_of(fleet)
    assert [series.device for series in facts.drift] == ["cam-0"]
    counted = {each.cohort: sum(p[2] for p in each.points) for each in facts.accuracy}
    assert counted == {"profile=x86-64-generic": 40, "": 40}


def test_only_so_many_windows_are_read(lived: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "MAX_WINDOWS", 12)
    assert sum(len(each.points) for each in facts_of(lived).drift) == 12


def test_a_model_that_nothing_happened_to_has_a_report() -> None:
    with HubHarness() as hub:
        hub.publish()
        facts = report.gather(hub.context, "kws")
        assert (facts.drift, facts.rollouts, facts.traffic) == ((), (), ())
        assert render(facts)
        with pytest.raises(NotFound):
            report.gather(hub.context, "nothing")
