"""One install with something done to one of its system calls, and what must hold after."""

from __future__ import annotations

import os
import shutil
import signal
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from device_agent.core.states import State
from device_agent.protocol.errors import AgentError
from device_agent.shell.storage import FolderStorage, Storage
from tests.crashpoints.calls import Kind, Point, is_done, read_points
from tests.crashpoints.installer import Broken, Installer
from tests.crashpoints.left_behind import look_at_folder
from tests.crashpoints.scenarios import Scenario, Shop
from tests.crashpoints.tracing import Life, Way, run_traced

LASTING_TURNS = 40
"""How long a disk stays full or read-only: until after an install would have ended."""
CHUNKS_BEFORE_KILL = 3
OUTBOX_KEYS = ("event", "windows", "samples", "outcome")


@dataclass(slots=True)
class Ledger:
    """What the hub has got over all lives: a number of a stream has one content, and none lacks."""

    items: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)

    def add(self, item: dict[str, Any]) -> None:
        content = {key: item[key] for key in OUTBOX_KEYS if key in item}
        known = self.items.setdefault(item["stream"], {}).setdefault(item["sequence"], content)
        if known != content:
            raise Broken(f"item {item['sequence']} came with two contents: {known}, {content}")

    def check(self) -> None:
        for stream, items in self.items.items():
            if sorted(items) != list(range(min(items), min(items) + len(items))):
                raise Broken(f"stream {stream} has gaps: {sorted(items)}")


class Experiment:
    """A scenario with its folder prepared; every attempt begins on a copy of it."""

    def __init__(
        self,
        scenario: Scenario,
        work: Path,
        *,
        storage: Callable[[Path], Storage] = FolderStorage,
    ) -> None:
        """Prepare the state folder.

        Args:
            scenario: what is done.
            work: a folder for it all.
            storage: how the device opens its folder: by the agent's own, or a worse one.
        """
        self.scenario = scenario
        self._shop = Shop()
        self._storage = storage
        self._prepared = work / "prepared" / "state"
        self._folder = work / "attempt" / "state"
        self._log = work / "log"
        self._generation = len(scenario.before) + 1
        self._prepare()

    def points(self) -> list[Point]:
        """Do the install once, undisturbed; return its calls.

        Raises:
            Broken: even so it does not end as it should.
        """
        self._rehearse()
        self._copy()
        life = run_traced(partial(self._live, Kind.KILL), self._log)
        finding = self._judge(Kind.KILL, life, done=True)
        if finding:
            raise Broken(f"{self.scenario.name}, undisturbed: {finding}")
        return read_points(life.log, self._folder)

    def attempt(self, point: Point, kind: Kind) -> str:
        """Do the install with something done to a call; return what was wrong, else empty."""
        self._copy()
        life = run_traced(partial(self._live, kind), self._log, point.injection(kind))
        return self._judge(kind, life, done=is_done(life.log, kind))

    # ---- before

    def _prepare(self) -> None:
        shutil.rmtree(self._prepared, ignore_errors=True)
        self._prepared.mkdir(parents=True)
        for at, version in enumerate(self.scenario.before):
            earlier = Scenario(name="before", before=self.scenario.before[:at], wanted=version)
            installer = Installer(self._prepared, earlier, self._shop)
            installer.start(at + 1, version)
            installer.converge(by_the_disk=False)
            installer.stop()
        if self.scenario.left_in is not None:
            child = os.fork()
            if not child:
                self._die_in(self.scenario.left_in)
            if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
                raise Broken(f"{self.scenario.name} cannot be prepared")

    def _die_in(self, state: State) -> None:
        """Be a device that is killed in this state."""
        try:
            chunks = CHUNKS_BEFORE_KILL if state is State.FETCH else 10**6
            installer = Installer(self._prepared, self.scenario, self._shop, chunks=chunks)
            installer.start(self._generation, self.scenario.wanted)
            installer.reach(state)
            os.kill(os.getpid(), signal.SIGKILL)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)

    def _rehearse(self) -> None:
        """Do it in this process: what it imports on the way, no fork of it opens any more."""
        self._copy()
        installer = Installer(self._folder, self.scenario, self._shop)
        installer.start(self._generation, self.scenario.wanted)
        installer.converge(by_the_disk=False)
        installer.stop()

    def _copy(self) -> None:
        shutil.rmtree(self._folder.parent, ignore_errors=True)
        shutil.copytree(self._prepared, self._folder)

    # ---- the traced process

    def _live(self, kind: Kind, way: Way) -> None:
        """Install, in the traced process; tell how it went."""
        installer = Installer(
            self._folder,
            self.scenario,
            self._shop,
            tell=lambda item: way.tell(item=item),
            storage=self._storage,
        )
        try:
            installer.start(self._generation, self.scenario.wanted)
            if kind.lasts:
                for _ in range(LASTING_TURNS):
                    installer.turn()
                way.free_disk()
            installer.converge(by_the_disk=kind is not Kind.KILL)
            way.tell(generation=installer.hub.generation)
            installer.stop()
        except Broken as broken:
            way.tell(broken=str(broken))
        except AgentError as error:
            way.tell(refused=str(error))

    # ---- after

    def _judge(self, kind: Kind, life: Life, *, done: bool) -> str:
        try:
            self._check_life(kind, life, done=done)
            self._check_after(life)
        except Broken as broken:
            return str(broken)
        except Exception:
            return f"after it: {_last_line(traceback.format_exc())}"
        return ""

    def _check_life(self, kind: Kind, life: Life, *, done: bool) -> None:
        if life.is_hung:
            raise Broken("the process hung")
        if not done:
            raise Broken("the call was never made: is the install not the same each time?")
        for facts in life.told:
            if "broken" in facts:
                raise Broken(facts["broken"])
            if "crash" in facts:
                raise Broken(f"the agent crashed: {_last_line(facts['crash'])}")
            if "refused" in facts and self.scenario.before:
                raise Broken(f"the agent with a working version gave up: {facts['refused']}")

    def _check_after(self, life: Life) -> None:
        """Start an agent on what was left: it serves at once, and becomes what is wanted."""
        ledger = Ledger()
        for item in _all_of(life, "item"):
            ledger.add(item)
        generation = max(_all_of(life, "generation"), default=self._generation)
        installer = Installer(self._folder, self.scenario, self._shop, tell=ledger.add)
        installer.start(generation, self.scenario.wanted)
        try:
            installer.converge(by_the_disk=False)
        except BaseException:
            installer.crash()
            raise
        installer.stop()
        ledger.check()
        look_at_folder(self._folder)


def _all_of(life: Life, kind: str) -> Iterable[Any]:
    return [facts[kind] for facts in life.told if kind in facts]


def _last_line(text: str) -> str:
    """Return the error of a traceback, and where in our own code it was raised."""
    lines = text.strip().splitlines()
    places = [line.strip() for line in lines if "/device_agent/" in line and "File" in line]
    return f"{lines[-1]}" + (f" ({places[-1]})" if places else "")
