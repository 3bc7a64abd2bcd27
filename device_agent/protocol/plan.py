"""The plan of a sketch: which features a device counts, in which bins.

The bins are chosen once, at packaging, from the reference rows, and travel with the package.
Counts of many devices then merge by addition, and a window that was counted by another plan is
recognised by its ``schema``.

The bins of one feature, in this order::

    one for each atom (a value that holds much of the reference by itself: 0, saturation)
    one for each step between neighbouring edges: [e0, e1), [e1, e2), …, the last one closed
    below the first edge, above the last edge, missing (NaN)
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Sequence

from device_agent.protocol.codec import encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import digest_hex, digest_of
from device_agent.protocol.values import dataclass

SOURCES = ("elements", "summary")
"""``elements``: every element of the input row in C order. ``summary``: a few numbers of the
row, see ``device_agent.processing.features``, for rows of more than ``MAX_ELEMENTS``."""
MAX_ELEMENTS = 128
MAX_EDGES = 64
MAX_ATOMS = 8
SPECIAL_BINS = 3
SCHEMA_DIGITS = 16
MAX_COUNT = 2**40
MAX_VARINT_BYTES = 6
MAX_COUNTS_TEXT = 32 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePlan:
    """One feature: its name, its edges (rising), and the values that have a bin of their own."""

    name: str
    edges: tuple[float, ...]
    atoms: tuple[float, ...] = ()

    @property
    def bins(self) -> int:
        """How many bins it has."""
        return len(self.atoms) + max(0, len(self.edges) - 1) + SPECIAL_BINS

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"name": self.name, "edges": list(self.edges), "atoms": list(self.atoms)}

    @classmethod
    def from_fields(cls, fields: Fields) -> FeaturePlan:
        """Read the JSON form; edges must rise."""
        plan = cls(
            name=fields.text("name", max_length=64),
            edges=fields.numbers("edges", max_items=MAX_EDGES),
            atoms=fields.numbers("atoms", max_items=MAX_ATOMS),
        )
        if any(a >= b for a, b in zip(plan.edges, plan.edges[1:], strict=False)):
            raise ProtocolError(f"{fields.path}.edges do not rise")
        return plan


@dataclass(frozen=True, slots=True, kw_only=True)
class SketchPlan:
    """What a device counts of its inputs."""

    source: str
    features: tuple[FeaturePlan, ...]

    @property
    def bins(self) -> int:
        """How many counts a window has."""
        return sum(feature.bins for feature in self.features)

    @property
    def schema(self) -> str:
        """What names this plan in a window: 16 digits of the digest of its canonical bytes."""
        return digest_hex(digest_of(encode(self.to_document())))[:SCHEMA_DIGITS]

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "source": self.source,
            "features": [feature.to_document() for feature in self.features],
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> SketchPlan:
        """Read the JSON form."""
        source = fields.text("source")
        if source not in SOURCES:
            raise ProtocolError(f"{fields.path}.source {source[:40]!r} is unknown")
        features = fields.list_of("features", FeaturePlan.from_fields, max_items=MAX_ELEMENTS)
        return cls(source=source, features=features)

    def parted(self, counts: Sequence[int]) -> tuple[tuple[int, ...], ...]:
        """Return flat counts feature by feature.

        Raises:
            ProtocolError: another number of counts than this plan has bins.
        """
        if len(counts) != self.bins:
            raise ProtocolError(f"{len(counts)} counts for a plan of {self.bins} bins")
        parts, at = [], 0
        for feature in self.features:
            parts.append(tuple(counts[at : at + feature.bins]))
            at += feature.bins
        return tuple(parts)


def pack_counts(counts: Sequence[int]) -> str:
    """Return counts as text: base-128 varints, deflated, base64. Mostly zeros: very short."""
    varints = bytearray()
    for count in counts:
        while count >= 0x80:
            varints.append(count & 0x7F | 0x80)
            count >>= 7
        varints.append(count)
    return base64.b64encode(zlib.compress(bytes(varints), 9)).decode()


def unpack_counts(text: str, most: int) -> tuple[int, ...]:
    """Return the counts in ``text``, at most ``most`` of them.

    Raises:
        ProtocolError: not such a text, or one that would unpack to more than is allowed.
    """
    inflate = zlib.decompressobj()
    try:
        data = inflate.decompress(
            base64.b64decode(text, validate=True), most * MAX_VARINT_BYTES + 1
        )
    except (binascii.Error, ValueError, zlib.error) as error:
        raise ProtocolError("packed counts are damaged") from error
    if not inflate.eof or inflate.unused_data or len(data) > most * MAX_VARINT_BYTES:
        raise ProtocolError("packed counts are damaged or too many")
    counts, value, shift = [], 0, 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 7 * MAX_VARINT_BYTES:
            raise ProtocolError("a packed count is too large")
        if byte < 0x80:
            counts.append(value)
            value = shift = 0
    if shift or len(counts) > most or max(counts, default=0) > MAX_COUNT:
        raise ProtocolError("packed counts are damaged or too many")
    return tuple(counts)
