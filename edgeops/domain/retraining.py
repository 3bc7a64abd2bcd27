"""Values of retraining: data sets, policies, and one retraining from its request to its end."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from device_agent.protocol.ids import Digest, ModelName
from edgeops.domain.errors import InvalidInput

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MIN_SAMPLES = 200
MAX_DROP = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSet:
    """One version of a data set: rows that never change, named by the digest of their file.

    Attributes:
        name: of the data set.
        number: of the version, from 1.
        digest: of the ``.npz`` with ``x`` ``[n, ...]`` and, if labelled, ``y`` ``[n]``.
        rows: how many.
        labelled: whether there are labels.
        origin: where the rows come from (``file``, ``samples``, ``split``, …).
        created_s: seconds since the epoch.
        created_by: who added it.
    """

    name: str
    number: int
    digest: Digest
    rows: int
    labelled: bool
    origin: Mapping[str, str]
    created_s: float
    created_by: str

    @property
    def reference(self) -> str:
        """``name:number``."""
        return f"{self.name}:{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrainPolicy:
    """When a model is retrained, on what, and what becomes of a better one.

    Attributes:
        model: name of the model.
        data: data sets to train on, beside the samples; their newest versions are taken.
        evaluation: data set with the rows that the parent was evaluated on.
        auto: whether an alarm of harm asks for a retraining by itself.
        min_samples: labelled samples that it takes.
        max_drop: accuracy that may be lost on the evaluation rows (upper end of the interval).
        rollout: options of the rollout that a better version begins with, None for none.
    """

    model: ModelName
    data: tuple[str, ...]
    evaluation: str
    auto: bool = False
    min_samples: int = MIN_SAMPLES
    max_drop: float = MAX_DROP
    rollout: Mapping[str, Any] | None = None


class RetrainState(StrEnum):
    """Where a retraining stands. ``REJECTED``, ``FAILED`` and ``PUBLISHED`` are final."""

    REQUESTED = "requested"
    """Its data are frozen; nobody works on it yet."""
    TRAINING = "training"
    """A worker trains, packages and compares."""
    PUBLISHED = "published"
    """The challenger won: it is a version, and the alias ``candidate`` points at it."""
    REJECTED = "rejected"
    """The challenger is not shown to be better: nothing was published."""
    FAILED = "failed"
    """There is no challenger: the script or a gate failed. Nothing was published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contest:
    """Champion and challenger on the same rows.

    Attributes:
        name: which rows: ``evaluation`` or ``drifted``.
        runtime: that both ran on.
        rows: how many.
        champion: accuracy of the version that serves.
        challenger: accuracy of the retrained one.
        gain_low: lower end of the interval of the paired gain, challenger minus champion.
        gain_high: its upper end.
    """

    name: str
    runtime: str
    rows: int
    champion: float
    challenger: float
    gain_low: float
    gain_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Retraining:
    """One retraining.

    Attributes:
        id: ``t1``, ``t2``, …
        model: name of the model.
        parent: number of the champion.
        alarm: id of the alarm that asked for it, empty if a person did.
        state: where it stands.
        train: data set versions to train on.
        evaluation: data set version with the parent's evaluation rows.
        drifted: data set version with drifted rows that training never sees.
        created_s: seconds since the epoch.
        created_by: who asked.
        updated_s: when it moved last.
        why: what the last step says.
        child: number of the published version, None without.
        rollout: id of the rollout that it began with, empty without.
        metrics: what the training script reported.
        contests: champion against challenger.
        tries: how many workers have begun it.
    """

    id: str
    model: ModelName
    parent: int
    alarm: str
    state: RetrainState
    train: tuple[str, ...]
    evaluation: str
    drifted: str
    created_s: float
    created_by: str
    updated_s: float
    why: str = ""
    child: int | None = None
    rollout: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    contests: tuple[Contest, ...] = ()
    tries: int = 0


def parse_data_name(text: str) -> str:
    """Return ``text`` as the name of a data set.

    Raises:
        InvalidInput: another alphabet or length.
    """
    if not _NAME.fullmatch(text):
        raise InvalidInput(
            f"{text[:80]!r} is no name of a data set",
            next_step="use lower-case letters, digits, '.', '_' and '-'",
        )
    return text
