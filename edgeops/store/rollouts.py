"""Rollouts and their members in the database."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from device_agent.protocol.activation import AT_ONCE, Activation
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import DeviceId, ModelName
from device_agent.protocol.probation import ProbationRules
from edgeops.domain.errors import Conflict
from edgeops.domain.rollout import Member, MemberState, Policy, Rollout, RolloutState
from edgeops.store.schema import rollout_members, rollouts


class RolloutStore:
    """The rollouts' rows, seen through one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        """Work in the transaction that is open on ``connection``."""
        self._connection = connection

    def next_id(self) -> str:
        """Return an id that no rollout has: ``r1``, ``r2`` and so on."""
        count = self._connection.scalar(sa.select(sa.func.count()).select_from(rollouts))
        return f"r{(count or 0) + 1}"

    def add(self, rollout: Rollout) -> None:
        """Enter a new rollout with its members."""
        self._connection.execute(sa.insert(rollouts).values(**_rollout_row(rollout)))
        for member in rollout.members:
            self._connection.execute(
                sa.insert(rollout_members).values(**_member_row(rollout.id, member))
            )

    def put(self, before: Rollout, after: Rollout) -> Rollout:
        """Store a rollout's step: the head and the members that changed.

        Returns:
            The rollout as stored, one revision on.

        Raises:
            Conflict: somebody stored another step meanwhile.
        """
        stored = dataclasses.replace(after, revision=before.revision + 1)
        changed = self._connection.execute(
            sa.update(rollouts)
            .where(rollouts.c.id == before.id, rollouts.c.revision == before.revision)
            .values(**_rollout_row(stored))
        )
        if changed.rowcount == 0:
            raise Conflict(
                f"rollout {before.id} was changed by somebody else",
                next_step="read it again, then decide",
            )
        known = {member.device: member for member in before.members}
        for member in after.members:
            if member is not known.get(member.device):
                self._connection.execute(
                    sa.update(rollout_members)
                    .where(
                        rollout_members.c.rollout == before.id,
                        rollout_members.c.device == member.device,
                    )
                    .values(**_member_row(before.id, member))
                )
        return stored

    def get(self, rollout: str) -> Rollout | None:
        """Return a rollout, if there is one with this id."""
        found = self._select(rollouts.c.id == rollout)
        return found[0] if found else None

    def in_states(self, *states: RolloutState) -> tuple[Rollout, ...]:
        """Return the rollouts in one of these states, oldest first (all without states)."""
        where = rollouts.c.state.in_([str(state) for state in states]) if states else sa.true()
        return self._select(where)

    def of_version(self, model: ModelName, number: int) -> tuple[Rollout, ...]:
        """Return the rollouts of a version, oldest first."""
        return self._select(sa.and_(rollouts.c.model == model, rollouts.c.number == number))

    def _select(self, where: sa.ColumnElement[bool]) -> tuple[Rollout, ...]:
        rows = self._connection.execute(
            sa.select(rollouts).where(where).order_by(rollouts.c.created_s, rollouts.c.id)
        ).all()
        members: dict[str, list[Member]] = {row.id: [] for row in rows}
        found = self._connection.execute(
            sa.select(rollout_members)
            .where(rollout_members.c.rollout.in_(sa.select(rollouts.c.id).where(where)))
            .order_by(rollout_members.c.wave, rollout_members.c.device)
        )
        for row in found:
            members[row.rollout].append(_member(row))
        return tuple(_rollout(row, tuple(members[row.id])) for row in rows)


def _rollout_row(rollout: Rollout) -> dict[str, Any]:
    return {
        "id": rollout.id,
        "model": rollout.model,
        "number": rollout.number,
        "selector": rollout.selector,
        "policy": policy_document(rollout.policy),
        "created_s": rollout.created_s,
        "created_by": rollout.created_by,
        "state": str(rollout.state),
        "wave": rollout.wave,
        "why": rollout.why,
        "revision": rollout.revision,
    }


def _member_row(rollout: str, member: Member) -> dict[str, Any]:
    return {
        "rollout": rollout,
        "device": member.device,
        "wave": member.wave,
        "state": str(member.state),
        "device_state": member.device_state,
        "reason": member.reason,
        "detail": member.detail,
        "evidence": dict(member.evidence),
        "previous": member.previous,
        "ordered_s": member.ordered_s,
        "updated_s": member.updated_s,
    }


def _rollout(row: sa.Row[Any], members: tuple[Member, ...]) -> Rollout:
    return Rollout(
        id=row.id,
        model=ModelName(row.model),
        number=row.number,
        selector=row.selector,
        policy=read_policy(row.policy),
        members=members,
        created_s=row.created_s,
        created_by=row.created_by,
        state=RolloutState(row.state),
        wave=row.wave,
        why=row.why,
        revision=row.revision,
    )


def _member(row: sa.Row[Any]) -> Member:
    return Member(
        device=DeviceId(row.device),
        wave=row.wave,
        state=MemberState(row.state),
        device_state=row.device_state,
        reason=row.reason,
        detail=row.detail,
        evidence=row.evidence,
        previous=row.previous,
        ordered_s=row.ordered_s,
        updated_s=row.updated_s,
    )


def policy_document(policy: Policy) -> dict[str, object]:
    """Return the JSON form of a policy."""
    document = dataclasses.asdict(policy)
    document["steps"] = list(policy.steps)
    document["activation"] = policy.activation.to_document()
    return document


def read_policy(document: Mapping[str, Any]) -> Policy:
    """Read the JSON form of a policy that ``policy_document`` wrote."""
    values = dict(document)
    values["steps"] = tuple(values["steps"])
    values["probation"] = ProbationRules.from_fields(Fields(values["probation"], "probation"))
    values["activation"] = (
        Fields(values, "policy").optional("activation", Activation.from_fields) or AT_ONCE
    )
    return Policy(**values)
