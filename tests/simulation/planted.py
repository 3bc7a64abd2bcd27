"""Five bugs, each as an agent that has it: what the simulation must find."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from device_agent.core.deployment import Happened
from device_agent.core.records import ModelRecord
from device_agent.core.states import Act, EventType
from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.orders import Command
from device_agent.protocol.topics import DownTopic
from device_agent.shell import journal, packages
from device_agent.shell.acts import Acts
from device_agent.shell.blobs import collect_garbage
from device_agent.shell.commands import CommandLog, Standing
from device_agent.shell.deployer import Deployer
from device_agent.shell.doors import Doors
from device_agent.shell.loop import AgentLoop
from device_agent.shell.outcome import Outcome
from device_agent.shell.storage import DiskStorage


class ForgetfulStorage(DiskStorage):
    """Renames a document into place before its bytes are on the disk."""

    def replace(self, path: str, data: bytes) -> None:
        with self._door("write", path):
            self._make_parent(path)
            self._disk.write(path + ".new", 0, data, fresh=True)
            self._disk.rename(path + ".new", path)
            self._disk.sync_folder(path.rpartition("/")[0])


def missing_fsync(*args: Any, doors: Doors, **kwargs: Any) -> AgentLoop:
    storage = doors.storage
    assert isinstance(storage, DiskStorage)
    forgetful = ForgetfulStorage(storage._disk, storage.root)
    return AgentLoop(*args, doors=replace(doors, storage=forgetful), **kwargs)


class LateDeployer(Deployer):
    """Loads what is on trial first, and pays the trial after."""

    def recover(self, now_s: float) -> None:
        for name, record in list(self.records.items()):
            self._bring_up(record)
            running = record.deployment
            if running is not None and not running.is_final:
                self._happen(name, Happened(type=EventType.RESTARTED), now_s, act=False)


class CounterAfterLoad(AgentLoop):
    def _recover(self) -> None:
        self._deployer.__class__ = LateDeployer
        super()._recover()


class LostGenerationCheck(AgentLoop):
    """Obeys whatever desired state came last."""

    def _on_desired(self, topic: DownTopic, payload: bytes) -> None:
        desired = self._trust.open_desired(payload, self._device)
        self._desired_file.keep(payload)
        self._accept(desired)


class ForgetfulLog(CommandLog):
    """Does not look at what it remembers."""

    def judge(self, command: Command, wall_s: float, now_s: float) -> Standing:
        return Standing.NEW


class DoubleAct(AgentLoop):
    def _recover(self) -> None:
        self._desk._log.__class__ = ForgetfulLog
        super()._recover()


class GreedyDeployer(Deployer):
    """Keeps only what answers and what is under way."""

    def _collect_garbage(self, ended: ModelRecord | None = None) -> None:
        keep: set[str] = set()
        try:
            for name, record in self.records.items():
                active = journal.read_pointer(self._storage, name)
                slots = {key: slot for key, slot in record.slots.items() if key == active}
                keep |= packages.referenced(self._storage, self._host, replace(record, slots=slots))
            collect_garbage(self._storage, frozenset(keep))
        except StorageFailed:
            return


class CollectedFallback(AgentLoop):
    def _recover(self) -> None:
        self._deployer.__class__ = GreedyDeployer
        super()._recover()


class Hoarder(Deployer):
    """Keeps every package that ever came."""

    def _collect_garbage(self, ended: ModelRecord | None = None) -> None:
        """Collect nothing."""


class NoCollection(AgentLoop):
    def _recover(self) -> None:
        self._deployer.__class__ = Hoarder
        super()._recover()


class ForgetfulActs(Acts):
    """Commits without raising the floor."""

    def carry_out(self, act: Act, record: ModelRecord, now_s: float) -> Outcome:
        after, happened = super().carry_out(act, record, now_s)
        return replace(after, floor=0), happened


class NoFloor(AgentLoop):
    def _recover(self) -> None:
        self._deployer.acts.__class__ = ForgetfulActs
        super()._recover()


class Deaf(AgentLoop):
    """Obeys no order at all."""

    def _on_desired(self, topic: DownTopic, payload: bytes) -> None:
        self.counters["desired.not_newer"] += 1


class Uncommitted(Acts):
    """Ends a deployment well, and does not say in the record that it did."""

    def carry_out(self, act: Act, record: ModelRecord, now_s: float) -> Outcome:
        after, happened = super().carry_out(act, record, now_s)
        return (record if act is Act.COMMIT_SLOT else after), happened


class NoCommit(AgentLoop):
    def _recover(self) -> None:
        self._deployer.acts.__class__ = Uncommitted
        super()._recover()


PLANTED: Mapping[str, tuple[str, Callable[..., AgentLoop]]] = {
    "missing fsync": ("power", missing_fsync),
    "counter after load": ("models", CounterAfterLoad),
    "lost generation check": ("everything", LostGenerationCheck),
    "double act on duplicate": ("everything", DoubleAct),
    "GC of the previous slot": ("calm", CollectedFallback),
}
"""Name → scenario in which it shows, and the agent that has it."""

ALSO_PLANTED: Mapping[str, tuple[str, Callable[..., AgentLoop], str]] = {
    "no garbage collection": ("everything", NoCollection, "invariant 7"),
    "floor never raised": ("everything", NoFloor, "invariant 2"),
    "nothing is ever installed": ("calm", Deaf, "invariant 4"),
    "commit not marked": ("models", NoCommit, "invariant"),
}
"""Bugs that invariants which trust the device's own record do not see, and who finds them."""
