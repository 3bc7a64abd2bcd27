"""Sealing orders: what the director signs, so that a device obeys it."""

from __future__ import annotations

from device_agent.protocol.codec import encode
from device_agent.protocol.envelope import (
    PAYLOAD_COMMAND,
    PAYLOAD_DESIRED,
    pre_authentication,
    seal,
)
from device_agent.protocol.orders import Command, Desired
from edgeops.trust.keys import SigningKey


def seal_desired(key: SigningKey, desired: Desired) -> bytes:
    """Return the envelope of a desired state, signed by ``key``; equal states, equal bytes."""
    return _sealed(key, PAYLOAD_DESIRED, encode(desired.to_document()))


def seal_command(key: SigningKey, command: Command) -> bytes:
    """Return the envelope of a command, signed by ``key``; equal commands, equal bytes."""
    return _sealed(key, PAYLOAD_COMMAND, encode(command.to_document()))


def _sealed(key: SigningKey, payload_type: str, payload: bytes) -> bytes:
    signature = key.sign(pre_authentication(payload_type, payload))
    return seal(payload_type, payload, [signature])
