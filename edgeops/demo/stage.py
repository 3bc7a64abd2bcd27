"""What the demo's steps are made of: commands that are printed, processes, questions."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from edgeops.client import Client
from edgeops.demo.processes import DemoFailed, Processes, free_port, program
from edgeops.domain.errors import EdgeopsError

MODEL = "digits"
PROFILES = ("raspberry-pi-5", "raspberry-pi-zero-2w")
BANDWIDTH = "32k"
WAIT_S = 90.0
PAST_DOWNLOAD = frozenset(
    {"stage", "self_test", "standby", "activate", "probation", "commit", "committed"}
)
"""What a device says of a deployment that has fetched everything."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """How the demo runs."""

    folder: Path
    report: Path
    devices: int = 6
    seed: int = 0
    quick: bool = False
    broker: str | None = None
    broker_kind: str = "auto"


@dataclass(slots=True, kw_only=True)
class Shown:
    """One row of the table at the end."""

    what: str
    evidence: str


@dataclass(slots=True, kw_only=True)
class Stage:
    """One run: its folder, its processes, and what it has shown."""

    options: DemoOptions
    processes: Processes
    say: Callable[[str], None]
    port: int = field(default_factory=free_port)
    mqtt_port: int = field(default_factory=free_port)
    shown: list[Shown] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """The devices' names."""
        return [f"cam-{number}" for number in range(1, self.options.devices + 1)]

    @property
    def shifted(self) -> list[str]:
        """The devices of hall b, whose cameras will be shifted."""
        return self.names[len(self.names) // 2 :]

    def path(self, name: str) -> Path:
        """Return a file or folder of this run."""
        return self.options.folder / name

    def client(self) -> Client:
        """Return a client of the demo's hub."""
        token = (self.path("home") / "token").read_text().strip()
        return Client(f"http://127.0.0.1:{self.port}", token=token)

    def show(self, what: str, evidence: str) -> None:
        """Note what was shown."""
        self.shown.append(Shown(what=what, evidence=evidence))

    # ---- commands

    @property
    def environment(self) -> dict[str, str]:
        """The environment of every command."""
        return {
            **os.environ,
            "EDGEOPS_HOME": str(self.path("home")),
            "EDGEOPS_HUB": f"http://127.0.0.1:{self.port}",
            "PYTHONUNBUFFERED": "1",
        }

    def edgeops(self, *arguments: str, exit_code: int = 0, quiet: bool = False) -> str:
        """Run an `edgeops` command; return what it printed."""
        return self.command("edgeops", arguments, exit_code, quiet=quiet)

    def device_agent(self, *arguments: str, exit_code: int = 0) -> str:
        """Run a `device-agent` command; return what it printed."""
        return self.command("device-agent", arguments, exit_code, quiet=False)

    def command(self, name: str, arguments: Sequence[str], exit_code: int, *, quiet: bool) -> str:
        """Print and run a command, and check its exit code."""
        self.say(f"$ {name} {self.short(shlex.join(arguments))}")
        said = []
        with subprocess.Popen(
            (program(name), *arguments),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            for line in process.stdout or ():
                said.append(line)
                if not quiet:
                    self.say(f"  {self.short(line.rstrip())}")
        printed = "".join(said)
        if process.returncode != exit_code or "Traceback" in printed:
            raise DemoFailed(
                f"{name} {arguments[0]} ended with {process.returncode}, not {exit_code}",
                next_step=f"see the output above, and {self.path('logs')}",
            )
        return printed

    def short(self, text: str) -> str:
        """Leave the run's folder out of a line for people."""
        return text.replace(f"{self.options.folder}/", "")

    def wait(self, what: str, ready: Callable[[], T | None]) -> T:
        """Wait until ``ready`` gives something true, and return it."""
        end_s = time.monotonic() + WAIT_S
        while True:
            if (value := ready()) or time.monotonic() > end_s:
                if not value:
                    raise DemoFailed(
                        f"waited {WAIT_S:.0f} s in vain: {what}",
                        next_step=f"read the logs in {self.path('logs')}",
                    )
                return value
            time.sleep(0.1)

    # ---- processes

    def up(self, *limits: str) -> None:
        """Start the hub in the background and wait until it works."""
        command = (
            *("edgeops", "up", "--port", str(self.port), *limits),
            *(
                ("--broker", self.options.broker)
                if self.options.broker
                else ("--mqtt-port", str(self.mqtt_port), "--broker-kind", self.options.broker_kind)
            ),
        )
        self.say(f"$ {shlex.join(command)} &")
        self.processes.start("hub", (program(command[0]), *command[1:]), self.environment)
        self.wait("the hub works", self.hub_works)

    def start_device(self, name: str) -> None:
        """Start a device's application; its owner lets every second row out."""
        shift = self.path("shifted" if name in self.shifted else "never")
        command = (
            *(sys.executable, "-m", "edgeops.demo.device", "--state", str(self.path(name))),
            *("--enrolment", str(self.path(f"{name}.json")), "--rows", str(self.path("rows.npz"))),
            *("--shifted-when", str(shift), "--labels-when", str(self.path("labelled"))),
            *("--samples", "0.5", "--seed", str(self.options.seed + self.names.index(name))),
        )
        self.processes.start(name, command, self.environment)
        self.say(
            f"$ python -m edgeops.demo.device --state {name} --enrolment {name}.json "
            "--samples 0.5 … &"
        )

    def kill_broker(self) -> None:
        """Kill the managed broker and take its memory; the hub starts it again, empty."""
        folder = self.path("home") / "broker"
        pids = [int(p.read_text().split()[0]) for p in folder.glob("*.pid")]
        for pid in pids:
            self.say("$ kill -9 mosquitto; rm mosquitto.db")
            os.kill(pid, 9)
        (folder / "mosquitto.db").unlink(missing_ok=True)

    # ---- questions

    def hub_works(self) -> bool:
        """Whether the hub answers and is connected to its broker."""
        self.processes.check("hub")
        try:
            return bool(self.client().health()["status"] == "ok")
        except (EdgeopsError, OSError):
            return False

    def all_online(self) -> bool:
        """Whether every device is online."""
        return all(each["online"] for each in self.client().devices())

    def committed(self, rollout: str) -> int:
        """How many devices of a rollout have committed."""
        members = self.client().rollout(rollout)["members"]
        return sum(member["state"] == "committed" for member in members)

    def has_fetched(self, rollout: str, name: str) -> bool:
        """Whether a device is past its download."""
        members = self.client().rollout(rollout)["members"]
        member = next(each for each in members if each["device"] == name)
        return member["device_state"] in PAST_DOWNLOAD

    def downloading(self, rollout: str) -> str | None:
        """Return the canary's name when it is in the middle of fetching its artifact."""
        canary = str(self.client().rollout(rollout)["members"][0]["device"])
        have, total = self.chunks_of(canary)
        return canary if total and total // 4 <= have < total else None

    def chunks_of(self, name: str) -> tuple[int, int]:
        """Return what a device's bitmaps vouch for: chunks there, and chunks in all."""
        done = subprocess.run(
            (program("device-agent"), "status", "--state", str(self.path(name)), "-o", "json"),
            capture_output=True,
            text=True,
            check=True,
        )
        deployment = json.loads(done.stdout)["models"].get(MODEL, {}).get("deployment") or {}
        return deployment.get("chunks_have", 0), deployment.get("chunks_total", 0)

    def sent(self, number: int) -> tuple[int, int]:
        """Return chunks and bytes of a version's blobs that the hub has published so far."""
        manifest = self.client().version(f"{MODEL}:{number}")["manifest"]
        digests = {
            variant[blob]["digest"]
            for variant in manifest["variants"]
            for blob in ("artifact", "golden", "reference")
        }
        sent = self.client().delivery()
        blobs = [sent[digest] for digest in digests if digest in sent]
        return sum(each["chunks"] for each in blobs), sum(each["bytes"] for each in blobs)

    def open_alarm(self, kind: str, number: int, devices: Sequence[str]) -> dict[str, Any] | None:
        """Return an open alarm of a kind on a version, once these devices have all joined it."""
        for alarm in self.client().alarms(only_open=True):
            is_it = (alarm["kind"], alarm["version"]) == (kind, number)
            if is_it and set(devices) <= set(alarm["devices"]):
                return alarm
        return None

    def accuracy(self, number: int, devices: Sequence[str], since_s: float) -> tuple[int, int]:
        """Return right and labelled inferences of a version on devices since a moment."""
        windows = [
            each
            for each in self.client().telemetry(MODEL, limit=1000)
            if each["device"] in devices
            and each["version"] == number
            and each["started_s"] >= since_s
        ]
        return (
            sum(each["labelled_correct"] for each in windows),
            sum(each["labelled"] for each in windows),
        )
