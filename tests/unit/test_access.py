"""Roles and tokens."""

import hashlib
import itertools
from collections.abc import Iterator

import pytest

from edgeops.access import tokens
from edgeops.domain.access import ROLE_MAY, Role, hash_token, new_token_text
from edgeops.domain.errors import Conflict, Forbidden, InvalidInput, NotAuthorized, NotFound
from edgeops.store import Database, Work

RANDOM = bytes(range(32))


@pytest.fixture
def work() -> Iterator[Work]:
    with Database.open("sqlite://").begin() as work:
        yield work


def make(work: Work, *, name: str = "ci", random_bytes: bytes = RANDOM) -> str:
    """A publisher's token that expires at 200 s; returns its text."""
    _, text = tokens.create(
        work.tokens,
        name=name,
        role=Role.PUBLISHER,
        now_s=100.0,
        expires_s=200.0,
        random_bytes=random_bytes,
    )
    return text


def test_each_role_includes_the_one_before_it() -> None:
    assert set(ROLE_MAY) == set(Role)
    grants = [ROLE_MAY[role] for role in Role]
    assert all(lesser < greater for lesser, greater in itertools.pairwise(grants))


def test_a_token_is_32_random_bytes_in_base64url() -> None:
    assert new_token_text(RANDOM) == "eo_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    with pytest.raises(ValueError, match="32"):
        new_token_text(b"short")


def test_only_the_hash_of_a_token_is_stored(work: Work) -> None:
    text = make(work)
    (token,) = tokens.list_tokens(work.tokens)
    assert token.hash == hashlib.sha256(text.encode()).hexdigest() == hash_token(text)
    assert text not in repr(token)


def test_the_text_of_a_token_authenticates_until_it_expires(work: Work) -> None:
    text = make(work)
    token = tokens.authenticate(work.tokens, text, 199.9)
    assert (token.name, token.role) == ("ci", Role.PUBLISHER)
    with pytest.raises(NotAuthorized, match="expired"):
        tokens.authenticate(work.tokens, text, 200.0)


@pytest.mark.parametrize("text", ["", "eo_", "eo_wrong", "\ud800", "x" * 100_000])
def test_another_text_does_not_authenticate(work: Work, text: str) -> None:
    make(work)
    with pytest.raises(NotAuthorized, match="unknown"):
        tokens.authenticate(work.tokens, text, 100.0)


def test_a_revoked_token_is_unknown(work: Work) -> None:
    text = make(work)
    token = tokens.authenticate(work.tokens, text, 100.0)
    tokens.revoke(work.tokens, token.id)
    with pytest.raises(NotAuthorized):
        tokens.authenticate(work.tokens, text, 100.0)
    with pytest.raises(NotFound) as missing:
        tokens.revoke(work.tokens, token.id)
    assert missing.value.next_step == "tokens: none"


def test_a_name_is_held_by_one_token(work: Work) -> None:
    make(work)
    with pytest.raises(Conflict, match="named ci"):
        make(work, random_bytes=bytes(32))


def test_a_bad_name_or_a_past_expiry_is_refused(work: Work) -> None:
    with pytest.raises(InvalidInput):
        make(work, name="two\nlines")
    with pytest.raises(InvalidInput, match="has expired"):
        tokens.create(
            work.tokens,
            name="ci",
            role=Role.VIEWER,
            now_s=100.0,
            expires_s=100.0,
            random_bytes=RANDOM,
        )


def test_a_refusal_names_the_least_role_that_may(work: Work) -> None:
    token = tokens.authenticate(work.tokens, make(work), 100.0)
    tokens.require(token, "publish")
    with pytest.raises(Forbidden) as refused:
        tokens.require(token, "administer")
    assert refused.value.next_step.endswith("role admin")
