"""The guided run: the whole way of a model to a small fleet, by public commands only.

Every command is printed before it runs; what is checked beside the commands uses the public
client and `device-agent status`. Nothing here reaches into the hub or the agents.
"""

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

import numpy as np

from edgeops.client import Client
from edgeops.demo import models
from edgeops.demo.processes import DemoFailed, Processes, free_port, program
from edgeops.domain.errors import EdgeopsError

PROFILES = ("raspberry-pi-5", "raspberry-pi-zero-2w")
CHUNK = "2k"
MIN_CHUNKS = 20
IN_FLIGHT = 4
"""Chunks that may be sent again because they were on their way when the power was cut."""
BANDWIDTH = "25k"
PROBATION = ("--probation", "min_inferences=60", "--probation", "timeout_s=60")
WAIT_S = 60.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """How the demo runs."""

    folder: Path
    devices: int = 6
    seed: int = 0
    broker: str | None = None
    broker_kind: str = "auto"


@dataclass(slots=True, kw_only=True)
class Shown:
    """One row of the table at the end."""

    what: str
    evidence: str


@dataclass(slots=True, kw_only=True)
class Demo:
    """The state of one run."""

    options: DemoOptions
    processes: Processes
    say: Callable[[str], None]
    port: int = field(default_factory=free_port)
    mqtt_port: int = field(default_factory=free_port)
    shown: list[Shown] = field(default_factory=list)

    def run(self) -> list[Shown]:
        """Run every step in order; return what was shown.

        Raises:
            EdgeopsError: a step failed, or did not show what it should have.
        """
        for title, step in (
            ("Train three versions on scikit-learn's handwritten digits", self.train),
            ("Make keys and start the hub", self.start_hub),
            ("Package version 1: one version, two variants", self.package_first),
            ("Enroll and start the devices", self.start_devices),
            ("Roll out version 1, canary first", self.roll_out_first),
            ("Roll out version 2 and cut a device's power during its download", self.resume),
            ("Version 3 is signed and loads, but answers nonsense", self.stop_nonsense),
            ("Kill hub and broker in the middle of a rollout", self.survive),
            ("Look at the fleet and the audit", self.look),
        ):
            self.say(f"\n── {title}")
            step()
        return self.shown

    # ---- steps

    def train(self) -> None:
        """Train the ONNX models, and write the golden and the streamed rows."""
        split = models.digits(self.options.seed)
        first, second = models.train_first(split), models.train_second(split)
        for number, model in ((1, first), (2, second), (3, models.spoil(second, split))):
            models.write_onnx(model, self.path(f"digits-v{number}.onnx"))
            self.path(f"digits-v{number}.tflite").write_bytes(
                models.tflite_path(number).read_bytes()
            )
        np.savez(self.path("golden.npz"), x=split.golden_x, y=split.golden_y)
        np.savez(self.path("rows.npz"), x=split.stream_x, y=split.stream_y)
        np.save(self.path("row.npy"), split.stream_x[0])
        self.say(
            f"{len(split.train_x)} rows train, {len(split.golden_x)} are golden, "
            f"{len(split.stream_x)} are streamed by the devices"
        )

    def start_hub(self) -> None:
        """Make keys, start `edgeops up` and wait until it works."""
        self.edgeops("keys", "init")
        self.up()

    def package_first(self) -> None:
        """Package version 1; a truncated model is refused."""
        broken = self.path("truncated.onnx")
        broken.write_bytes(self.path("digits-v1.onnx").read_bytes()[:1000])
        self.package(1, broken, exit_code=1)
        self.package(1)
        version = self.client().version("digits:1")
        runtimes = sorted(each["runtime"] for each in version["manifest"]["variants"])
        self.show("one version, a variant for each board", f"digits:1 by {' and '.join(runtimes)}")

    def start_devices(self) -> None:
        """Enroll and start; before any rollout a device has no model and says so."""
        for index, name in enumerate(self.names):
            self.edgeops(
                *("devices", "enroll", name, "--profile", PROFILES[index % 2]),
                *("--label", "site=lab", "--out", str(self.path(f"{name}.json"))),
                quiet=index > 0,
            )
            self.start_device(name)
        self.wait("all devices online", self.all_online)
        self.device_agent(
            *("infer", "--state", str(self.path(self.names[0])), "--model", "digits"),
            *("--input", str(self.path("row.npy"))),
            exit_code=1,
        )
        self.show("day zero: a device without a model says so", "exit code 1 and the next step")

    def roll_out_first(self) -> None:
        """Version 1 to everybody, in waves."""
        self.roll_out(1)
        members = self.client().rollouts()[-1]["members"]
        waves = [sum(m["wave"] == w for m in members) for w in range(members[-1]["wave"] + 1)]
        self.show("canary first, then waves", f"{' → '.join(map(str, waves))} devices committed")
        self.device_agent(
            *("infer", "--state", str(self.path(self.names[0])), "--model", "digits"),
            *("--input", str(self.path("row.npy"))),
        )

    def resume(self) -> None:
        """Version 2, slowly; the canary is killed in the middle of its download."""
        self.package(2)
        rollout = self.begin(2)
        canary = self.wait("the canary downloads", lambda: self.downloading(rollout))
        self.processes.kill(canary)
        self.say(f"$ kill -9 {canary}")
        self.wait("its death is known", lambda: not self.client().device(canary)["online"])
        kept = self.chunks_of(canary)
        sent, sent_bytes = self.sent()
        self.say(f"  its bitmap vouches for {kept[0]} of {kept[1]} chunks")
        self.say(f"  the hub has sent {sent} chunks, {sent_bytes} bytes")
        if not kept[1] >= MIN_CHUNKS or not 0 < kept[0] < kept[1]:
            raise DemoFailed(f"the download was not cut in its middle: {kept}")
        self.start_device(canary)
        self.wait("it has fetched the rest", lambda: self.has_fetched(rollout, canary))
        self.check_resumed(canary, kept, sent, sent_bytes)
        self.edgeops("rollout", "watch", rollout, "--timeout", "150")

    def stop_nonsense(self) -> None:
        """Version 3: refused by its gate; waived, it is stopped by the canary itself."""
        self.package(3, exit_code=3)
        self.package(
            3, *("--waive", "golden", "--reason", "the demo wants to see the device refuse it")
        )
        self.roll_out(3, exit_code=4)
        rollout = self.client().rollouts()[-1]
        saw = [m for m in rollout["members"] if m["ordered_s"] is not None]
        bad = [d["device"] for d in self.client().devices() if 3 in _actives(d)]
        if len(saw) != 1 or bad:
            raise DemoFailed(f"{len(saw)} devices saw version 3, {bad} still serve it")
        self.show(
            "a broken version stops at the canary",
            f"{saw[0]['device']}: {saw[0]['reason']}; "
            f"{len(rollout['members']) - 1} devices never saw it; exit code 4",
        )

    def survive(self) -> None:
        """The same model under a new number; hub, then broker, are killed on its way."""
        self.package(4, *self.files(2), label="digits-v2")
        rollout = self.begin(4)
        self.wait("the canary has it", lambda: self.committed(rollout) >= 1)
        self.processes.kill("hub")
        self.say("$ kill -9 hub")
        self.up()
        if self.options.broker is None:
            self.wait("the next wave has it", lambda: self.committed(rollout) >= 2)
            self.kill_broker()
        self.edgeops("rollout", "watch", rollout, "--timeout", "150")
        end = self.client().rollout(rollout)
        done = sum(m["state"] == "committed" for m in end["members"])
        self.show(
            "hub and broker killed in the middle",
            f"rollout {rollout} {end['state']}, {done} of {len(end['members'])} devices",
        )

    def look(self) -> None:
        """The fleet at the end, and the audit."""
        self.edgeops("devices", "list")
        self.edgeops("audit", "verify")
        self.edgeops("doctor")
        counters = self.client().hub()["counters"]
        windows = self.client().telemetry("digits", limit=1000)
        self.show("every act is in one verified chain", f"{self.client().verify_audit()['why']}")
        self.show(
            "telemetry is counts, never inputs",
            f"{len(windows)} windows, {sum(w['inferences'] for w in windows)} inferences, "
            f"{counters.get('dropped.telemetry.malformed', 0)} malformed",
        )

    # ---- what the steps are made of

    @property
    def names(self) -> list[str]:
        """The devices' names."""
        return [f"cam-{number}" for number in range(1, self.options.devices + 1)]

    def path(self, name: str) -> Path:
        """Return a file or folder of this run."""
        return self.options.folder / name

    def files(self, number: int) -> tuple[str, str]:
        """Return the model files of a version."""
        return (
            str(self.path(f"digits-v{number}.onnx")),
            str(self.path(f"digits-v{number}.tflite")),
        )

    def client(self) -> Client:
        """Return a client of the demo's hub."""
        token = (self.path("home") / "token").read_text().strip()
        return Client(f"http://127.0.0.1:{self.port}", token=token)

    def package(
        self, number: int, *more: Any, exit_code: int = 0, label: str | None = None
    ) -> None:
        """Package (and so publish) a version for both profiles."""
        files = [str(each) for each in more if str(each).endswith((".onnx", ".tflite"))]
        options = [str(each) for each in more if str(each) not in files]
        self.edgeops(
            *("package", *(files or self.files(number)), "--name", "digits"),
            *("--version", str(number)),
            *(part for profile in PROFILES for part in ("--profile", profile)),
            *("--golden", str(self.path("golden.npz")), "--min-accuracy", "0.75"),
            *("--chunk-size", CHUNK, *options),
            exit_code=exit_code,
        )

    def roll_out(self, number: int, exit_code: int = 0) -> None:
        """Roll a version out and wait for the end."""
        self.edgeops(*self.rollout_command(number), "--wait", exit_code=exit_code)

    def begin(self, number: int) -> str:
        """Begin a rollout; return its id."""
        return self.edgeops(*self.rollout_command(number)).strip()

    def rollout_command(self, number: int) -> tuple[str, ...]:
        """Return the command that rolls a version out, canary first."""
        return (
            *("rollout", "create", f"digits:{number}", "--selector", "site=lab"),
            *("--canary", "1", "--steps", "50%,100%", "--device-timeout", "90", *PROBATION),
        )

    def up(self) -> None:
        """Start the hub in the background and wait until it works."""
        command = (
            *("edgeops", "up", "--port", str(self.port), "--bandwidth", BANDWIDTH),
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
        """Start a device's application."""
        command = (
            *(sys.executable, "-m", "edgeops.demo.device", "--state", str(self.path(name))),
            *("--enrolment", str(self.path(f"{name}.json")), "--rows", str(self.path("rows.npz"))),
        )
        self.processes.start(name, command, self.environment)
        self.say(f"$ python -m edgeops.demo.device --state {name} --enrolment {name}.json … &")

    def kill_broker(self) -> None:
        """Kill the managed broker and take its memory; the hub starts it again, empty."""
        folder = self.path("home") / "broker"
        pids = [int(p.read_text().split()[0]) for p in folder.glob("*.pid")]
        for pid in pids:
            self.say("$ kill -9 mosquitto; rm mosquitto.db")
            os.kill(pid, 9)
        (folder / "mosquitto.db").unlink(missing_ok=True)

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
        done = subprocess.run(
            (program(name), *arguments),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        for line in () if quiet else done.stdout.rstrip().splitlines():
            self.say(f"  {self.short(line)}")
        if done.returncode != exit_code or "Traceback" in done.stdout:
            raise DemoFailed(
                f"{name} {arguments[0]} ended with {done.returncode}, not {exit_code}",
                next_step=f"see the output above, and {self.path('logs')}",
            )
        return done.stdout

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
        deployment = json.loads(done.stdout)["models"].get("digits", {}).get("deployment") or {}
        return deployment.get("chunks_have", 0), deployment.get("chunks_total", 0)

    def sent(self) -> tuple[int, int]:
        """Return chunks and bytes of version 2's blobs that the hub has published so far."""
        manifest = self.client().version("digits:2")["manifest"]
        digests = {
            variant[blob]["digest"]
            for variant in manifest["variants"]
            for blob in ("artifact", "golden")
        }
        sent = self.client().delivery()
        blobs = [sent[digest] for digest in digests if digest in sent]
        return sum(each["chunks"] for each in blobs), sum(each["bytes"] for each in blobs)

    def has_fetched(self, rollout: str, canary: str) -> bool:
        """Whether the canary is past its download."""
        member = next(
            each for each in self.client().rollout(rollout)["members"] if each["device"] == canary
        )
        return member["device_state"] in ("self_test", "activate", "probation", "committed")

    def check_resumed(
        self, canary: str, kept: tuple[int, int], chunks_before: int, bytes_before: int
    ) -> None:
        """Show by the hub's counters that the canary fetched only what was missing."""
        chunks, size = self.sent()
        missing, after = kept[1] - kept[0], chunks - chunks_before
        self.say(f"  since then the hub has sent {after} chunks, {size - bytes_before} bytes")
        if after > missing + IN_FLIGHT:
            raise DemoFailed(f"{after} chunks were sent after the cut, {missing} were missing")
        self.show(
            "a power cut in a download costs little",
            f"{canary} kept {kept[0]} of {kept[1]} chunks; after the cut {after} were sent, "
            f"{size - bytes_before} bytes",
        )

    def show(self, what: str, evidence: str) -> None:
        """Note what was shown."""
        self.shown.append(Shown(what=what, evidence=evidence))


def _actives(device: dict[str, Any]) -> list[int]:
    return [model["active"] for model in device["models"]]
