"""What tests of real processes share: ports to listen on, and whether a process is there."""

from __future__ import annotations

import random
import socket
from pathlib import Path


def free_port() -> int:
    """A port below the range that the kernel gives to clients."""
    while True:
        port = random.randrange(20_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def process_runs(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False
