"""Drives deployments: journal, then act, then tell the core what came of it.

The table decides (``core.states``), the acts do (``shell.acts``); here is only the order of
things: an act is never begun before its intent is in the journal.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace

from device_agent.core import admission
from device_agent.core.deployment import (
    TRIALS,
    Deployment,
    Do,
    Happened,
    Quarantine,
    Report,
    step,
)
from device_agent.core.loading import slots_to_load
from device_agent.core.records import ModelRecord
from device_agent.core.starts import Care
from device_agent.core.states import ACTS, FINAL, EventType, State
from device_agent.protocol.errors import StorageFailed
from device_agent.protocol.ids import Digest, ModelName
from device_agent.protocol.orders import Desired
from device_agent.protocol.reasons import Reason
from device_agent.shell import journal, packages
from device_agent.shell.acquisition import Acquisition
from device_agent.shell.acts import Acts
from device_agent.shell.blobs import collect_garbage
from device_agent.shell.fetch import Fetcher
from device_agent.shell.live import LiveModels
from device_agent.shell.packages import Host
from device_agent.shell.start_log import StartLog
from device_agent.shell.storage import Storage
from device_agent.shell.trust import Trust

logger = logging.getLogger(__name__)

SAFE_MODE = frozenset({Care.FALLBACK, Care.NOTHING})

CALLED_OFF: Mapping[type, Happened] = {
    admission.Supersede: Happened(
        type=EventType.SUPERSEDED,
        reason=Reason.SUPERSEDED,
        detail="a newer desired state names another version",
    ),
    admission.Withdraw: Happened(
        type=EventType.REFUSED,
        reason=Reason.SUPERSEDED,
        detail="withdrawn: the desired state does not name it any more",
    ),
}

ROLL_BACK_RETRY_S = 1.0
"""Pause before a rollback that the disk refused is tried again."""


class Deployer:
    """The deployments of every model on this device. Used by the loop thread only."""

    def __init__(
        self,
        storage: Storage,
        acts: Acts,
        acquisition: Acquisition,
        *,
        host: Host,
        starts: StartLog,
        pointers: journal.Pointers,
        report: Callable[[Deployment, Mapping[str, float]], None],
    ) -> None:
        """Read the journal; ``recover`` brings the models up."""
        self._pointers = pointers
        self.records = journal.load_records(storage)
        self.desired: Desired | None = None
        self._storage = storage
        self.acts = acts
        self.acquisition = acquisition
        self._host = host
        self._starts = starts
        self._report = report
        self._pending: deque[tuple[ModelName, Happened]] = deque()
        self._plan_is_due = False
        self._unpaid: set[ModelName] = set()
        """Models whose running deployment could not pay for its next trial."""
        self._retry_s: dict[ModelName, float] = {}

    def recover(self, now_s: float) -> None:
        """Bring every model up after a start: the active slot, else the other one.

        A deployment that may already be serving first pays with a trial, durably, before its
        model is loaded, and one that was rolling back is rolled back before anything is loaded.
        What else was under way goes on with ``resume``.
        """
        for name, record in list(self.records.items()):
            if _is_running(record):
                self._restarted(record, now_s)
            self._quarantine_suspects(name)
            if _state(self.records[name]) is State.ROLL_BACK:
                self._carry_out(name, now_s)
            else:
                self._bring_up(self.records[name])
            if not _is_running(self.records[name]):
                journal.keep_record(self._storage, self.records[name])

    def resume(self, now_s: float) -> None:
        """Tidy the disk up, and go on with what ``recover`` found under way.

        By the thread that will call ``tick``: a self-test dies with the thread that starts it.
        """
        self._collect_garbage()
        for name, record in list(self.records.items()):
            waits = _state(record) is State.ROLL_BACK or name in self._unpaid
            if _is_running(record) and not waits:
                self._carry_out(name, now_s)
        self._drain(now_s)

    def want(self, desired: Desired, now_s: float) -> None:
        """Take a newer desired state."""
        self.desired = desired
        self._plan_is_due = True
        self._plan_if_due(now_s)
        self._drain(now_s)

    def tick(self, now_s: float) -> None:
        """Look at downloads, self-tests, probations and deadlines."""
        if self._starts.turned(now_s):
            self._load_the_rest()
        self._plan_if_due(now_s)
        for name, record in list(self.records.items()):
            if not _is_running(record):
                continue
            happened = self.acts.look(record, now_s)
            if happened is None and _state(record) is State.ROLL_BACK:
                due = now_s >= self._retry_s.get(name, 0.0)
                happened = Happened(type=EventType.STORAGE_FAILED) if due else None
            if happened is not None:
                self._happen(name, happened, now_s)
        self._drain(now_s)

    def stop(self) -> None:
        """End what runs beside the loop."""
        self.acts.stop()

    def states(self) -> frozenset[State]:
        """Return the states of all deployments, ended ones too."""
        deployments = (record.deployment for record in self.records.values())
        return frozenset(each.state for each in deployments if each is not None)

    def _load_the_rest(self) -> None:
        """Load what safe mode held back: the agent has shown that it lives without it."""
        if self._starts.care in SAFE_MODE:
            self._starts.care = Care.CAREFUL
            self._plan_is_due = True
            for record in list(self.records.values()):
                if not _is_running(record) and self.serving_slot(record.name) is None:
                    self._bring_up(record)

    @property
    def is_in_safe_mode(self) -> bool:
        """Whether this start loads less than it could."""
        return self._starts.care in SAFE_MODE

    def active_slot(self, name: ModelName) -> str | None:
        """Return the letter that the pointer names, if that slot is filled."""
        letter = self._pointers.of(name)
        record = self.records.get(name)
        return letter if record is not None and letter in record.slots else None

    def serving_slot(self, name: ModelName) -> str | None:
        """Return the active slot if its package answers: a damaged one is no active version."""
        letter = self.active_slot(name)
        if letter is None or not self.acts.serves(
            name, self.records[name].slots[letter].manifest.digest
        ):
            return None
        return letter

    def active_digests(self) -> dict[ModelName, Digest]:
        """Return the package that each pointer names and that answers."""
        return {
            name: record.slots[letter].manifest.digest
            for name, record in self.records.items()
            if (letter := self.serving_slot(name)) is not None
        }

    def _restarted(self, record: ModelRecord, now_s: float) -> None:
        """Tell a deployment that the agent started anew; after a stop that costs no trial."""
        name, deployment = record.name, record.deployment
        if deployment is None:
            return
        if self._starts.was_stopped:
            given_back = replace(deployment, trials_left=deployment.trials_left + 1)
            self.records[name] = replace(record, deployment=given_back)
        restarted = Happened(type=EventType.RESTARTED)
        if not self._happen(name, restarted, now_s, act=False) and deployment.state in TRIALS:
            self._unpaid.add(name)
            self._fail_to_journal(name)

    def _plan_if_due(self, now_s: float) -> None:
        """Look at what is desired, again and again until a disk that cannot be read lets it."""
        if self._plan_is_due:
            self._plan(now_s)
            self._plan_is_due = False

    def _held_digests(self, desired: Desired) -> dict[ModelName, Digest]:
        """Return what serves; in safe mode also what is here and only not loaded."""
        held = self.active_digests()
        if self.is_in_safe_mode:
            for name, order in desired.models.items():
                record = self.records.get(name)
                if record is not None and record.is_known_good(order.manifest.digest):
                    held[name] = order.manifest.digest
        return held

    def _plan(self, now_s: float) -> None:
        if self.desired is None:
            return
        for each in admission.plan(self.desired, self.records, self._held_digests(self.desired)):
            if isinstance(each, (admission.Supersede, admission.Withdraw)):
                self._pending.append((each.model, CALLED_OFF[type(each)]))
                continue
            name = each.deployment.model
            record = self.records.get(name) or ModelRecord(name=name)
            saved = self._save(replace(record, deployment=each.deployment))
            self._report(each.deployment, {})
            if isinstance(each, admission.Start):
                self._carry_out(name, now_s) if saved else self._fail_to_journal(name)

    def _drain(self, now_s: float) -> None:
        while self._pending:
            name, happened = self._pending.popleft()
            self._happen(name, happened, now_s)

    def _happen(
        self, name: ModelName, happened: Happened, now_s: float, *, act: bool = True
    ) -> bool:
        """Let something happen to a deployment; False if that could not be journalled."""
        record = self.records[name]
        if record.deployment is None or record.deployment.is_final:
            return True
        deployment, effects = step(record.deployment, happened, now_s)
        logger.info(
            "deployment.moved",
            extra={"model": name, "to": deployment.state.value, "by": happened.type.value},
        )
        record = replace(record, deployment=deployment)
        for effect in effects:
            if isinstance(effect, Quarantine):
                record = record.with_quarantined(effect.digest, effect.reason)
        saved = _reads_alike(record, self.records[name]) or self._save(record)
        self.records[name] = record
        for effect in effects:
            if isinstance(effect, Report):
                self._report(deployment, effect.evidence)
            elif isinstance(effect, Do) and act:
                if saved or deployment.state in FINAL or deployment.state is State.ROLL_BACK:
                    self._carry_out(name, now_s)
                else:
                    self._fail_to_journal(name)
        return saved

    def _carry_out(self, name: ModelName, now_s: float) -> None:
        record = self.records[name]
        state = _state(record)
        record, happened = self.acts.carry_out(ACTS[state], record, now_s)
        self.records[name] = record
        if state in FINAL:
            journal.keep_record(self._storage, record)
            self._collect_garbage(ended=record)
            self._plan(now_s)
            return
        if state is State.PROBATION:
            self._plan(now_s)  # nobody may want it any more: that had to wait
        if state is State.ROLL_BACK and happened and happened.type is EventType.STORAGE_FAILED:
            self._retry_s[name] = now_s + ROLL_BACK_RETRY_S
        elif happened is not None:
            self._pending.append((name, happened))

    def _save(self, record: ModelRecord) -> bool:
        """Journal a record. A full disk gives way: partial downloads go, then it is tried again.

        If even that fails, the record is kept in memory and False is returned: what serves goes
        on serving, and a restart finds the older journal, whose acts may all be repeated.
        """
        self.records[record.name] = record
        try:
            journal.save_record(self._storage, record)
        except StorageFailed:
            self.acquisition.make_room()
            try:
                journal.save_record(self._storage, record)
            except StorageFailed as error:
                logger.warning("journal.failed", extra={"cause": str(error)})
                return False
        return True

    def _fail_to_journal(self, name: ModelName) -> None:
        failed = Happened(
            type=EventType.STORAGE_FAILED,
            reason=Reason.DISK_FULL,
            detail="the journal could not be written, so the act was not begun",
        )
        self._pending.append((name, failed))

    def _collect_garbage(self, ended: ModelRecord | None = None) -> None:
        keep: frozenset[Digest] = frozenset()
        try:
            if journal.is_anything_lost(self._storage, self.records):
                return
            for record in self.records.values():
                keep |= packages.referenced(self._storage, self._host, record)
            collect_garbage(self._storage, keep)
            if ended is not None:
                journal.forget_damaged(self._storage, ended)
        except StorageFailed as error:
            logger.warning("garbage.failed", extra={"cause": str(error)})

    def _bring_up(self, record: ModelRecord) -> None:
        """Load what may be loaded: usually the active slot, else the other one if committed."""
        active = self.active_slot(record.name)
        for letter in slots_to_load(
            record,
            active,
            self._starts.care,
            is_suspect=self._starts.is_suspect,
            is_unpaid=record.name in self._unpaid,
        ):
            if not self.acts.bring_up(record, letter):
                continue
            if letter != active:
                self._point_to(record.name, letter)
            return
        self.acts.bring_up(record, None)

    def _quarantine_suspects(self, name: ModelName) -> None:
        """Quarantine what ended the process too often: it is no version to fall back to."""
        record = self.records[name]
        for letter, slot in list(record.slots.items()):
            digest = slot.manifest.digest
            if self._starts.is_suspect(digest) and digest not in record.quarantine:
                record = record.with_slot(letter, replace(slot, committed=False))
                record = record.with_quarantined(digest, Reason.KILLED_AGENT)
                self._save(record)
                logger.error(
                    "model.killed_agent", extra={"model": record.name, "version": slot.version}
                )

    def _point_to(self, name: ModelName, letter: str) -> None:
        try:
            self._pointers.point(name, letter)
        except StorageFailed as error:
            logger.warning("pointer.failed", extra={"cause": str(error)})


def make_deployer(
    storage: Storage,
    host: Host,
    live: LiveModels,
    *,
    trust: Trust,
    fetcher: Fetcher,
    starts: StartLog,
    report: Callable[[Deployment, Mapping[str, float]], None],
) -> Deployer:
    """Return a deployer with the hands that it needs.

    Args:
        storage: the disk.
        host: this device.
        live: the models that answer.
        trust: whose orders and packages are obeyed.
        fetcher: brings blobs.
        starts: what may be loaded.
        report: told of each move of a deployment, with its numbers.

    Raises:
        StorageFailed: the journal cannot be read.
    """
    acquisition = Acquisition(
        storage, host=host, trust=trust, fetcher=fetcher, records=lambda: deployer.records
    )
    pointers = journal.Pointers(storage)
    acts = Acts(
        storage, host=host, live=live, acquisition=acquisition, starts=starts, pointers=pointers
    )
    deployer = Deployer(
        storage, acts, acquisition, host=host, starts=starts, pointers=pointers, report=report
    )
    return deployer


def _state(record: ModelRecord) -> State:
    return record.deployment.state if record.deployment is not None else State.FAILED


def _reads_alike(one: ModelRecord, two: ModelRecord) -> bool:
    """Tell whether the journal would say the same: a restart in a download changes nothing."""
    return one.to_document() == two.to_document()


def _is_running(record: ModelRecord) -> bool:
    return record.deployment is not None and not record.deployment.is_final
