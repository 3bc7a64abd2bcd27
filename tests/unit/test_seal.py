"""What the director seals, a device opens; what anybody else seals, it does not."""

from __future__ import annotations

import pytest

from device_agent.protocol.codec import decode
from device_agent.protocol.envelope import PAYLOAD_COMMAND, PAYLOAD_DESIRED, unseal
from device_agent.protocol.errors import NotTrusted, ProtocolError
from device_agent.protocol.ids import parse_device_id
from device_agent.protocol.orders import Command, Desired
from edgeops.domain.errors import InvalidInput
from edgeops.trust.keys import SigningKey, verify_signature
from edgeops.trust.seal import seal_command, seal_desired

KEY = SigningKey.generate()
TRUSTED = {KEY.keyid: KEY.public}
DESIRED = Desired(device=parse_device_id("pi-1"), generation=3, models={})
COMMAND = Command(
    device=parse_device_id("pi-1"), id="1", kind="announce", issued_s=8.0, expires_s=9.0
)


def test_a_sealed_desired_state_opens_with_the_directors_key() -> None:
    payload = unseal(seal_desired(KEY, DESIRED), PAYLOAD_DESIRED, TRUSTED, verify_signature)
    assert Desired.from_document(decode(payload)) == DESIRED


def test_a_sealed_command_opens_with_the_directors_key_and_not_as_a_desired_state() -> None:
    sealed = seal_command(KEY, COMMAND)
    payload = unseal(sealed, PAYLOAD_COMMAND, TRUSTED, verify_signature)
    assert Command.from_document(decode(payload)) == COMMAND
    with pytest.raises(ProtocolError):
        unseal(sealed, PAYLOAD_DESIRED, TRUSTED, verify_signature)


def test_sealing_again_gives_the_same_bytes() -> None:
    assert seal_desired(KEY, DESIRED) == seal_desired(KEY, DESIRED)


def test_a_foreign_key_opens_nothing() -> None:
    with pytest.raises(NotTrusted):
        unseal(
            seal_desired(SigningKey.generate(), DESIRED),
            PAYLOAD_DESIRED,
            TRUSTED,
            verify_signature,
        )


def test_a_key_comes_back_from_its_pem() -> None:
    again = SigningKey.from_pem(KEY.to_pem())
    assert again.keyid == KEY.keyid
    assert again.sign(b"message") == KEY.sign(b"message")


def test_a_signature_fits_only_its_key_and_message() -> None:
    value = KEY.sign(b"message").value
    assert verify_signature(KEY.public, value, b"message")
    assert not verify_signature(KEY.public, value, b"massage")
    assert not verify_signature(KEY.public, value[:-1], b"message")
    assert not verify_signature(SigningKey.generate().public, value, b"message")
    assert not verify_signature(b"short", value, b"message")


@pytest.mark.parametrize("pem", [b"", b"nonsense", KEY.to_pem()[:60]])
def test_what_is_no_key_is_refused(pem: bytes) -> None:
    with pytest.raises(InvalidInput):
        SigningKey.from_pem(pem)
