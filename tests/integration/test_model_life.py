"""One model's life as commands and the API show it: accuracy, counters, lineage."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from device_agent.protocol.manifest import Waiver
from edgeops.cli.drift import drift as drift_command
from edgeops.cli.lineage import lineage as lineage_command
from edgeops.domain.errors import NotFound
from edgeops.service import lineage, packages
from tests.served_hub import Served, served_hub
from tests.watched_fleet import EVIDENCE, Fleet


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


# ---- lineage


def test_lineage_follows_parents_to_the_root_and_names_alarm_evidence_and_rollouts(
    served: Served,
) -> None:
    hub = served.harness
    fleet = Fleet(hub, devices=4)
    fleet.stream(14, shift={2: 2.0})
    hub.publish(2, lineage={"parent": "kws:1", "code": "3f2a"})
    waiver = Waiver(gate="golden", reason="labels are [late]")
    made = {"parent": "kws:2", "alarm": "a1", "retraining": "t7", "data": "yard [2026]"}
    hub.publish(3, lineage=made, waivers=(waiver,))
    packages.move_alias(hub.context, "ana", "kws", "production", 3, None)
    rollout = hub.run_out(hub.roll_out(3, selector="site=yard").id, fleet.devices)

    found = served.client("viewer").lineage("kws@production")
    assert (found["reference"], found["lineage"]) == ("kws:3", made)
    assert [each["reference"] for each in found["ancestors"]] == ["kws:2", "kws:1"]
    assert found["ancestors"][0]["lineage"] == {"parent": "kws:1", "code": "3f2a"}
    assert found["ancestors"][1]["digest"] == fleet.version.digest
    assert found["chain_end"] == ""
    assert found["alarm"]["known"]
    assert (found["alarm"]["kind"], found["alarm"]["cohort"]) == ("drift", "site=yard")
    assert found["retraining"] == "t7"
    assert found["aliases"] == ["production"]
    assert found["waivers"] == [waiver.to_document()]
    (reached,) = found["rollouts"]
    assert (reached["id"], reached["state"]) == (rollout.id, "completed")
    assert (reached["committed"], reached["devices"]) == (2, 2)

    text = served.run(lineage_command, "kws:3").stdout
    for said in (
        "aliases: production",
        "data: yard [2026]",
        "alarm a1: drift of kws:1 on 2, site=yard",
        "retraining t7",
        "onnxruntime for x86-64-generic: not measured",
        "golden: labels are [late]",
        f"{rollout.id}: completed, 2 of 2 committed",
        "parent kws:2",
    ):
        assert said in text, said
    lines = text.splitlines()
    second = next(line for line in lines if "parent kws:2  sha256:" in line)
    first = next(line for line in lines if "parent kws:1  sha256:" in line)
    assert first.index("parent") > second.index("parent"), "a parent hangs below its child"
    assert json.loads(served.run(lineage_command, "kws:3", "-o", "json").stdout) == found


def test_lineage_shows_what_was_measured_of_each_variant(served: Served) -> None:
    Fleet(served.harness, devices=1)
    (variant,) = served.client().lineage("kws:1")["variants"]
    assert (variant["recipe"], variant["rows"]) == (EVIDENCE.recipe, EVIDENCE.rows)
    assert variant["accuracy"] == EVIDENCE.accuracy
    assert (variant["drop_low"], variant["drop_high"]) == (EVIDENCE.drop_low, EVIDENCE.drop_high)
    text = served.run(lineage_command, "kws:1").stdout
    assert "as-is, accuracy 0.950, drop +0.0000 to +0.0030 (95%, 1000 rows)" in text


@pytest.mark.parametrize(
    ("parent", "said"),
    [
        ("kws:9", "kws:9 is not on this hub"),
        ("other:1", "other:1 is not on this hub"),
        ("kws@production", "'kws@production' is no NAME:NUMBER"),
        ("kws", "'kws' is no NAME:NUMBER"),
        ("Not A Name:1", "'Not A Name:1' is no NAME:NUMBER"),
        ("kws:1", "kws:1 again: the chain is a circle"),
    ],
)
def test_a_chain_that_ends_before_its_root_says_why(served: Served, parent: str, said: str) -> None:
    served.harness.publish(1, lineage={"parent": parent})
    found = served.client().lineage("kws:1")
    assert (found["ancestors"], found["chain_end"]) == ([], said)
    assert f"parent {said}" in served.run(lineage_command, "kws:1").stdout


def test_a_longer_circle_is_walked_once(served: Served) -> None:
    for number, parent in ((1, 3), (2, 1), (3, 2)):
        served.harness.publish(number, lineage={"parent": f"kws:{parent}"})
    found = served.client().lineage("kws:3")
    assert [each["reference"] for each in found["ancestors"]] == ["kws:2", "kws:1"]
    assert found["chain_end"] == "kws:3 again: the chain is a circle"


def test_a_very_long_chain_is_followed_so_far(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lineage, "MAX_ANCESTORS", 3)
    for number in range(1, 7):
        served.harness.publish(number, lineage={"parent": f"kws:{number - 1}"})
    found = served.client().lineage("kws:6")
    assert len(found["ancestors"]) == 3
    assert found["chain_end"] == "not followed beyond 3 versions"


def test_an_alarm_that_this_hub_does_not_know_is_said(served: Served) -> None:
    served.harness.publish(1, lineage={"alarm": "a77"})
    assert not served.client().lineage("kws:1")["alarm"]["known"]
    assert "alarm a77: not on this hub" in served.run(lineage_command, "kws:1").stdout
    with pytest.raises(NotFound):
        served.client().lineage("kws:8")
