"""Trust: envelopes that open only for the right type and key, and a root that only its own
keys can move.
"""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from device_agent.protocol.codec import encode
from device_agent.protocol.envelope import (
    MAX_SIGNATURES,
    PAYLOAD_COMMAND,
    PAYLOAD_DESIRED,
    PAYLOAD_ROOT,
    Signature,
    key_id,
    pre_authentication,
    read,
    seal,
    unseal,
)
from device_agent.protocol.errors import NotTrusted, ProtocolError
from device_agent.protocol.root import ROLES, Root, next_root, pinned_root
from device_agent.shell.trust import verify_ed25519
from edgeops.trust.keys import SigningKey

KEYS = {role: SigningKey.generate() for role in ROLES}
OTHERS = {role: SigningKey.generate() for role in ROLES}
PAYLOAD = b'{"hello":1}'


def sealed(payload: bytes, *keys: SigningKey, kind: str = PAYLOAD_DESIRED) -> bytes:
    return seal(kind, payload, [key.sign(pre_authentication(kind, payload)) for key in keys])


def trusting(*keys: SigningKey) -> dict[str, bytes]:
    return {key.keyid: key.public for key in keys}


def root(version: int = 1, keys: dict[str, SigningKey] = KEYS) -> Root:
    return Root(version=version, roles={role: trusting(key) for role, key in keys.items()})


def signed_root(made: Root, *keys: SigningKey) -> bytes:
    return sealed(made.to_bytes(), *keys, kind=PAYLOAD_ROOT)


def bent(envelope: bytes, **changes: object) -> bytes:
    return encode({**json.loads(envelope), **changes})


# ---- envelopes


def test_an_envelope_opens_with_any_one_of_the_trusted_keys() -> None:
    envelope = sealed(PAYLOAD, OTHERS["root"], KEYS["director"])
    keys = trusting(KEYS["director"], KEYS["targets"])
    assert unseal(envelope, PAYLOAD_DESIRED, keys, verify_ed25519) == PAYLOAD


@pytest.mark.parametrize("keys", [{}, trusting(KEYS["targets"])])
def test_an_envelope_by_a_key_that_may_not_sign_is_not_trusted(keys) -> None:
    with pytest.raises(NotTrusted):
        unseal(sealed(PAYLOAD, KEYS["director"]), PAYLOAD_DESIRED, keys, verify_ed25519)


def test_an_envelope_without_signatures_is_not_trusted() -> None:
    with pytest.raises(NotTrusted):
        unseal(sealed(PAYLOAD), PAYLOAD_DESIRED, trusting(KEYS["director"]), verify_ed25519)


def test_an_altered_payload_is_not_trusted() -> None:
    envelope = bent(sealed(PAYLOAD, KEYS["director"]), payload=base64.b64encode(b"{}").decode())
    with pytest.raises(NotTrusted):
        unseal(envelope, PAYLOAD_DESIRED, trusting(KEYS["director"]), verify_ed25519)


@pytest.mark.parametrize("value", [b"", b"\0" * 63, b"\0" * 64, b"\xff" * 64])
def test_a_made_up_signature_under_a_trusted_key_id_is_not_trusted(value: bytes) -> None:
    forged = Signature(keyid=KEYS["director"].keyid, value=value)
    envelope = seal(PAYLOAD_DESIRED, PAYLOAD, [forged])
    with pytest.raises(NotTrusted):
        unseal(envelope, PAYLOAD_DESIRED, trusting(KEYS["director"]), verify_ed25519)


def test_a_key_that_borrows_the_id_of_a_trusted_one_is_not_trusted() -> None:
    message = pre_authentication(PAYLOAD_DESIRED, PAYLOAD)
    borrowed = replace(OTHERS["root"].sign(message), keyid=KEYS["director"].keyid)
    with pytest.raises(NotTrusted):
        unseal(
            seal(PAYLOAD_DESIRED, PAYLOAD, [borrowed]),
            PAYLOAD_DESIRED,
            trusting(KEYS["director"]),
            verify_ed25519,
        )


def test_a_command_cannot_be_replayed_as_a_desired_state() -> None:
    command = sealed(PAYLOAD, KEYS["director"], kind=PAYLOAD_COMMAND)
    keys = trusting(KEYS["director"])
    with pytest.raises(ProtocolError, match="another type"):
        unseal(command, PAYLOAD_DESIRED, keys, verify_ed25519)
    with pytest.raises(NotTrusted):
        unseal(bent(command, payloadType=PAYLOAD_DESIRED), PAYLOAD_DESIRED, keys, verify_ed25519)


