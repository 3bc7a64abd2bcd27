"""Identifiers: their alphabets, their parsers, and the shard of a device.

Parse once at the edge, then trust: the ``NewType``s below are only made by these parsers.
"""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from device_agent.protocol.errors import ProtocolError

DeviceId = NewType("DeviceId", str)
ModelName = NewType("ModelName", str)
Digest = NewType("Digest", str)

_DEVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_MODEL = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9])?", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


def parse_device_id(text: str) -> DeviceId:
    """Return ``text`` as a device id (1 to 64 of ``A-Za-z0-9._-``, no wildcard, no slash).

    Raises:
        ProtocolError: another alphabet or length.
    """
    if not _DEVICE.fullmatch(text):
        raise ProtocolError(
            f"{text[:80]!r} is no device id",
            next_step="use 1 to 64 letters, digits, '.', '_' or '-', starting with a letter or "
            "digit",
        )
    return DeviceId(text)


def parse_model_name(text: str) -> ModelName:
    """Return ``text`` as a model name (1 to 64 lower-case letters, digits, ``.``, ``_``, ``-``).

    A model name is also a folder name on the device, so it never starts or ends with a dot.

    Raises:
        ProtocolError: another alphabet or length.
    """
    if not _MODEL.fullmatch(text):
        raise ProtocolError(
            f"{text[:80]!r} is no model name",
            next_step="use 1 to 64 lower-case letters, digits, '.', '_' or '-'",
        )
    return ModelName(text)


def parse_digest(text: str) -> Digest:
    """Return ``text`` as a digest, ``sha256:`` and 64 lower-case hexadecimal digits.

    Raises:
        ProtocolError: anything else.
    """
    if not _DIGEST.fullmatch(text):
        raise ProtocolError(
            f"{text[:80]!r} is no digest", next_step="a digest is sha256: and 64 hex digits"
        )
    return Digest(text)


def digest_of(data: bytes) -> Digest:
    """Return the digest of ``data``."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest_hex(digest: Digest) -> str:
    """Return the 64 hexadecimal digits of a digest (a file name, a topic level)."""
    return digest[len("sha256:") :]


def shard_of(device: DeviceId) -> str:
    """Return the two hexadecimal digits that shard a device's upward topics.

    They are the first byte of the SHA-256 of the id: a fleet's messages can be split over up
    to 256 consumers in order, on any broker, without shared subscriptions.
    """
    return hashlib.sha256(device.encode()).hexdigest()[:2]
