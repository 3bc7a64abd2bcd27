"""The root of trust: which keys may say what may run, and which may say who runs it now.

Uptane's split in one small document: *targets* keys (offline, with those who package) sign
packages, *director* keys (online, in the hub) sign desired states and commands, *root* keys sign
this document. A stolen hub can choose among signed packages but cannot invent one. A device
pins the root that it was enrolled with and follows it only to the next version, signed by both
the old root keys and the new ones.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.envelope import (
    MAX_SIGNATURES,
    PAYLOAD_ROOT,
    PUBLIC_KEY_BYTES,
    Verify,
    key_id,
    read,
    unseal,
)
from device_agent.protocol.errors import NotTrusted, ProtocolError
from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from device_agent.protocol.reasons import Reason
from device_agent.protocol.values import dataclass

ROLES = ("root", "targets", "director")


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """Version of the root of trust and, for each role, key id → raw public key."""

    version: int
    roles: Mapping[str, Mapping[str, bytes]]

    def keys_of(self, role: str) -> Mapping[str, bytes]:
        """Return the keys of ``root``, ``targets`` or ``director``."""
        return self.roles[role]

    def to_bytes(self) -> bytes:
        """Return the canonical bytes that the root keys sign."""
        return encode(
            {
                "schema_version": SCHEMA_VERSION,
                "version": self.version,
                "roles": {
                    role: [base64.b64encode(key).decode() for _, key in sorted(keys.items())]
                    for role, keys in self.roles.items()
                },
            }
        )

    @classmethod
    def from_bytes(cls, payload: bytes) -> Root:
        """Read the payload of a root envelope."""
        fields = Fields(decode(payload), "root")
        fields.check_schema()
        return cls(
            version=fields.integer("version", minimum=1),
            roles={role: _keys(fields.fields("roles"), role) for role in ROLES},
        )


def _keys(fields: Fields, role: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    for text in fields.texts(role, max_items=MAX_SIGNATURES, max_length=64):
        try:
            key = base64.b64decode(text, validate=True)
        except ValueError as error:
            raise ProtocolError(f"{fields.path}.{role} is not base64") from error
        if len(key) != PUBLIC_KEY_BYTES:
            raise ProtocolError(f"{fields.path}.{role} has a key of {len(key)} bytes")
        keys[key_id(key)] = key
    if not keys:
        raise ProtocolError(f"{fields.path}.{role} names no key")
    return keys


def pinned_root(envelope: bytes, verify: Verify) -> Root:
    """Return the root of an envelope that is trusted by its own root keys (at enrolment)."""
    root = Root.from_bytes(read(envelope, PAYLOAD_ROOT)[0])
    unseal(envelope, PAYLOAD_ROOT, root.keys_of("root"), verify)
    return root


def next_root(current: Root, envelope: bytes, verify: Verify) -> Root:
    """Return the successor of ``current`` in ``envelope``.

    Raises:
        ProtocolError: not a root envelope.
        NotTrusted: not the next version, or not signed by both the old and the new root keys.
    """
    successor = Root.from_bytes(unseal(envelope, PAYLOAD_ROOT, current.keys_of("root"), verify))
    if successor.version != current.version + 1:
        raise NotTrusted(
            Reason.UNTRUSTED_ORDER,
            f"root version {successor.version} does not follow {current.version}",
        )
    unseal(envelope, PAYLOAD_ROOT, successor.keys_of("root"), verify)
    return successor
