"""A hub with its broker, and devices, as real processes on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeops.client import Client
from edgeops.demo.processes import Processes, free_port, program
from edgeops.domain.errors import EdgeopsError
from tests.digits_models import digits, tflite_path

EXAMPLES = Path(__file__).parents[1] / "examples"
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


@contextmanager
def running_site(folder: Path) -> Iterator[Site]:
    """Keep a hub running that has published ``digits:1``."""
    with Processes(folder / "logs") as processes:
        site = Site(folder, processes, free_port(), free_port())
        split = digits(0)
        np.savez(folder / "golden.npz", x=split.golden_x, y=split.golden_y)
        np.savez(folder / "rows.npz", x=split.stream_x, y=split.stream_y)
        site.edgeops("keys", "init")
        site.up()
        site.package(1, 1)
        yield site
        site.close()
