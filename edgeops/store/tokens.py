"""Tokens in the database: never their text, only its hash."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from edgeops.domain.access import Role, Token
from edgeops.domain.errors import Conflict
from edgeops.store.schema import tokens


class TokenStore:
    """The tokens' rows, seen through one transaction."""

    def __init__(self, connection: sa.Connection) -> None:
        """Work in the transaction that is open on ``connection``."""
        self._connection = connection

    def add(self, token: Token) -> None:
        """Store a token.

        Raises:
            Conflict: its name (or, never by chance, its id) is taken.
        """
        try:
            with self._connection.begin_nested():
                self._connection.execute(
                    sa.insert(tokens).values(
                        id=token.id,
                        name=token.name,
                        role=token.role.value,
                        created_s=token.created_s,
                        expires_s=token.expires_s,
                        hash=token.hash,
                    )
                )
        except IntegrityError as error:
            raise Conflict(
                f"there is a token named {token.name} already",
                next_step="revoke it first, or choose another name",
            ) from error

    def with_hash(self, token_hash: str) -> Token | None:
        """Return the token whose text has this hash."""
        row = self._connection.execute(
            sa.select(tokens).where(tokens.c.hash == token_hash)
        ).one_or_none()
        return _token(row) if row is not None else None

    def all(self) -> tuple[Token, ...]:
        """Return every token, by name."""
        rows = self._connection.execute(sa.select(tokens).order_by(tokens.c.name))
        return tuple(_token(row) for row in rows)

    def remove(self, token_id: str) -> bool:
        """Forget a token; False if there is none with this id."""
        removed = self._connection.execute(sa.delete(tokens).where(tokens.c.id == token_id))
        return removed.rowcount == 1


def _token(row: sa.Row[*tuple[object, ...]]) -> Token:
    return Token(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        created_s=row.created_s,
        expires_s=row.expires_s,
        hash=row.hash,
    )