def test_a_signature_over_the_bare_payload_signs_nothing() -> None:
    bare = seal(PAYLOAD_DESIRED, PAYLOAD, [KEYS["director"].sign(PAYLOAD)])
    with pytest.raises(NotTrusted):
        unseal(bare, PAYLOAD_DESIRED, trusting(KEYS["director"]), verify_ed25519)


def test_what_is_signed_tells_where_type_and_payload_end() -> None:
    assert pre_authentication("ab", b"cde") == b"DSSEv1 2 ab 3 cde"
    assert pre_authentication("a", b"b 1 c") != pre_authentication("a 3 b", b"c")


def test_the_payload_is_given_back_as_the_bytes_received() -> None:
    spaced = b'{ "b" : 1,\n"a": 2 }'
    assert read(sealed(spaced, KEYS["root"]), PAYLOAD_DESIRED)[0] == spaced


@pytest.mark.parametrize(
    "changes",
    [
        {"payload": "not base64!"},
        {"payload": "é"},
        {"payload": 5},
        {"payload": None},
        {"signatures": None},
        {"signatures": {}},
        {"signatures": [5]},
        {"signatures": [{"keyid": "k"}]},
        {"signatures": [{"keyid": "k" * 65, "sig": ""}]},
        {"signatures": [{"keyid": "k", "sig": "A" * 400}]},
        {"signatures": [{"keyid": "k", "sig": ""}] * (MAX_SIGNATURES + 1)},
        {"payloadType": None},
        {"payloadType": "text/plain"},
    ],
)
def test_what_has_not_the_form_of_an_envelope_is_refused(changes) -> None:
    with pytest.raises(ProtocolError):
        read(bent(sealed(PAYLOAD, KEYS["root"]), **changes), PAYLOAD_DESIRED)


def test_a_key_id_is_the_hash_of_the_key() -> None:
    assert KEYS["root"].keyid == key_id(KEYS["root"].public)


# ---- the root


def test_a_root_signed_by_its_own_key_is_pinned() -> None:
    assert pinned_root(signed_root(root(), KEYS["root"]), verify_ed25519) == root()


@pytest.mark.parametrize("role", ["targets", "director"])
def test_a_root_signed_by_another_role_is_not_pinned(role: str) -> None:
    with pytest.raises(NotTrusted):
        pinned_root(signed_root(root(), KEYS[role]), verify_ed25519)


def test_the_next_version_signed_by_the_old_and_the_new_root_key_is_followed() -> None:
    successor = root(2, OTHERS)
    envelope = signed_root(successor, KEYS["root"], OTHERS["root"])
    assert next_root(root(), envelope, verify_ed25519) == successor


def test_the_next_version_with_the_same_root_key_needs_it_once() -> None:
    changed = root(2, {**KEYS, "director": OTHERS["director"]})
    assert next_root(root(), signed_root(changed, KEYS["root"]), verify_ed25519) == changed


@pytest.mark.parametrize("signers", [[KEYS["root"]], [OTHERS["root"]], [], [KEYS["targets"]]])
def test_a_root_that_not_both_keys_signed_is_refused(signers: list[SigningKey]) -> None:
    with pytest.raises(NotTrusted):
        next_root(root(), signed_root(root(2, OTHERS), *signers), verify_ed25519)


@pytest.mark.parametrize("version", [1, 2, 4])
def test_a_root_that_is_not_the_very_next_version_is_refused(version: int) -> None:
    current = root(2)
    with pytest.raises(NotTrusted, match=f"root version {version} does not follow 2"):
        next_root(current, signed_root(root(version), KEYS["root"]), verify_ed25519)


def test_a_root_travels_as_bytes_and_comes_back_the_same() -> None:
    many = Root(
        version=5,
        roles={role: trusting(*[SigningKey.generate() for _ in range(3)]) for role in ROLES},
    )
    assert Root.from_bytes(many.to_bytes()) == many


@pytest.mark.parametrize(
    "keys",
    [
        [],
        ["AAAA"],
        ["not base64!"],
        ["é"],
        [5],
        None,
        {},
        [base64.b64encode(b"k" * 33).decode()],
        [base64.b64encode(b"k" * 32).decode()] * (MAX_SIGNATURES + 1),
    ],
)
@pytest.mark.parametrize("role", ROLES)
def test_a_root_with_a_role_that_nobody_can_fill_is_refused(role: str, keys) -> None:
    document = json.loads(root().to_bytes())
    document["roles"][role] = keys
    with pytest.raises(ProtocolError):
        Root.from_bytes(encode(document))


def test_a_root_without_a_role_is_refused() -> None:
    document = json.loads(root().to_bytes())
    del document["roles"]["director"]
    with pytest.raises(ProtocolError, match="director"):
        Root.from_bytes(encode(document))
