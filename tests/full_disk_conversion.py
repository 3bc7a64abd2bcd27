"""``unshare -Urm python -m tests.full_disk_conversion MOUNT MODEL KIB``: a conversion on a file
system of which ``KIB`` are free. Prints what was raised and what is in the cache, as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from edgeops.domain.errors import EdgeopsError
from tests.conversions import Door
from tests.full_disk import fill


def main(mount: Path, model: Path, free_kib: int) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", mount], check=True)
    (mount / "room").write_bytes(bytes(free_kib * 1024))
    cache = mount / "cache"
    cache.mkdir()
    fill(mount)
    (mount / "room").unlink()
    try:
        Door(cache)(model, "tflite-float32", None)
        found = {"error": None}
    except EdgeopsError as error:
        found = {
            "error": type(error).__name__,
            "cause": str(error),
            "next_step": error.next_step,
        }
    print(json.dumps({**found, "cache": [path.name for path in cache.iterdir()]}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
