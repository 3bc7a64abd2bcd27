"""The doors of an agent: everything outside of it that it touches.

A device has the real ones, which are the defaults. A simulation has a virtual clock, a disk that
loses power and a network that loses messages, and so runs the very agent that devices run.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from device_agent.protocol.values import dataclass
from device_agent.runtimes.available import available_runtimes, get_runtime

if TYPE_CHECKING:
    import sqlite3

    from device_agent.runtimes.contract import LoadedModel
    from device_agent.runtimes.probe_report import ProbeReport, ProbeSpec
    from device_agent.shell.link import LinkLike
    from device_agent.shell.storage import Storage


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """Two clocks: ``monotonic_s`` for timeouts, ``wall_s`` for windows of time and expiry only.

    The wall clock may be wrong by decades and may jump; nothing waits by it.
    """

    monotonic_s: Callable[[], float] = time.monotonic
    wall_s: Callable[[], float] = time.time
    boot: str | None = None
    """Names the start of the machine since when ``monotonic_s`` counts; None: ask the kernel."""


class Probe(Protocol):
    """A trial of a model in another process, under way."""

    def poll(self) -> ProbeReport | None:
        """Return what came of it, None while it runs."""
        ...

    def kill(self) -> None:
        """End it."""
        ...


def _load(runtime: str, path: Path, threads: int) -> LoadedModel:
    return get_runtime(runtime).load(path, threads)


def _start_probe(spec: ProbeSpec, timeout_s: float) -> Probe:
    from device_agent.runtimes.child import start_probe  # here: few starts install anything

    return start_probe(spec, deadline_s=time.monotonic() + timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What runs models here.

    Attributes:
        runtimes: names of the runtimes.
        load: runtime's name, file and threads to a model in this process; raises
            ``ModelRefused`` or ``RuntimeMissing``.
        start_probe: what to try and within how many seconds, to a trial in a process of its own;
            raises ``ModelRefused`` if the system gives none.
    """

    runtimes: frozenset[str] = field(default_factory=available_runtimes)
    load: Callable[[str, Path, int], LoadedModel] = _load
    start_probe: Callable[[ProbeSpec, float], Probe] = _start_probe


def _new_id() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """What an agent is given of the world.

    Attributes:
        clock: the time.
        machine: what runs models.
        storage: None for the state folder itself.
        link: None for a connection to the enrolment's broker.
        outbox: opens the outbox's database; None for a file in the state folder.
        new_id: gives names that nobody else has.
        log_lines: gives the recent log when the hub asks for it.
        on_turn: called after each turn of the loop: what shows that it is not hung.
    """

    clock: Clock = field(default_factory=Clock)
    machine: Machine = field(default_factory=Machine)
    storage: Storage | None = None
    link: LinkLike | None = None
    outbox: Callable[[], sqlite3.Connection] | None = None
    new_id: Callable[[], str] = _new_id
    log_lines: Callable[[], Sequence[str]] = tuple
    on_turn: Callable[[], None] = lambda: None
