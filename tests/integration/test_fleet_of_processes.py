"""A hub, its broker and devices as real processes: what only the whole can show."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeops.client import Client
from edgeops.demo.processes import Processes, free_port, program
from edgeops.domain.errors import EdgeopsError
from tests.digits_models import digits, tflite_path

EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE_S = 60.0


@dataclass
class Site:
    """A home folder with a running hub, and the processes on it."""

    folder: Path
    processes: Processes
    port: int
    mqtt_port: int
    _client: Client | None = None
    _token: str = ""

    @property
    def environment(self) -> dict[str, str]:
        home = self.folder / "home"
        token = home / "token"
        return {
            **os.environ,
            "EDGEOPS_HOME": str(home),
            "EDGEOPS_HUB": f"http://127.0.0.1:{self.port}",
            "EDGEOPS_TOKEN": token.read_text().strip() if token.exists() else "",
        }

    def up(self) -> None:
        command = [
            *(program("edgeops"), "up", "--port", str(self.port)),
            *("--mqtt-port", str(self.mqtt_port)),
        ]
        self.processes.start("hub", command, {**self.environment, "EDGEOPS_TOKEN": ""})
        self.wait("the hub works", self.works)

    def works(self) -> bool:
        self.processes.check("hub")
        try:
            return bool(self.client().health()["status"] == "ok")
        except EdgeopsError:
            return False

    def client(self) -> Client:
        token = self.environment["EDGEOPS_TOKEN"]
        if self._client is None or self._token != token:
            self.close()
            self._token = token
            self._client = Client(f"http://127.0.0.1:{self.port}", token=token)
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def run(self, *command: str, code: int = 0) -> str:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout

    def edgeops(self, *arguments: str, code: int = 0) -> str:
        return self.run(program("edgeops"), *arguments, code=code)

    def package(self, number: int, model: int) -> None:
        self.edgeops(
            *("package", str(tflite_path(model)), "--name", "digits", "--version", str(number)),
            *("--profile", "x86-64-generic", "--golden", str(self.folder / "golden.npz")),
        )

    def enroll(self, name: str) -> Path:
        path = self.folder / f"{name}.json"
        self.edgeops(
            *("devices", "enroll", name, "--profile", "x86-64-generic"),
            *("--label", f"only={name}", "--out", str(path)),
        )
        return path

    def start_app(self, name: str) -> None:
        command = [
            *(sys.executable, str(EXAMPLES / "device_app.py"), str(self.folder / name)),
            *(str(self.folder / f"{name}.json"), "digits", str(self.folder / "rows.npz")),
        ]
        self.processes.start(name, command, self.environment)
        self.wait(f"{name} is online", lambda: self.client().device(name)["online"])

    def active(self, name: str) -> int | None:
        models = self.client().device(name)["models"]
        return models[0]["active"] if models else None

    def wait(self, what: str, ready: Callable[[], Any]) -> Any:
        end_s = time.monotonic() + PATIENCE_S
        while not (value := ready()):
            assert time.monotonic() < end_s, f"waited in vain: {what}"
            time.sleep(0.1)
        return value


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    with Processes(folder / "logs") as processes:
        site = Site(folder, processes, free_port(), free_port())
        split = digits(0)
        np.savez(folder / "golden.npz", x=split.golden_x, y=split.golden_y)
        np.savez(folder / "rows.npz", x=split.stream_x, y=split.stream_y)
        site.edgeops("keys", "init")
        site.up()
        site.package(1, 1)
        site.package(2, 2)
        yield site
        site.close()


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
    assert _member(site, rollout)["evidence"]["inferences"] >= 300


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
