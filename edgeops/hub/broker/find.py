"""Which broker can be run here."""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from os.path import isfile
from pathlib import Path
from typing import Final, Literal

from edgeops.hub.broker.errors import BrokerUnavailable
from edgeops.hub.broker.interface import Broker
from edgeops.hub.broker.iotcore import ManagedIotcore, is_installed
from edgeops.hub.broker.mosquitto import ManagedMosquitto

BrokerKind = Literal["auto", "mosquitto", "iotcore"]

_VERSION: Final = re.compile(r"mosquitto version (\d+)\.(\d+)\.(\d+)")
_ASK_TIMEOUT_S: Final = 10.0
_LOOPBACK: Final = ("127.0.0.1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMosquitto:
    """A Mosquitto that was seen to run.

    Attributes:
        binary: the program.
        library_path: folder of its shared libraries, if they are not the system's.
        version: for example `(2, 0, 11)`.
    """

    binary: Path
    library_path: Path | None
    version: tuple[int, int, int]


def standard_places() -> tuple[Path, ...]:
    """Where a Mosquitto is looked for: PATH, the system's folders, `<sys.prefix>/mosquitto`."""
    on_path = [Path(part) for part in os.get_exec_path() if part]
    return (*on_path, Path("/usr/sbin"), Path("/usr/local/sbin"), Path(sys.prefix, "mosquitto"))


def find_mosquitto(search: Sequence[Path] | None = None) -> FoundMosquitto | None:
    """The first Mosquitto that really runs, or None.

    Args:
        search: folders that hold `mosquitto`, or `bin/mosquitto` and `lib` (as
            scripts/fetch_mosquitto lays them); by default `standard_places()`.
    """
    for folder in standard_places() if search is None else search:
        unpacked = folder / "bin" / "mosquitto"
        binary, libraries = (
            (unpacked, folder / "lib") if isfile(unpacked) else (folder / "mosquitto", None)
        )
        # os.path.isfile, unlike Path.is_file, is False for a folder that we may not look into.
        version = _version_of(binary, libraries) if isfile(binary) else None
        if version is not None:
            return FoundMosquitto(binary=binary, library_path=libraries, version=version)
    return None


def make_broker(
    home: Path,
    port: int,
    kind: BrokerKind = "auto",
    *,
    bind: str = "127.0.0.1",
    search: Sequence[Path] | None = None,
) -> Broker:
    """The broker of the kind asked for; "auto" takes Mosquitto, else iotcore. Starts nothing.

    Args:
        home: the broker's own folder.
        port: TCP port to listen on.
        kind: "auto", "mosquitto" or "iotcore".
        bind: address to listen on; only Mosquitto can listen beyond loopback.
        search: see `find_mosquitto`.

    Raises:
        BrokerUnavailable: there is none; `next_step` says the remedies.
    """
    found = find_mosquitto(search) if kind != "iotcore" else None
    if found is not None:
        return ManagedMosquitto(found.binary, home, port, found.library_path, bind=bind)
    if kind == "mosquitto" or (kind == "auto" and not is_installed()):
        raise BrokerUnavailable(
            "there is no Mosquitto here" + ("" if kind == "mosquitto" else ", and no iotcore"),
            next_step=(
                "run scripts/fetch_mosquitto (no root needed), or install your system's mosquitto "
                "package, or pip install iotcore (development only)"
            ),
        )
    if bind not in _LOOPBACK:
        raise BrokerUnavailable(
            f"iotcore has no accounts, so it does not listen on {bind}",
            next_step="install Mosquitto (scripts/fetch_mosquitto), or bind to 127.0.0.1",
        )
    return ManagedIotcore(home, port)


def _version_of(binary: Path, libraries: Path | None) -> tuple[int, int, int] | None:
    environment = {**os.environ, **({"LD_LIBRARY_PATH": str(libraries)} if libraries else {})}
    try:
        answer = subprocess.run(
            [binary, "-h"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=_ASK_TIMEOUT_S,
            check=False,  # It exits with 3 after printing its help.
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(answer.stdout)
    return (int(match[1]), int(match[2]), int(match[3])) if match else None
