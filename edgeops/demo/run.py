"""The guided run: a model's whole loop in a small fleet, by public commands only.

Every command is printed before it runs; what is checked beside the commands uses the public
client and `device-agent status`. Nothing here reaches into the hub or the agents.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgeops.demo import digits
from edgeops.demo.network import spoiled_network, write_network
from edgeops.demo.processes import DemoFailed
from edgeops.demo.stage import BANDWIDTH, MODEL, PROFILES, Shown, Stage
from edgeops.demo.tflite_mlp import write_mlp

CHUNK = "1k"
MIN_CHUNKS = 20
IN_FLIGHT = 8
"""Chunks that may be sent again because they were on their way when the power was cut."""
PROBATION = ("--probation", "min_inferences=60", "--probation", "timeout_s=60")
TRAINED = ("model.keras", "model.onnx", "model.tflite")
MIN_SAMPLES = 2600
LATE_S = 3.0
"""How long labels come late."""
QUANTIZED_DROP = "0.03"
EVALUATION_DROP = "0.05"
PREPROCESSING = {"scale": 1 / digits.PIXEL_MAX, "mean": [], "std": [], "shape": []}


@dataclass(slots=True, kw_only=True)
class Demo(Stage):
    """The story, a method for each step."""

    parts: digits.DigitsSplit | None = None
    shifted_s: float = 0.0
    labelled_s: float = 0.0
    harm: dict[str, Any] = field(default_factory=dict)
    harmed_accuracy: float = 0.0

    def run(self) -> list[Shown]:
        """Run every step in order; return what was shown.

        Raises:
            EdgeopsError: a step failed, or did not show what it should have.
        """
        trainer = "scikit-learn" if self.options.quick else "Keras"
        for title, step in (
            (f"Train version 1 with {trainer} on handwritten digits", self.train),
            ("Make keys and start the hub", self.start_hub),
            ("Package version 1: convert, quantize, evaluate, gate, sign", self.package_first),
            ("Enroll and start the devices", self.start_devices),
            ("Roll out version 1 and cut a device's power during its download", self.roll_out),
            ("Say on what to retrain, and when", self.set_policy),
            ("Turn, blur and brighten the cameras of one hall", self.shift),
            ("Labels come late, and show harm", self.label),
            ("Retrain on the rows that the devices let out, and compare", self.retrain),
            ("The better version rolls out; hub and broker are killed on its way", self.survive),
            ("Is the harm gone?", self.check_cured),
            ("Version 3 is signed and loads, but answers nonsense", self.stop_nonsense),
            ("Look at lineage, fleet and audit; write the report", self.look),
        ):
            self.say(f"\n── {title}")
            step()
        return self.shown

    # ---- steps

    def train(self) -> None:
        """Write the rows, and train version 1 by the script that later retrains."""
        self.parts = parts = digits.split(self.options.seed)
        chance = np.random.default_rng(self.options.seed)
        golden = chance.permutation(len(parts.evaluation_x))[: digits.GOLDEN_ROWS]
        for name, x, y in (
            ("train", parts.train_x, parts.train_y),
            ("evaluation", parts.evaluation_x, parts.evaluation_y),
            ("golden", parts.evaluation_x[golden], parts.evaluation_y[golden]),
            ("rows", parts.stream_x, parts.stream_y),
        ):
            np.savez(self.path(f"{name}.npz"), x=x, y=y)
        np.savez(self.path("garbage.npz"), x=digits.garbage(parts))
        np.save(self.path("row.npy"), parts.stream_x[0])
        self.path("preprocessing.json").write_text(json.dumps(PREPROCESSING))
        script = Path(__file__).with_name(
            "train_quick.py" if self.options.quick else "train_keras.py"
        )
        shutil.copy(script, self.path("train.py"))
        self.say(
            f"{len(parts.train_x)} rows train, {len(parts.evaluation_x)} evaluate, "
            f"{len(parts.stream_x)} others are what the devices will see"
        )
        self.run_script()

    def start_hub(self) -> None:
        """Make keys, start `edgeops up` and wait until it works."""
        self.edgeops("keys", "init")
        self.up("--bandwidth", BANDWIDTH)

    def package_first(self) -> None:
        """Refuse a truncated model and garbage calibration; package version 1."""
        broken = self.path("truncated.onnx")
        broken.write_bytes(self.trained()[0].read_bytes()[:1000])
        self.package(1, [broken], exit_code=1)
        self.package(1, self.trained(), calibration="garbage.npz", golden=False, exit_code=3)
        self.package(1, self.trained())
        variants = self.client().version(f"{MODEL}:1")["manifest"]["variants"]
        for variant in variants:
            evidence = variant["evidence"]
            self.show(
                f"{variant['runtime']}: {evidence['recipe']}, measured against float",
                f"{evidence['float_accuracy']:.3f} → {evidence['accuracy']:.3f}, drop below "
                f"{evidence['drop_high']:.3f}, {evidence['float_size_bytes']} → "
                f"{evidence['size_bytes']} bytes",
            )
        self.show("calibrated on garbage", "refused by the quality gate, exit code 3")

    def start_devices(self) -> None:
        """Enroll and start; before any rollout a device has no model and says so."""
        for index, name in enumerate(self.names):
            hall = "b" if name in self.shifted else "a"
            self.edgeops(
                *("devices", "enroll", name, "--profile", PROFILES[index % 2]),
                *("--label", "site=lab", "--label", f"hall={hall}"),
                *("--out", str(self.path(f"{name}.json"))),
                quiet=index > 0,
            )
            self.start_device(name)
        self.wait("all devices online", self.all_online)
        self.infer(exit_code=1)
        self.show("day zero: a device without a model says so", "exit code 1 and the next step")

    def roll_out(self) -> None:
        """Version 1 to everybody; the canary is killed in the middle of its download."""
        rollout = self.edgeops(*self.rollout_command(1)).strip()
        canary = self.wait("the canary downloads", lambda: self.downloading(rollout))
        self.processes.kill(canary)
        self.say(f"$ kill -9 {canary}")
        self.wait("its death is known", lambda: not self.client().device(canary)["online"])
        kept = self.chunks_of(canary)
        before = self.sent(1)
        self.say(f"  its bitmap vouches for {kept[0]} of {kept[1]} chunks")
        if not kept[1] >= MIN_CHUNKS or not 0 < kept[0] < kept[1]:
            raise DemoFailed(f"the download was not cut in its middle: {kept}")
        self.start_device(canary)
        self.wait("it has fetched the rest", lambda: self.has_fetched(rollout, canary))
        self.check_resumed(canary, kept, before)
        self.edgeops("rollout", "watch", rollout, "--timeout", "150")
        self.infer()

    def set_policy(self) -> None:
        """Data sets, and the policy by which harm asks for a retraining."""
        for name in ("train", "evaluation"):
            self.edgeops("data", "add", f"{MODEL}-{name}", str(self.path(f"{name}.npz")))
        self.edgeops(
            *("retrain", "policy", MODEL, "--data", f"{MODEL}-train"),
            *("--evaluation", f"{MODEL}-evaluation", "--auto", "--rollout", "site=lab"),
            *("--min-samples", str(MIN_SAMPLES), "--max-drop", EVALUATION_DROP),
        )

    def shift(self) -> None:
        """Shift half of the fleet; an alarm of drift names it."""
        time.sleep(1.0)  # a little of how it was
        self.shifted_s = time.time()
        self.path("shifted").touch()
        self.say("$ touch shifted")
        alarm = self.wait("an alarm of drift", lambda: self.open_alarm("drift", 1, self.shifted))
        self.edgeops("drift", "status")
        self.edgeops("drift", "show", alarm["id"])
        if set(alarm["devices"]) != set(self.shifted) or alarm["cohort"] != "hall=b":
            raise DemoFailed(f"{alarm['id']} names {alarm['devices']}, cohort {alarm['cohort']!r}")
        if self.client().retrainings():
            raise DemoFailed("drift alone asked for a retraining")
        self.show(
            "drift is named, and alone asks for nothing",
            f"{alarm['cohort']}, {len(alarm['features'])} features, since "
            f"{alarm['since_s'] - self.shifted_s:+.0f} s of the shift",
        )

    def label(self) -> None:
        """Labels of everything so far come at once: the harm is named, and asks for help."""
        time.sleep(LATE_S)
        self.labelled_s = time.time()
        self.path("labelled").touch()
        self.say("$ touch labelled")
        self.harm = self.wait("an alarm of harm", lambda: self.open_alarm("harm", 1, self.shifted))
        self.edgeops("drift", "show", self.harm["id"])
        if set(self.harm["devices"]) != set(self.shifted):
            raise DemoFailed(f"{self.harm['id']} names {self.harm['devices']}")
        self.wait("a retraining is asked for", self.client().retrainings)
        self.edgeops("drift", "status", f"{MODEL}:1")

    def retrain(self) -> None:
        """Train, package, compare; the hub only learns of what is better."""
        self.edgeops("retrain", "list")
        self.edgeops("retrain", "run", "--script", str(self.path("train.py")))
        ended = self.client().retrainings()[0]
        self.edgeops("retrain", "show", ended["id"])
        # From here on labels are of answers to shifted rows alone: the late ones have come.
        right, labelled = self.accuracy(1, self.shifted, self.labelled_s + LATE_S)
        self.harmed_accuracy = right / max(1, labelled)
        self.show(
            "late labels show harm",
            f"{self.harm['id']}: {self.harmed_accuracy:.3f} right in hall b",
        )
        for each in ended["contests"]:
            if each["name"] == "drifted":
                self.show(
                    f"better on {each['rows']} unseen drifted rows ({each['runtime']})",
                    f"{each['champion']:.3f} → {each['challenger']:.3f}, gain between "
                    f"{each['gain_low']:+.3f} and {each['gain_high']:+.3f}",
                )
        if ended["state"] != "published" or not ended["rollout"]:
            raise DemoFailed(f"{ended['id']} is {ended['state']}: {ended['why']}")

    def survive(self) -> None:
        """The retraining's own rollout; hub, then broker, are killed on its way."""
        rollout = self.client().retrainings()[0]["rollout"]
        self.wait("the canary has it", lambda: self.committed(rollout) >= 1)
        self.processes.kill("hub")
        self.say("$ kill -9 hub")
        self.up()
        if self.options.broker is None:
            self.wait("the next wave has it", lambda: self.committed(rollout) >= 2)
            self.kill_broker()
        self.edgeops("rollout", "watch", rollout, "--timeout", "150")
        end = self.client().rollout(rollout)
        done = sum(member["state"] == "committed" for member in end["members"])
        if end["state"] != "completed":
            raise DemoFailed(f"rollout {rollout} is {end['state']}: {end['why']}")
        self.show(
            "hub and broker killed in the middle",
            f"rollout {rollout} {end['state']}, {done} of {len(end['members'])} devices",
        )

    def check_cured(self) -> None:
        """Accuracy of version 2 in the shifted hall; no alarm of harm on it."""
        self.wait("labels of version 2", lambda: self.accuracy(2, self.shifted, 0.0)[1] >= 600)
        right, labelled = self.accuracy(2, self.shifted, 0.0)
        self.edgeops("drift", "status", f"{MODEL}:2")
        if self.open_alarm("harm", 2, ()) or right / labelled <= self.harmed_accuracy:
            raise DemoFailed(f"{right} of {labelled} right with version 2: harm goes on")
        for alarm in self.client().alarms(only_open=True):
            if alarm["version"] == 1:
                reason = f"version 1 was replaced by {MODEL}:2"
                self.edgeops("drift", "close", alarm["id"], "--reason", reason)
        self.show(
            "the harm is gone",
            f"hall b: {self.harmed_accuracy:.3f} → {right / labelled:.3f} right "
            f"(on {labelled} labelled rows)",
        )

    def stop_nonsense(self) -> None:
        """Version 3: refused by its gates; waived, it is stopped by the canary itself."""
        files = self.nonsense()
        self.package(3, files, exit_code=3)
        why = "the demo wants to see the device refuse it"
        # At chance level a few rows more or less are luck: the gate of quality may miss too.
        waived = (
            part for gate in ("golden", "quality") for part in ("--waive", gate, "--reason", why)
        )
        self.package(3, files, *waived)
        self.edgeops(*self.rollout_command(3), "--wait", exit_code=4)
        rollout = self.client().rollouts()[-1]
        saw = [m for m in rollout["members"] if m["ordered_s"] is not None]
        bad = [
            device["device"]
            for device in self.client().devices()
            if any(model["active"] == 3 for model in device["models"])
        ]
        if len(saw) != 1 or bad:
            raise DemoFailed(f"{len(saw)} devices saw version 3, {bad} still serve it")
        self.show(
            "a broken version stops at the canary",
            f"{saw[0]['device']}: {saw[0]['reason']}; "
            f"{len(rollout['members']) - 1} devices never saw it; exit code 4",
        )

    def look(self) -> None:
        """Lineage, fleet, audit, report."""
        self.edgeops("lineage", f"{MODEL}:2")
        self.edgeops("devices", "list")
        self.edgeops("audit", "verify")
        self.edgeops("doctor")
        self.edgeops("report", MODEL, "--out", str(self.options.report))
        counters = self.client().hub()["counters"]
        windows = self.client().telemetry(MODEL, limit=1000)
        samples = self.client().samples(MODEL)
        self.show("every act is in one verified chain", f"{self.client().verify_audit()['why']}")
        self.show(
            "telemetry is counts; rows only where their owner says so",
            f"{sum(w['inferences'] for w in windows)} inferences in {len(windows)} windows, "
            f"{samples['samples']} samples, {counters.get('dropped.telemetry.malformed', 0)} "
            "malformed",
        )
        self.show("the whole story as a page", str(self.options.report))

    # ---- what the steps are made of

    def run_script(self) -> None:
        """Train version 1 by the contract of training scripts, as a worker would."""
        out = self.path("trained")
        out.mkdir()
        request = {
            "schema_version": 1,
            "id": "first",
            "model": MODEL,
            "seed": self.options.seed,
            "labels": [],
            "preprocessing": {**PREPROCESSING, "layout": "as-is"},
            "parent": None,
            "data": {"train": [str(self.path("train.npz"))]},
        }
        self.path("request.json").write_text(json.dumps(request))
        self.say("$ python train.py request.json trained")
        done = subprocess.run(
            (sys.executable, str(self.path("train.py")), str(self.path("request.json")), str(out)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        self.say(f"  {(done.stdout.strip().splitlines() or ['it said nothing'])[-1]}")
        if done.returncode:
            raise DemoFailed(f"train.py ended with {done.returncode}", next_step="see above")

    def trained(self) -> list[Path]:
        """Return the model files of version 1."""
        found = [self.path("trained") / name for name in TRAINED]
        return [path for path in found if path.exists()]

    def nonsense(self) -> list[Path]:
        """Write version 3: a trained network with shuffled weights, for both runtimes."""
        if self.parts is None:
            raise DemoFailed("there are no rows yet")
        x, y = self.parts.train_x / digits.PIXEL_MAX, self.parts.train_y
        network = spoiled_network(x, y, self.options.seed)
        onnx, tflite = self.path("broken.onnx"), self.path("broken.tflite")
        write_network(network, onnx)
        layers = list(zip(network.coefs_, network.intercepts_, strict=True))
        tflite.write_bytes(write_mlp(layers))
        return [onnx, tflite]

    def package(
        self,
        number: int,
        files: list[Path],
        *more: str,
        calibration: str = "train.npz",
        golden: bool = True,
        exit_code: int = 0,
    ) -> None:
        """Package (and so publish) a version for both profiles."""
        self.edgeops(
            *("package", *map(str, files), "--name", MODEL, "--version", str(number)),
            *(part for profile in PROFILES for part in ("--profile", profile)),
            *("--preprocessing", str(self.path("preprocessing.json"))),
            *("--recipe", "int8", "--calibration", str(self.path(calibration))),
            *("--evaluation", str(self.path("evaluation.npz")), "--max-drop", QUANTIZED_DROP),
            *(("--golden", str(self.path("golden.npz"))) if golden else ()),
            *("--min-accuracy", "0.75"),
            *("--chunk-size", CHUNK, *more),
            exit_code=exit_code,
        )

    def rollout_command(self, number: int) -> tuple[str, ...]:
        """Return the command that rolls a version out, canary first."""
        steps = "100%" if self.options.quick else "50%,100%"
        return (
            *("rollout", "create", f"{MODEL}:{number}", "--selector", "site=lab"),
            *("--canary", "1", "--steps", steps, "--device-timeout", "90", *PROBATION),
        )

    def infer(self, exit_code: int = 0) -> None:
        """Ask the first device for an answer."""
        self.device_agent(
            *("infer", "--state", str(self.path(self.names[0])), "--model", MODEL),
            *("--input", str(self.path("row.npy"))),
            exit_code=exit_code,
        )

    def check_resumed(self, canary: str, kept: tuple[int, int], before: tuple[int, int]) -> None:
        """Show by the hub's counters that the canary fetched only what was missing."""
        chunks, size = self.sent(1)
        missing, after = kept[1] - kept[0], chunks - before[0]
        self.say(f"  since then the hub has sent {after} chunks, {size - before[1]} bytes")
        if after > missing + IN_FLIGHT:
            raise DemoFailed(f"{after} chunks were sent after the cut, {missing} were missing")
        self.show(
            "a power cut in a download costs little",
            f"{canary} kept {kept[0]} of {kept[1]} chunks; after the cut {after} were sent",
        )
