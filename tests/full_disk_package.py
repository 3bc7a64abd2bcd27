"""``unshare -Urm python -m tests.full_disk_package MOUNT KIB MODEL PROFILE [EVALUATION CALIBRATION]``:
a package while ``KIB`` are free where temporary files go. Prints what was raised, as JSON.

All else (the cache, the layout) is on another disk, with room.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from edgeops.domain.errors import EdgeopsError
from edgeops.packaging.build import build_package
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import SigningKey
from tests.full_disk import fill


def main(mount: Path, free_kib: int, model: Path, profile: str, *rows: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount], check=True)
    tempfile.tempdir = str(mount)
    (mount / "room").write_bytes(bytes(free_kib * 1024))
    fill(mount)
    (mount / "room").unlink()
    evaluation, calibration = map(Path, rows) if rows else (None, None)
    request = PackageRequest(
        models=(model,),
        name="digits",
        version=1,
        profiles=(profile,),
        golden=evaluation,
        evaluation=evaluation,
        calibration=calibration,
        recipes=("int8",) if rows else (),
        cache=mount.with_name("cache"),
        max_drop=0.1,
    )
    try:
        build_package(request, SigningKey.generate(), lambda _: None)
        found = {"error": None}
    except EdgeopsError as error:
        found = {
            "error": type(error).__name__,
            "cause": str(error),
            "next_step": error.next_step,
        }
    left = [path.name for path in mount.iterdir() if path.name != "filler"]
    print(json.dumps({**found, "left": left}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])
