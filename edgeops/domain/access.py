"""Who may do what: roles and the tokens that carry them."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from edgeops.domain.errors import InvalidInput

Permission = Literal["read", "operate", "publish", "administer"]
"""Look · run rollouts and order devices · publish versions · keys, tokens, enrolment."""

TOKEN_PREFIX = "eo_"  # noqa: S105 - the beginning of every token, not one
TOKEN_BYTES = 32

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}", re.ASCII)


class Role(StrEnum):
    """A named set of permissions; each role includes the one before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    PUBLISHER = "publisher"
    ADMIN = "admin"


ROLE_MAY: Mapping[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({"read"}),
    Role.OPERATOR: frozenset({"read", "operate"}),
    Role.PUBLISHER: frozenset({"read", "operate", "publish"}),
    Role.ADMIN: frozenset({"read", "operate", "publish", "administer"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of a token: everything but its text, of which only the hash is kept.

    Times are seconds since the epoch; a token without ``expires_s`` ends by being revoked.
    """

    id: str
    name: str
    role: Role
    created_s: float
    expires_s: float | None
    hash: str

    def has_expired(self, now_s: float) -> bool:
        """Tell whether the token's time is over."""
        return self.expires_s is not None and now_s >= self.expires_s


def new_token_text(random_bytes: bytes) -> str:
    """Return the text of a token made of 32 random bytes: ``eo_`` and base64url.

    Raises:
        ValueError: not 32 bytes.
    """
    if len(random_bytes) != TOKEN_BYTES:
        raise ValueError(f"a token is made of {TOKEN_BYTES} random bytes")
    return TOKEN_PREFIX + base64.urlsafe_b64encode(random_bytes).decode().rstrip("=")


def hash_token(text: str) -> str:
    """Return what is stored of a token: the SHA-256 (64 hexadecimal digits) of its text.

    A plain hash is enough, since 256 random bits cannot be guessed.
    """
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def parse_actor(text: str) -> str:
    """Return ``text`` as the name of a token's holder, e.g. ``ci`` or ``ana@example.org``.

    Raises:
        InvalidInput: another alphabet, or more than 64 characters.
    """
    if not _NAME.fullmatch(text):
        raise InvalidInput(
            f"{text[:80]!r} is no name for a token",
            next_step="use 1 to 64 letters, digits, '.', '_', '@', '+' or '-'",
        )
    return text
