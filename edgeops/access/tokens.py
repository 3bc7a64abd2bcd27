"""Tokens: made once, shown once, kept only as a hash."""

from __future__ import annotations

import hmac
from typing import Protocol

from edgeops.domain.access import (
    ROLE_MAY,
    Permission,
    Role,
    Token,
    hash_token,
    new_token_text,
    parse_actor,
)
from edgeops.domain.errors import Forbidden, InvalidInput, NotAuthorized, NotFound

ID_DIGITS = 12
"""A token's id is the start of its hash: enough to name it, useless to guess it."""


class TokenStore(Protocol):
    """Where tokens are kept; the calls are within one transaction."""

    def add(self, token: Token) -> None:
        """Store a token, or raise ``Conflict`` if its name is taken."""

    def with_hash(self, token_hash: str) -> Token | None:
        """Return the token whose text has this hash."""

    def all(self) -> tuple[Token, ...]:
        """Return every token, by name."""

    def remove(self, token_id: str) -> bool:
        """Forget a token; False if there is none with this id."""


def create(
    store: TokenStore,
    *,
    name: str,
    role: Role,
    now_s: float,
    expires_s: float | None,
    random_bytes: bytes,
) -> tuple[Token, str]:
    """Make a token of 32 random bytes.

    Returns:
        The token, and its text, which is nowhere else and cannot be read again.

    Raises:
        InvalidInput: no such name is allowed, or it would have expired already.
        Conflict: there is a token of that name.
    """
    if expires_s is not None and expires_s <= now_s:
        raise InvalidInput(
            f"a token that expires at {expires_s:.0f} has expired", next_step="give a later time"
        )
    text = new_token_text(random_bytes)
    digest = hash_token(text)
    token = Token(
        id=digest[:ID_DIGITS],
        name=parse_actor(name),
        role=role,
        created_s=now_s,
        expires_s=expires_s,
        hash=digest,
    )
    store.add(token)
    return token, text


def authenticate(store: TokenStore, text: str, now_s: float) -> Token:
    """Return the token whose text this is.

    Nothing that was stored is compared with the text itself, and the last comparison takes the
    same time for every hash.

    Raises:
        NotAuthorized: unknown, revoked or expired.
    """
    digest = hash_token(text)
    token = store.with_hash(digest)
    if token is None or not hmac.compare_digest(token.hash, digest):
        raise NotAuthorized(
            "the token is unknown or was revoked",
            next_step="ask an admin for one: `edgeops token create`",
        )
    if token.has_expired(now_s):
        raise NotAuthorized(
            f"the token {token.name} has expired",
            next_step="ask an admin for a new one: `edgeops token create`",
        )
    return token


def require(token: Token, permission: Permission) -> None:
    """Refuse what the token's role may not do.

    Raises:
        Forbidden: the next step names the least role that may.
    """
    if permission in ROLE_MAY[token.role]:
        return
    least = next(role for role in Role if permission in ROLE_MAY[role])
    raise Forbidden(
        f"{token.name} is {token.role}, which may not {permission}",
        next_step=f"ask an admin for a token with the role {least}",
    )


def revoke(store: TokenStore, token_id: str) -> None:
    """End a token at once, by its id.

    Raises:
        NotFound: no such token; the next step lists the tokens.
    """
    if not store.remove(token_id):
        known = ", ".join(f"{token.id} ({token.name})" for token in store.all()[:20])
        raise NotFound(
            f"there is no token {token_id[:80]!r}", next_step=f"tokens: {known or 'none'}"
        )


def list_tokens(store: TokenStore) -> tuple[Token, ...]:
    """Return every token, expired ones too, by name."""
    return store.all()
