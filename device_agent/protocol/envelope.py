"""Signed envelopes: DSSE, as used by in-toto and sigstore.

An envelope keeps the signed bytes exactly as they were written and signs them together with
their type, so that a desired state can never be passed off as a command. The form is the DSSE
protocol (https://github.com/secure-systems-lab/dsse/blob/master/protocol.md); the signatures
are Ed25519. No cryptography here: the primitive is passed in, since the two wheels hold keys
differently.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping

from device_agent.protocol.codec import MAX_DOCUMENT_BYTES, decode, encode
from device_agent.protocol.errors import NotTrusted, ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.reasons import Reason
from device_agent.protocol.values import dataclass

PAYLOAD_DESIRED = "application/vnd.edgeops.desired.v1+json"
PAYLOAD_COMMAND = "application/vnd.edgeops.command.v1+json"
PAYLOAD_ROOT = "application/vnd.edgeops.root.v1+json"

MAX_SIGNATURES = 8
SIGNATURE_BYTES = 64
PUBLIC_KEY_BYTES = 32

Verify = Callable[[bytes, bytes, bytes], bool]
"""``verify(public_key, signature, message)``: raw Ed25519."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One Ed25519 signature and the id of the key that made it."""

    keyid: str
    value: bytes

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"keyid": self.keyid, "sig": base64.b64encode(self.value).decode()}

    @classmethod
    def from_fields(cls, fields: Fields) -> Signature:
        """Read the JSON form."""
        return cls(
            keyid=fields.text("keyid", max_length=64),
            value=fields.data("sig", max_bytes=SIGNATURE_BYTES),
        )


def key_id(public_key: bytes) -> str:
    """Return the id of a raw Ed25519 public key: its SHA-256 in hexadecimal."""
    return hashlib.sha256(public_key).hexdigest()


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's PAE: the bytes that are really signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def seal(payload_type: str, payload: bytes, signatures: list[Signature]) -> bytes:
    """Return the envelope of ``payload`` with signatures over its PAE."""
    return encode(
        {
            "payloadType": payload_type,
            "payload": base64.b64encode(payload).decode(),
            "signatures": [signature.to_document() for signature in signatures],
        }
    )


def read(data: bytes, payload_type: str) -> tuple[bytes, tuple[Signature, ...]]:
    """Take an envelope apart without trusting it.

    Returns:
        The payload bytes and the signatures.

    Raises:
        ProtocolError: not an envelope, or one of another payload type.
    """
    fields = Fields(decode(data), "envelope")
    if fields.text("payloadType") != payload_type:
        raise ProtocolError(f"envelope holds another type than {payload_type}")
    payload = fields.data("payload", max_bytes=MAX_DOCUMENT_BYTES)
    return payload, fields.list_of("signatures", Signature.from_fields, max_items=MAX_SIGNATURES)


def unseal(data: bytes, payload_type: str, keys: Mapping[str, bytes], verify: Verify) -> bytes:
    """Return the payload of an envelope that one of ``keys`` signed.

    Args:
        data: the envelope as received.
        payload_type: what it must hold.
        keys: key id → raw public key, the keys that may sign this type.
        verify: the Ed25519 primitive.

    Raises:
        ProtocolError: not such an envelope.
        NotTrusted: no signature by any of the keys.
    """
    payload, signatures = read(data, payload_type)
    message = pre_authentication(payload_type, payload)
    for signature in signatures:
        key = keys.get(signature.keyid)
        if key is not None and verify(key, signature.value, message):
            return payload
    raise NotTrusted(
        Reason.UNTRUSTED_ORDER,
        "no valid signature by a key that may sign this",
        next_step="check that hub and device were enrolled with the same root of trust",
    )
