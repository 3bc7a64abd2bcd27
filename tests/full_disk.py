"""``unshare -Urm python -m tests.full_disk FOLDER INSTALLED``: an update on a file system that
is truly full. Prints what became of it as JSON.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from device_agent.core.states import State
from device_agent.protocol import topics
from device_agent.protocol.enrolment import Enrolment
from device_agent.protocol.ids import Digest
from tests.device_harness import DEVICE, OPTIONS, Device


class Enrolled:
    """Stands for a hub that this process has only the papers of."""

    def __init__(self, data: bytes) -> None:
        self._enrolment = Enrolment.from_bytes(data)

    def enrolment(self) -> Enrolment:
        return self._enrolment


def main(folder: Path, installed: Path) -> None:
    mount = folder / "mount"
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", mount], check=True)
    state = mount / "state"
    shutil.copytree(installed, state)
    device = Device(state, Enrolled((folder / "enrolment.json").read_bytes()), options=OPTIONS)
    device.store = {
        Digest(f"sha256:{path.name}"): path.read_bytes() for path in (folder / "blobs").iterdir()
    }
    device.send(topics.desired(DEVICE), (folder / "order.bin").read_bytes())
    device.reach(State.FETCH)
    fill(mount)
    device.until(lambda: device.state() in (State.FAILED, State.COMMITTED))
    found = {"outcome": list(device.outcome()), "serves": device.infer().version}
    device.crash()
    fill(mount)
    device.start()
    found["serves after a restart"] = device.infer().version
    del device.link.published[:]
    device.loop._changed = True
    device.turn()
    states = [json.loads(said) for topic, said in device.link.published if topic.endswith("state")]
    found["reports after a restart"] = states[-1]["models"]["digits"]["active"]["version"]
    print(json.dumps(found))


def fill(mount: Path) -> None:
    """Leave not one byte, large pieces first."""
    with (mount / "filler").open("ab", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while file.write(bytes(size)):
                    pass
            except OSError:
                continue


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
