"""Models, versions and aliases in the database."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from device_agent.protocol.envelope import Signature
from device_agent.protocol.ids import Digest, ModelName
from device_agent.protocol.manifest import Waiver
from edgeops.domain.errors import Conflict
from edgeops.domain.registry import Alias, ModelSummary, Version
from edgeops.store.schema import aliases, models, versions


class RegistryStore:
    """The registry's rows, seen through one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        """Work in the transaction that is open on ``connection``."""
        self._connection = connection

    def add_version(self, version: Version) -> None:
        """Store a version, and its model if it is the first.

        Raises:
            Conflict: the number or the digest is taken.
        """
        is_known = self._connection.scalar(
            sa.select(models.c.name).where(models.c.name == version.model)
        )
        try:
            with self._connection.begin_nested():
                if is_known is None:
                    self._connection.execute(sa.insert(models).values(name=version.model))
                self._connection.execute(sa.insert(versions).values(_row_of(version)))
        except IntegrityError as error:
            raise Conflict(
                f"{version.reference} or its package {version.digest} is published already",
                next_step=f"list the versions of {version.model}, then publish the next number",
            ) from error

    def versions(self, model: ModelName) -> tuple[Version, ...]:
        """Return the versions of a model, oldest number first; none if there is no such model."""
        rows = self._connection.execute(
            sa.select(versions).where(versions.c.model == model).order_by(versions.c.number)
        )
        return tuple(_version(row) for row in rows)

    def models(self) -> tuple[ModelSummary, ...]:
        """Return every model with its aliases, by name."""
        named: dict[str, list[Alias]] = {}
        for row in self._connection.execute(sa.select(aliases).order_by(aliases.c.name)):
            named.setdefault(row.model, []).append(_alias(row))
        rows = self._connection.execute(
            sa.select(
                versions.c.model,
                sa.func.count().label("versions"),
                sa.func.max(versions.c.number).label("latest"),
            )
            .group_by(versions.c.model)
            .order_by(versions.c.model)
        )
        return tuple(
            ModelSummary(
                model=ModelName(row.model),
                versions=row.versions,
                latest=row.latest,
                aliases=tuple(named.get(row.model, ())),
            )
            for row in rows
        )

    def aliases(self, model: ModelName) -> tuple[Alias, ...]:
        """Return the aliases of a model, by name."""
        rows = self._connection.execute(
            sa.select(aliases).where(aliases.c.model == model).order_by(aliases.c.name)
        )
        return tuple(_alias(row) for row in rows)

    def put_alias(self, alias: Alias) -> bool:
        """Store an alias whose ``revision`` is one more than the stored one (1: it is new).

        Returns:
            False, and nothing is stored, if another revision is there: somebody was first.
        """
        if alias.revision > 1:
            moved = self._connection.execute(
                sa.update(aliases)
                .where(
                    aliases.c.model == alias.model,
                    aliases.c.name == alias.name,
                    aliases.c.revision == alias.revision - 1,
                )
                .values(number=alias.number, revision=alias.revision)
            )
            return moved.rowcount == 1
        if any(known.name == alias.name for known in self.aliases(alias.model)):
            return False
        try:
            with self._connection.begin_nested():
                self._connection.execute(
                    sa.insert(aliases).values(
                        model=alias.model, name=alias.name, number=alias.number, revision=1
                    )
                )
        except IntegrityError:
            return False
        return True


def _row_of(version: Version) -> dict[str, object]:
    return {
        "model": version.model,
        "number": version.number,
        "digest": version.digest,
        "size_bytes": version.size_bytes,
        "keyid": version.signature.keyid,
        "signature": version.signature.value,
        "lineage": dict(version.lineage),
        "waivers": [waiver.to_document() for waiver in version.waivers],
        "created_s": version.created_s,
        "created_by": version.created_by,
    }


def _version(row: sa.Row[*tuple[object, ...]]) -> Version:
    return Version(
        model=ModelName(row.model),
        number=row.number,
        digest=Digest(row.digest),
        size_bytes=row.size_bytes,
        signature=Signature(keyid=row.keyid, value=row.signature),
        lineage=row.lineage,
        waivers=tuple(Waiver(gate=item["gate"], reason=item["reason"]) for item in row.waivers),
        created_s=row.created_s,
        created_by=row.created_by,
    )


def _alias(row: sa.Row[*tuple[object, ...]]) -> Alias:
    return Alias(
        model=ModelName(row.model), name=row.name, number=row.number, revision=row.revision
    )
