"""The Python API: an application of a few lines.

::

    from device_agent import Agent

    with Agent.start("state", enrolment="cam-1.json") as agent:
        prediction = agent.infer("digits", row)
        agent.report_label(prediction, 7)
"""

from __future__ import annotations

import logging
import operator
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from device_agent.logs import AGENT_LOGGER, RecentLog
from device_agent.protocol.errors import AgentError, BadInput
from device_agent.protocol.ids import Digest, ModelName
from device_agent.shell.doors import Doors
from device_agent.shell.identity import FolderLock, adopt_identity, offered_enrolment
from device_agent.shell.live import LiveModels
from device_agent.shell.loop import AgentLoop
from device_agent.shell.options import AgentOptions
from device_agent.shell.prediction import Prediction
from device_agent.shell.storage import FolderStorage

logger = logging.getLogger(__name__)

MOST_NAMES_SAID = 20
"""Names of classes in the message about one that is none."""


class Agent:
    """A running agent: it updates and watches its models while the application infers."""

    def __init__(
        self, loop: AgentLoop, lock: FolderLock, live: LiveModels, recent: RecentLog
    ) -> None:
        """Use ``Agent.start``."""
        self._loop = loop
        self._recent = recent
        self._lock = lock
        self._live = live
        self._thread = threading.Thread(target=self._run, name="edgeops-agent", daemon=True)

    @classmethod
    def start(
        cls,
        state: str | Path,
        *,
        enrolment: str | Path | None = None,
        options: AgentOptions | None = None,
        on_turn: Callable[[], None] = lambda: None,
    ) -> Agent:
        """Start an agent on a state folder; returns when its models of before are loaded.

        It works without a network: what was committed before serves at once.

        Args:
            state: folder of this device's state; made if missing.
            enrolment: enrolment file; needed on the first start, adopted into the folder.
            options: intervals and bounds.
            on_turn: called by the agent's thread after each turn of its loop, several times a
                second: for a watchdog. It must return at once.

        Raises:
            NotEnrolled: a new folder and no enrolment file.
            WrongStateFolder: the folder belongs to another device.
            StateFolderBusy: another agent runs on it.
            AgentError: the enrolment file or the folder cannot be used.
        """
        folder = Path(state)
        lock = FolderLock(folder)
        recent = RecentLog()
        try:
            storage = FolderStorage(folder)
            offered = None if enrolment is None else offered_enrolment(storage, Path(enrolment))
            identity = adopt_identity(storage, offered)
            recent.hide(identity.password)
            logging.getLogger(AGENT_LOGGER).addHandler(recent)
            live = LiveModels()
            doors = Doors(log_lines=recent.lines, on_turn=on_turn)
            loop = AgentLoop(folder, identity, live, options=options, doors=doors)
            agent = cls(loop, lock, live, recent)
        except BaseException:
            logging.getLogger(AGENT_LOGGER).removeHandler(recent)
            lock.release()
            raise
        agent._thread.start()
        return agent

    def _run(self) -> None:
        try:
            self._loop.run()
        except AgentError as error:  # anything else is a defect, with its traceback
            told = {"cause": str(error), "next": error.next_step}
            logger.error("agent.ended", extra=told)  # noqa: TRY400 - its cause says it

    def infer(self, model: str, row: Any) -> Prediction:
        """Answer one row with the model that is active right now, on this thread.

        Args:
            model: name of the model.
            row: array-like with as many elements as one input row of the model, in any shape
                (read in C order), of a dtype that casts to the model's without loss of kind.

        Raises:
            NoModel: day zero, no version has been activated yet.
            BadInput: the row does not fit, or ``model`` is no name.
            InferenceFailed: the runtime failed on this row.
        """
        name: Any = model if type(model) is str else _plain_name(model)
        answer, samples = self._live.infer(name, row), self._loop.samples
        if not samples.is_on:
            return answer
        sample = samples.offer(
            name, answer.version, Digest(answer.digest), row, answer.class_index, answer.confidence
        )
        return answer._replace(sample=sample)

    def report_label(self, prediction: Prediction, label: int | str) -> bool:
        """Tell what a prediction should have been; only the count travels, unless it is a sample.

        Args:
            prediction: what ``infer`` returned.
            label: the true class, by index or by name; numpy's integers and strings are taken.

        Returns:
            False if the version that predicted is no longer on this device.

        Raises:
            BadInput: a name for a model whose package has no labels, a class that the model
                does not know, or no label at all (None, True, 1.5); nothing is counted.
        """
        if not isinstance(prediction, Prediction):
            raise BadInput(
                f"{type(prediction).__name__} is no prediction",
                next_step="give what infer returned, and the label",
            )
        given = _plain_label(label)
        name, digest = ModelName(prediction.model), Digest(prediction.digest)
        model = self._live.of(name, digest)
        index = given if isinstance(given, int) else None
        if model is not None:
            index = _class_of(given, prediction, model.manifest.labels, model.variant.classes)
        if prediction.sample is not None and index is not None:
            self._loop.samples.label(prediction.sample, index)
        return self._live.label(name, digest, correct=prediction.class_index == index)

    @property
    def models(self) -> dict[str, int]:
        """The active version of each model, by name."""
        return {str(name): live.manifest.version for name, live in self._live.items()}

    @property
    def counters(self) -> Counter[str]:
        """What was received, dropped and why, since the start."""
        return Counter(self._loop.counters)

    @property
    def is_running(self) -> bool:
        """Whether the agent's thread is alive.

        Without it the models go on to answer, and nothing else of this class does its work: end
        the application then, so that whoever watches over it starts it again.
        """
        return self._thread.is_alive()

    @property
    def restart_wanted(self) -> bool:
        """Whether the hub has commanded a restart: stop this agent, and start another one.

        Only with ``AgentOptions(restarts=True)``; otherwise the command is refused. Models
        answer until ``stop``.
        """
        return self._loop.restart_wanted.is_set()

    def stop(self) -> None:
        """Say farewell, keep everything, and release the state folder."""
        self._loop.stop()
        self._thread.join()
        self._live.close()  # of a loop that ended by itself they still answer
        logging.getLogger(AGENT_LOGGER).removeHandler(self._recent)
        self._lock.release()

    def __enter__(self) -> Agent:
        """Return the agent."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()


def _plain_name(model: object) -> str:
    """Return a name of numpy as Python's own."""
    if not isinstance(model, str):
        raise BadInput(
            f"{type(model).__name__} is no name of a model",
            next_step="infer(model, row): the model by its name, then the row",
        )
    return str(model)


