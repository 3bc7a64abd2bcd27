"""How an agent behaves."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from device_agent import __version__
from device_agent.monitor.samples import SampleOptions
from device_agent.protocol.errors import BadInput
from device_agent.protocol.reports import LEAST_HEARTBEAT_S, MOST_HEARTBEAT_S
from device_agent.protocol.values import dataclass
from device_agent.shell.doors import Doors
from device_agent.shell.fetch import FetchLimits
from device_agent.shell.link import LinkLimits
from device_agent.shell.outbox import OutboxOptions
from device_agent.shell.packages import Host
from device_agent.shell.zone import find_zone

_DAY_S = 86_400.0
NUMBERS: Mapping[str, tuple[type, float, float]] = {
    "telemetry_interval_s": (float, 0.1, 366 * _DAY_S),
    "telemetry_rows": (int, 1, 10**9),
    "heartbeat_s": (float, LEAST_HEARTBEAT_S, MOST_HEARTBEAT_S),
    "tick_s": (float, 0.001, 10.0),
    "threads": (int, 1, 1024),
    "self_test_timeout_s": (float, 0.1, _DAY_S),
    "self_test_memory_mib": (int, 1, 2**30),
    "reserve_bytes": (int, 0, 2**60),
    "disk_budget_bytes": (int, 1, 2**60),
}
"""Options that are numbers: of which kind, from where to where."""
MAY_BE_NONE = ("self_test_memory_mib", "disk_budget_bytes")
MOST_SELF_TEST_MIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """How an agent behaves; every bound has its default."""

    telemetry_interval_s: float = 60.0
    """Longest telemetry window."""
    telemetry_rows: int = 100_000
    """Inferences of one model after which its window is closed earlier."""
    heartbeat_s: float = 30.0
    """Longest pause between two reported states."""
    tick_s: float = 0.2
    """Longest pause between two looks at downloads, self-tests and probations."""
    threads: int = 1
    """Threads of a runtime."""
    self_test_timeout_s: float = 60.0
    """After this a self-test counts as hung."""
    self_test_memory_mib: int | None = None
    """What a self-test may take, so that no candidate takes the memory of what serves; None: half
    of the machine's memory, at most 1024."""
    reserve_bytes: int = 1024 * 1024
    """Kept free on the disk."""
    restarts: bool = False
    """Whether the program around the agent starts it again when ``restart_wanted`` is set."""
    disk_budget_bytes: int | None = None
    """What the versions of all models together may take; None: what the disk has."""
    time_zone: str = ""
    """IANA name of the zone of maintenance windows; empty: the system's."""
    samples: SampleOptions = field(default_factory=SampleOptions)
    """Raw rows that may leave this device: none by default."""
    outbox: OutboxOptions = field(default_factory=OutboxOptions)
    """How much may wait for the hub, and how fast it is sent."""
    link: LinkLimits = field(default_factory=LinkLimits)
    fetch: FetchLimits = field(default_factory=FetchLimits)

    def __post_init__(self) -> None:
        """Refuse what would keep an agent from being heard.

        Raises:
            BadInput: an option is no number, or beyond its bounds (``NUMBERS``); NaN is both.
        """
        for name, (kind, least, most) in NUMBERS.items():
            value = getattr(self, name)
            if value is not None or name not in MAY_BE_NONE:
                _check_number(name, value, kind, least, most)


def _check_number(name: str, value: object, kind: type, least: float, most: float) -> None:
    takes = (int, float) if kind is float else (int,)
    if not isinstance(value, takes) or isinstance(value, bool) or not least <= value <= most:
        what = "a number" if kind is float else "a whole number"
        raise BadInput(
            f"{name} is {value!r}, not {what} from {least:g} to {most:g}",
            next_step=f"give {what} within these bounds, or leave {name} out",
        )


def host_of(options: AgentOptions, root: Path, profile: str, doors: Doors) -> Host:
    """Return what must be known of this device.

    Raises:
        BadInput: the options name no time zone that this device knows.
    """
    return Host(
        root=root,
        profile=profile,
        machine=doors.machine,
        clock=doors.clock,
        zone=find_zone(options.time_zone),
        agent_version=__version__,
        threads=options.threads,
        reserve_bytes=options.reserve_bytes,
        disk_budget_bytes=options.disk_budget_bytes,
        self_test_timeout_s=options.self_test_timeout_s,
        self_test_memory_mib=options.self_test_memory_mib or self_test_memory_mib(memory_bytes()),
    )


def self_test_memory_mib(machine_bytes: int) -> int:
    """Return how many MiB a self-test may take on a machine with so much memory (0: unknown)."""
    half_mib = machine_bytes // 2**21
    return min(MOST_SELF_TEST_MIB, half_mib) if half_mib else MOST_SELF_TEST_MIB


def memory_bytes() -> int:
    """Return the memory of this machine, 0 if the system does not say."""
    try:
        return max(0, os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0
