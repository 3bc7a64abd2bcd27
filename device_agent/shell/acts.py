"""The acts of a deployment, one method each: what ``core.states.Act`` names, done for real.

Every act takes the journalled record and returns the record and what happened (None: not yet;
look again with ``look``). Every act may be repeated after a power cut.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace

from device_agent.core import admission
from device_agent.core.deployment import Deployment, Happened
from device_agent.core.records import SLOTS, ModelRecord, Slot
from device_agent.core.states import Act, EventType, State
from device_agent.core.window import reason_to_wait
from device_agent.protocol.errors import AgentError, ModelRefused, RuntimeMissing, StorageFailed
from device_agent.protocol.ids import Digest, ModelName
from device_agent.protocol.reasons import Reason
from device_agent.shell import packages
from device_agent.shell.acquisition import Acquisition
from device_agent.shell.journal import Pointers
from device_agent.shell.live import LiveModels
from device_agent.shell.outcome import DONE, Outcome, failed_by
from device_agent.shell.packages import Host
from device_agent.shell.self_test import SelfTest
from device_agent.shell.start_log import StartLog
from device_agent.shell.storage import Storage

logger = logging.getLogger(__name__)


class Acts:
    """Carries out acts with the disk, the network, child processes and the live models."""

    def __init__(
        self,
        storage: Storage,
        *,
        host: Host,
        live: LiveModels,
        acquisition: Acquisition,
        starts: StartLog,
        pointers: Pointers,
    ) -> None:
        """Take the hands that the acts need."""
        self._pointers = pointers
        self._storage = storage
        self._host = host
        self._live = live
        self._acquisition = acquisition
        self._starts = starts
        self._self_tests: dict[ModelName, SelfTest] = {}
        self._activated_s: dict[ModelName, float] = {}
        self._methods: Mapping[Act, Callable[[ModelRecord, Deployment, float], Outcome]] = {
            Act.CHECK_ORDER: self._check_order,
            Act.FETCH_MANIFEST: acquisition.fetch_manifest,
            Act.CHECK_ROOM: acquisition.check_room,
            Act.FETCH_BLOBS: acquisition.fetch_blobs,
            Act.VERIFY_BLOBS: acquisition.verify_blobs,
            Act.WAIT_FOR_WINDOW: self._wait_for_window,
            Act.RUN_SELF_TEST: self._run_self_test,
            Act.FILL_STANDBY_SLOT: self._fill_standby_slot,
            Act.SWITCH_POINTER: self._switch_pointer,
            Act.OBSERVE: self._observe,
            Act.COMMIT_SLOT: self._commit_slot,
            Act.RESTORE_POINTER: self._restore_pointer,
            Act.CLEAN_UP: self._clean_up,
        }
        self._looks: Mapping[State, Callable[[ModelRecord, Deployment, float], Happened | None]] = {
            State.MANIFEST: acquisition.look_at_manifest,
            State.FETCH: acquisition.look_at_fetch,
            State.STAGE: self._look_at_window,
            State.SELF_TEST: self._look_at_self_test,
            State.PROBATION: self._look_at_probation,
        }

    def carry_out(self, act: Act, record: ModelRecord, now_s: float) -> Outcome:
        """Carry out an act; refusals and a failing disk are outcomes, not exceptions."""
        deployment = _deployment_of(record)
        try:
            return self._methods[act](record, deployment, now_s)
        except (ModelRefused, RuntimeMissing, StorageFailed) as error:
            return record, failed_by(error)

    def look(self, record: ModelRecord, now_s: float) -> Happened | None:
        """Tell what came of an act that takes time; also whether its deadline passed."""
        deployment = _deployment_of(record)
        look = self._looks.get(deployment.state)
        try:
            happened = look(record, deployment, now_s) if look else None
        except (ModelRefused, StorageFailed) as error:
            happened = failed_by(error)
        late = deployment.deadline_s is not None and now_s >= deployment.deadline_s
        return self._deadline_passed(deployment) if happened is None and late else happened

    def waits(self, record: ModelRecord) -> str:
        """Return what the running deployment waits for, empty if for nothing or if none runs."""
        running = record.deployment
        staged = running is not None and running.state is State.STAGE
        return self._waits_for(running) if running is not None and staged else ""

    def _waits_for(self, deployment: Deployment) -> str:
        clock = self._host.clock
        return reason_to_wait(deployment.order.activation, clock.wall_s(), self._host.zone)

    def stop(self) -> None:
        """End child processes."""
        for self_test in self._self_tests.values():
            self_test.kill()

    # ---- before the switch

    def _check_order(self, record: ModelRecord, deployment: Deployment, now_s: float) -> Outcome:
        admission.check_order(deployment.order, record)
        return record, DONE

    def _wait_for_window(
        self, record: ModelRecord, deployment: Deployment, now_s: float
    ) -> Outcome:
        return record, self._look_at_window(record, deployment, now_s)

    def _look_at_window(
        self, record: ModelRecord, deployment: Deployment, now_s: float
    ) -> Happened | None:
        return None if self._waits_for(deployment) else DONE

    def _run_self_test(self, record: ModelRecord, deployment: Deployment, now_s: float) -> Outcome:
        manifest, variant = self._acquisition.read_variant(deployment)
        serving = self._live.get(record.name)
        faces_parent = serving is not None and not record.is_known_good(deployment.digest)
        self._self_tests[record.name] = SelfTest(
            host=self._host,
            manifest=manifest,
            variant=variant,
            parent=serving.variant if serving is not None and faces_parent else None,
        )
        return record, None

    def _look_at_self_test(
        self, record: ModelRecord, deployment: Deployment, now_s: float
    ) -> Happened | None:
        self_test = self._self_tests.get(record.name)
        happened = self_test.poll() if self_test is not None else None
        if happened is not None:
            del self._self_tests[record.name]
        return happened

    # ---- the switch and after

    def _fill_standby_slot(
        self, record: ModelRecord, deployment: Deployment, now_s: float
    ) -> Outcome:
        """The version before stays ready to fall back to until its successor passed."""
        letter = record.slot_of(deployment.digest)
        if letter is None:
            active = self._pointers.of(record.name)
            letter = next(each for each in SLOTS if each != active)
            packages.forget_counts(self._storage, record.name, letter)
            order = deployment.order
            slot = Slot(version=order.version, manifest=order.manifest, committed=False)
            record = record.with_slot(letter, slot)
        return replace(record, deployment=replace(deployment, slot=letter)), DONE

    def _switch_pointer(self, record: ModelRecord, deployment: Deployment, now_s: float) -> Outcome:
        name = record.name
        self.save_counts(name)
        self._load(record, deployment.slot)
        self._pointers.point(name, deployment.slot)
        known = record.is_known_good(deployment.digest)
        return record, Happened(type=EventType.KNOWN_GOOD) if known else DONE

    def _observe(self, record: ModelRecord, deployment: Deployment, now_s: float) -> Outcome:
        self._activated_s[record.name] = now_s
        return record, None

    def _look_at_probation(
        self, record: ModelRecord, deployment: Deployment, now_s: float
    ) -> Happened | None:
        from device_agent.shell import observation  # here: few starts find a probation

        elapsed_s = now_s - self._activated_s.get(record.name, now_s)
        model = self._live.get(record.name)
        return observation.look(self._storage, model, record, deployment, elapsed_s)

    def _deadline_passed(self, deployment: Deployment) -> Happened | None:
        if deployment.state is State.PROBATION:
            from device_agent.shell import observation  # here: as above

            return observation.time_is_up(self._live.get(deployment.model), deployment)
        return Happened(
            type=EventType.TIMED_OUT,
            reason=Reason.DOWNLOAD_TIMEOUT,
            detail=f"not fetched within {deployment.order.download_timeout_s:g} s",
        )

    def _commit_slot(self, record: ModelRecord, deployment: Deployment, now_s: float) -> Outcome:
        slot = replace(record.slots[deployment.slot], committed=True)
        floor = max(record.floor, deployment.order.version)
        return replace(record.with_slot(deployment.slot, slot), floor=floor), DONE

    def _restore_pointer(
        self, record: ModelRecord, deployment: Deployment, now_s: float
    ) -> Outcome:
        other = _other(deployment.slot)
        fallback = record.slots.get(other)
        target = other if fallback is not None and fallback.committed else None
        # What was refused stops answering first, even if the disk then refuses the pointer.
        if fallback is None or not self.serves(record.name, fallback.manifest.digest):
            self.bring_up(record, target)
        self._pointers.point(record.name, target)
        if not record.is_known_good(deployment.digest):
            record = record.with_slot(deployment.slot, None)
        return record, DONE

    def _clean_up(self, record: ModelRecord, deployment: Deployment, now_s: float) -> Outcome:
        self._acquisition.stop(record.name)
        self_test = self._self_tests.pop(record.name, None)
        if self_test is not None:
            self_test.kill()
        return record, None

    # ---- used by the deployer too

    def bring_up(self, record: ModelRecord, letter: str | None) -> bool:
        """Load a slot and let it answer; False (and no model) if it cannot or may not be."""
        if letter is not None and letter in record.slots:
            try:
                self._load(record, letter)
                return True
            except AgentError as error:
                logger.warning(
                    "model.not_loaded", extra={"model": record.name, "cause": str(error)}
                )
        self._live.exchange(record.name, None)
        return False

    def _load(self, record: ModelRecord, letter: str) -> None:
        with self._starts.loading(record.slots[letter].manifest.digest):
            packages.load_into(self._storage, self._host, self._live, record, letter)

    def serves(self, name: ModelName, digest: Digest) -> bool:
        """Tell whether this package is what answers now."""
        model = self._live.get(name)
        return model is not None and model.digest == digest

    def save_counts(self, name: ModelName) -> None:
        """Keep the counts of the live model of that name."""
        model = self._live.get(name)
        letter = self._pointers.of(name)
        if model is not None and letter is not None:
            packages.save_counts(self._storage, name, letter, model.counts())


def _deployment_of(record: ModelRecord) -> Deployment:
    if record.deployment is None:
        raise ValueError(f"{record.name} has no deployment")
    return record.deployment


def _other(letter: str) -> str:
    return next(each for each in SLOTS if each != letter)