def _plain_label(label: object) -> int | str:
    """Return a label as Python's own, whatever library it is of: it is counted and kept."""
    if isinstance(label, str):
        return str(label)
    try:
        if not isinstance(label, bool):
            return operator.index(label)  # type: ignore[arg-type]
    except TypeError:
        pass  # said below, in our words
    raise BadInput(
        f"{label!r} is no label"[:200],
        next_step="give the true class by its index, a whole number, or by its name",
    )


def _class_of(
    label: int | str, prediction: Prediction, names: tuple[str, ...], known: int | None
) -> int:
    """Return the index of a true class.

    One that cannot be is refused: counted as wrong, a slip of the pen would be a bad model, and
    as a sample it would spoil what is retrained on.

    Args:
        label: by index, or by name.
        prediction: what it is about.
        names: of the classes of the version that predicted; empty for a package without.
        known: how many classes that version has, None if its package does not say.

    Raises:
        BadInput: the version has no such class.
    """
    if isinstance(label, int):
        if label < 0 or (known is not None and label >= known):
            which = f"only 0 to {known - 1}" if known is not None else "they begin at 0"
            raise BadInput(f"{prediction.model} has no class {label}, {which}")
        return label
    if not names:
        raise BadInput(
            f"{prediction.model} has no label names; give the class index",
            next_step="package it with label names, or report the index",
        )
    if label not in names:
        said = ", ".join(names[:MOST_NAMES_SAID]) + (", …" * (len(names) > MOST_NAMES_SAID))
        raise BadInput(
            f"{prediction.model} has no class named {label!r}",
            next_step=f"give one of its names as it is written: {said}",
        )
    return names.index(label)
