"""Topics: built and taken apart here and nowhere else.

At most 6 slashes and 200 bytes, so that every broker of the design takes them.
"""

from __future__ import annotations

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import (
    DeviceId,
    Digest,
    digest_hex,
    parse_device_id,
    parse_digest,
    shard_of,
)
from device_agent.protocol.values import dataclass

PREFIX = "edgeops/v1"
MAX_TOPIC_BYTES = 200

UP_KINDS = ("state", "event", "outcome", "telemetry", "sample", "need")
DOWN_KINDS = ("desired", "cmd", "ack")


def desired(device: DeviceId) -> str:
    """Return the retained topic of a device's desired state."""
    return f"{PREFIX}/d/{device}/desired"


def command(device: DeviceId) -> str:
    """Return the topic of one-shot commands to a device."""
    return f"{PREFIX}/d/{device}/cmd"


def ack(device: DeviceId) -> str:
    """Return the topic of cumulative acknowledgements to a device."""
    return f"{PREFIX}/d/{device}/ack"


def repair(device: DeviceId, blob: Digest) -> str:
    """Return the topic of chunks for one straggler."""
    return f"{PREFIX}/d/{device}/repair/{digest_hex(blob)}"


def blob(blob_digest: Digest) -> str:
    """Return the broadcast topic of a blob's chunks."""
    return f"{PREFIX}/blob/{digest_hex(blob_digest)}"


def root(version: int) -> str:
    """Return the retained topic of one version of the root of trust."""
    return f"{PREFIX}/trust/root/{version}"


def trust(role: str) -> str:
    """Return the retained topic of a trust role's metadata."""
    return f"{PREFIX}/trust/{role}"


def epoch() -> str:
    """Return the retained topic that tells whether the broker kept its state."""
    return f"{PREFIX}/hub/epoch"


def up(device: DeviceId, kind: str) -> str:
    """Return an upward topic: ``kind`` is one of ``UP_KINDS``."""
    return f"{PREFIX}/u/{shard_of(device)}/{device}/{kind}"


def device_filters(device: DeviceId) -> tuple[str, ...]:
    """Return what a device always subscribes to (blobs are added while it downloads)."""
    return (f"{PREFIX}/d/{device}/#", f"{PREFIX}/trust/#", f"{PREFIX}/hub/#")


def hub_filters() -> tuple[str, ...]:
    """Return what the hub subscribes to."""
    return (*(f"{PREFIX}/u/+/+/{kind}" for kind in UP_KINDS), epoch())


@dataclass(frozen=True, slots=True, kw_only=True)
class UpTopic:
    """An upward topic taken apart."""

    device: DeviceId
    kind: str


def parse_up(topic: str) -> UpTopic:
    """Take an upward topic apart.

    Raises:
        ProtocolError: not ``u/{shard}/{device}/{kind}``, or the shard is not the device's.
    """
    levels = _levels(topic)
    if len(levels) != 4 or levels[0] != "u" or levels[3] not in UP_KINDS:
        raise ProtocolError(f"{topic[:80]!r} is no upward topic")
    device = parse_device_id(levels[2])
    if levels[1] != shard_of(device):
        raise ProtocolError(f"shard {levels[1][:8]!r} is not the one of {device}")
    return UpTopic(device=device, kind=levels[3])


@dataclass(frozen=True, slots=True, kw_only=True)
class DownTopic:
    """A downward topic taken apart: ``kind`` is desired, cmd, ack, repair, blob, root, …."""

    kind: str
    blob: Digest | None = None
    version: int = 0


def parse_down(topic: str, device: DeviceId) -> DownTopic:
    """Take a topic apart as ``device`` sees it.

    Raises:
        ProtocolError: a topic that this device does not read.
    """
    levels = _levels(topic)
    match levels:
        case ["d", name, ("desired" | "cmd" | "ack") as kind] if name == device:
            return DownTopic(kind=kind)
        case ["d", name, "repair", hex_digits] if name == device:
            return DownTopic(kind="repair", blob=parse_digest(f"sha256:{hex_digits}"))
        case ["blob", hex_digits]:
            return DownTopic(kind="blob", blob=parse_digest(f"sha256:{hex_digits}"))
        case ["trust", "root", number] if number.isascii() and number.isdigit():
            return DownTopic(kind="root", version=int(number[:9]))
        case ["trust", _]:
            return DownTopic(kind="trust")
        case ["hub", "epoch"]:
            return DownTopic(kind="epoch")
        case _:
            raise ProtocolError(f"{topic[:80]!r} is no topic of {device}")


def _levels(topic: str) -> list[str]:
    if len(topic.encode("utf-8", "replace")) > MAX_TOPIC_BYTES:
        raise ProtocolError(f"topic is longer than {MAX_TOPIC_BYTES} bytes")
    if not topic.startswith(PREFIX + "/"):
        raise ProtocolError(f"{topic[:80]!r} is no topic of {PREFIX}")
    return topic[len(PREFIX) + 1 :].split("/")
