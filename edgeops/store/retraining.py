"""Samples, data sets, policies and retrainings in the database."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import DeviceId, Digest, ModelName
from device_agent.protocol.samples import Sample
from edgeops.domain.retraining import Contest, DataSet, Retraining, RetrainPolicy, RetrainState
from edgeops.store.schema import data_sets, retrain_policies, retrainings, samples


class RetrainingStore:
    """The rows of retraining, seen through one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        """Work in the transaction that is open on ``connection``."""
        self._connection = connection

    # ---- samples

    def add_samples(
        self, device: DeviceId, stream: str, sequence: int, added: Sequence[Sample]
    ) -> None:
        """Store the samples of one message."""
        rows = [
            {
                "device": device,
                "stream": stream,
                "sequence": sequence,
                "part": part,
                "model": sample.model,
                "at_s": sample.at_s,
                "labelled": sample.label is not None,
                "document": sample.to_document(),
            }
            for part, sample in enumerate(added)
        ]
        self._connection.execute(sa.insert(samples), rows)

    def samples_of(
        self, model: ModelName, *, since_s: float = 0.0, limit: int
    ) -> tuple[tuple[DeviceId, Sample], ...]:
        """Return the newest labelled samples of a model, oldest first."""
        query = sa.select(samples).where(
            samples.c.model == model, samples.c.labelled, samples.c.at_s >= since_s
        )
        order = (samples.c.at_s.desc(), samples.c.device, samples.c.sequence, samples.c.part)
        rows = self._connection.execute(query.order_by(*order).limit(limit)).all()
        return tuple(
            (DeviceId(row.device), Sample.from_fields(Fields(row.document, "sample")))
            for row in reversed(rows)
        )

    def sample_counts(self, model: ModelName) -> tuple[int, int]:
        """Return how many samples of a model there are, and how many are labelled."""
        count = sa.select(sa.func.count()).where(samples.c.model == model)
        every = self._connection.scalar(count)
        labelled = self._connection.scalar(count.where(samples.c.labelled))
        return int(every or 0), int(labelled or 0)

    def forget_samples(self, before_s: float) -> int:
        """Remove the samples of before a moment; return how many."""
        gone = self._connection.execute(sa.delete(samples).where(samples.c.at_s < before_s))
        return int(gone.rowcount)

    # ---- data sets

    def add_data(self, added: DataSet) -> None:
        """Store a version of a data set."""
        values = {**dataclasses.asdict(added), "origin": dict(added.origin)}
        self._connection.execute(sa.insert(data_sets).values(**values))

    def data(self, name: str | None = None) -> tuple[DataSet, ...]:
        """Return every version of every data set (of one, if named), oldest first."""
        query = sa.select(data_sets)
        if name is not None:
            query = query.where(data_sets.c.name == name)
        rows = self._connection.execute(query.order_by(data_sets.c.name, data_sets.c.number))
        return tuple(
            DataSet(**{**row._asdict(), "digest": Digest(row.digest)}) for row in rows.all()
        )

    # ---- policies

    def put_policy(self, policy: RetrainPolicy) -> None:
        """Store the policy of a model, new or changed."""
        document = dataclasses.asdict(policy)
        table = retrain_policies
        changed = self._connection.execute(
            sa.update(table).where(table.c.model == policy.model).values(document=document)
        )
        if changed.rowcount == 0:
            self._connection.execute(sa.insert(table).values(model=policy.model, document=document))

    def policy(self, model: ModelName) -> RetrainPolicy | None:
        """Return the policy of a model, if it has one."""
        document: dict[str, Any] | None = self._connection.scalar(
            sa.select(retrain_policies.c.document).where(retrain_policies.c.model == model)
        )
        return _policy(document) if document is not None else None

    def policies(self) -> tuple[RetrainPolicy, ...]:
        """Return every policy."""
        rows = self._connection.scalars(
            sa.select(retrain_policies.c.document).order_by(retrain_policies.c.model)
        )
        return tuple(_policy(document) for document in rows)

    # ---- retrainings

    def next_id(self) -> str:
        """Return an id that no retraining has."""
        count = self._connection.scalar(sa.select(sa.func.count()).select_from(retrainings))
        return f"t{(count or 0) + 1}"

    def put(self, retraining: Retraining) -> None:
        """Store a retraining, new or changed."""
        document = dataclasses.asdict(retraining)
        table = retrainings
        changed = self._connection.execute(
            sa.update(table).where(table.c.id == retraining.id).values(document=document)
        )
        if changed.rowcount == 0:
            self._connection.execute(
                sa.insert(table).values(
                    id=retraining.id,
                    model=retraining.model,
                    created_s=retraining.created_s,
                    document=document,
                )
            )

    def all(self) -> tuple[Retraining, ...]:
        """Return every retraining, oldest first."""
        rows = self._connection.scalars(
            sa.select(retrainings.c.document).order_by(retrainings.c.created_s, retrainings.c.id)
        )
        return tuple(_retraining(document) for document in rows)


def _policy(document: Mapping[str, Any]) -> RetrainPolicy:
    return RetrainPolicy(**{**document, "data": tuple(document["data"])})


def _retraining(document: Mapping[str, Any]) -> Retraining:
    return Retraining(
        **{
            **document,
            "state": RetrainState(document["state"]),
            "train": tuple(document["train"]),
            "contests": tuple(Contest(**each) for each in document["contests"]),
        }
    )
