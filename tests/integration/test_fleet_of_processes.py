"""A hub, its broker and devices as real processes: what only the whole can show."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from edgeops.demo.processes import program
from tests.digits_models import digits
from tests.running_site import EXAMPLES, Site, running_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as site:
        site.package(2, 2)
        yield site


def test_the_examples_bring_a_model_to_an_application(site: Site) -> None:
    site.enroll("cam-1")
    site.start_app("cam-1")
    said = site.run(sys.executable, str(EXAMPLES / "roll_out.py"), "digits:1", "only=cam-1")
    assert said.split() == ["cam-1", "committed"]
    assert site.active("cam-1") == 1
    row = site.folder / "row.npy"
    np.save(row, digits(0).stream_x[0])
    answer = site.run(
        *(program("device-agent"), "infer", "--state", str(site.folder / "cam-1")),
        *("--model", "digits", "--input", str(row), "-o", "json"),
    )
    assert json.loads(answer)["version"] == 1


def test_a_rollback_by_an_operator_brings_the_version_of_before_back(site: Site) -> None:
    site.edgeops(
        *("rollout", "create", "digits:2", "--selector", "only=cam-1", "--wait"),
        *("--probation", "min_inferences=50"),
    )
    assert site.active("cam-1") == 2
    rollout = site.client().rollouts()[-1]["id"]
    site.edgeops("rollout", "rollback", rollout, "--reason", "the operator changed her mind")
    site.edgeops("rollout", "watch", rollout, code=4)
    assert site.active("cam-1") == 1


def test_a_device_commits_without_a_network_and_tells_it_later(site: Site) -> None:
    site.enroll("cam-2")
    site.start_app("cam-2")
    site.edgeops(
        *("rollout", "create", "digits:1", "--selector", "only=cam-2"),
        *("--probation", "min_inferences=300"),
    )
    rollout = site.client().rollouts()[-1]["id"]
    site.wait(
        "cam-2 is in probation", lambda: _member(site, rollout)["device_state"] == "probation"
    )
    site.processes.kill("hub")
    site.wait("cam-2 has committed alone", lambda: _state_on_device(site, "cam-2") == "committed")
    site.up()
    site.edgeops("rollout", "watch", rollout, "--timeout", "60")
    site.wait(
        "the evidence is told, which comes by an event after the state",
        lambda: _member(site, rollout)["evidence"].get("inferences", 0) >= 300,
    )


def test_two_agents_with_one_identity_are_noticed_and_reported(site: Site) -> None:
    path = site.enroll("cam-3")
    site.start_app("cam-3")
    site.processes.kill("cam-3")
    shutil.copytree(site.folder / "cam-3", site.folder / "clone")
    site.start_app("cam-3")
    clone = [program("device-agent"), "run", "--state", str(site.folder / "clone")]
    site.processes.start("clone", [*clone, "--enrolment", str(path)], site.environment)
    site.wait("the clone is noticed", lambda: site.client().device("cam-3")["duplicate_identity"])
    assert "DUPLICATE IDENTITY" in site.edgeops("devices", "list")
    assert "share one identity: cam-3" in site.edgeops("doctor", code=1)
    acts = [entry["act"] for entry in site.client().audit(limit=1000)]
    assert acts.count("device.duplicate_identity") == 1
    site.processes.kill("clone")
    site.processes.kill("cam-3")


def test_a_removed_device_loses_its_account_and_keeps_its_model(site: Site) -> None:
    site.edgeops("devices", "remove", "cam-2", "--yes")
    site.wait("its connection is refused", lambda: "refused" in _log(site, "cam-2"))
    status = site.run(
        *(program("device-agent"), "status", "--state", str(site.folder / "cam-2"), "-o", "json")
    )
    assert json.loads(status)["models"]["digits"]["active"]["version"] == 1


def test_a_terminated_hub_leaves_no_process_and_a_verified_audit(site: Site) -> None:
    assert site.client().verify_audit()["ok"]
    folder = site.folder / "home" / "broker"
    broker = int(next(folder.glob("*.pid")).read_text().split()[0])
    pid = site.processes.start("probe", ["/bin/true"], site.environment)
    assert pid
    site.processes.stop_all()
    with pytest.raises(ProcessLookupError):
        os.kill(broker, signal.SIGCONT)


def _member(site: Site, rollout: str) -> dict[str, Any]:
    member: dict[str, Any] = site.client().rollout(rollout)["members"][0]
    return member


def _state_on_device(site: Site, name: str) -> str:
    status = site.run(
        *(program("device-agent"), "status", "--state", str(site.folder / name), "-o", "json")
    )
    return str(json.loads(status)["models"]["digits"]["deployment"]["state"])


def _log(site: Site, name: str) -> str:
    return (site.folder / "logs" / f"{name}.log").read_text(errors="replace")
