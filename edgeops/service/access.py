"""Tokens and the audit."""

from __future__ import annotations

from dataclasses import dataclass

from edgeops.access import audit, tokens
from edgeops.domain.access import TOKEN_BYTES, Role, Token
from edgeops.domain.audit import AuditEntry, AuditHead, AuditReport
from edgeops.domain.errors import InvalidInput
from edgeops.service.context import HUB_ACTOR, Context

FIRST_TOKEN = "admin"  # noqa: S105 - the name of a token, not one


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """The audit's report and its head, to be noted elsewhere."""

    report: AuditReport
    head: AuditHead | None


def authenticate(context: Context, text: str) -> Token:
    """Return the token whose text this is.

    Raises:
        NotAuthorized: unknown, revoked or expired.
    """
    with context.database.read() as work:
        return tokens.authenticate(work.tokens, text, context.clock())


def create_token(
    context: Context, actor: str, name: str, role: str, days: float | None
) -> tuple[Token, str]:
    """Make a token; its text is shown once.

    Raises:
        InvalidInput: no such role, or a name that cannot be.
        Conflict: there is a token of that name.
    """
    if role not in list(Role):
        raise InvalidInput(f"{role!r} is no role", next_step="use " + ", ".join(Role))
    now_s = context.clock()
    with context.database.begin() as work:
        token, text = tokens.create(
            work.tokens,
            name=name,
            role=Role(role),
            now_s=now_s,
            expires_s=None if days is None else now_s + days * 86400,
            random_bytes=context.chance(TOKEN_BYTES),
        )
        audit.record(work.audit, now_s, actor, "token.create", token.name, role=role)
        return token, text


def first_token(context: Context) -> str | None:
    """Return the text of the first admin token if there are none yet, else None."""
    with context.database.read() as work:
        if tokens.list_tokens(work.tokens):
            return None
    return create_token(context, HUB_ACTOR, FIRST_TOKEN, Role.ADMIN, None)[1]


def list_tokens(context: Context) -> tuple[Token, ...]:
    """Return every token (never its text)."""
    with context.database.read() as work:
        return tokens.list_tokens(work.tokens)


def revoke_token(context: Context, actor: str, token_id: str) -> None:
    """End a token at once.

    Raises:
        NotFound: no such token.
    """
    with context.database.begin() as work:
        tokens.revoke(work.tokens, token_id)
        audit.record(work.audit, context.clock(), actor, "token.revoke", token_id)


def audit_entries(context: Context, *, after: int, limit: int) -> list[AuditEntry]:
    """Return audit entries in order, from the one after ``after``."""
    with context.database.read() as work:
        return list(work.audit.entries(after=after, limit=limit))


def verify_audit(context: Context) -> Verified:
    """Walk the whole chain."""
    with context.database.read() as work:
        return Verified(report=audit.verify(work.audit), head=work.audit.head())


def record_hub(context: Context, act: audit.Act, subject: str = "hub", **detail: str) -> None:
    """Record an act of the hub itself."""
    with context.database.begin() as work:
        audit.record(work.audit, context.clock(), HUB_ACTOR, act, subject, **detail)
