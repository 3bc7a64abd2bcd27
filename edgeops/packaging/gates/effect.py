"""The effect gate: weights and activations are in the file what the recipe promised.

Quantizers report success for files in which nothing was quantized, so the file is counted, never
believed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from device_agent.protocol.fields import Fields
from edgeops.domain.errors import GateFailed
from edgeops.packaging.record.anatomy import Anatomy

EFFECT_GATE = "effect"
MIN_SHARE = 0.9
"""Share of what was promised that must have become so."""
MIN_SAVED = 0.5
"""Share of the promised bytes that the file must be smaller by."""
ALLOWANCE_BYTES = 8 * 1024
"""What scales and conversions may add."""
_BYTES = {"int8": 1, "float16": 2}
_DTYPES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What a recipe makes of one model.

    Attributes:
        weights: elements of weights, by the dtype that they shall have.
        activations: operators with weights, by the dtype of what they shall take.
    """

    weights: Mapping[str, int] = field(default_factory=dict)
    activations: Mapping[str, int] = field(default_factory=dict)

    def to_document(self) -> dict[str, dict[str, int]]:
        """Return the JSON form."""
        return {"weights": dict(self.weights), "activations": dict(self.activations)}

    @classmethod
    def from_fields(cls, fields: Fields) -> Promise:
        """Read the JSON form."""
        return cls(weights=_counts(fields, "weights"), activations=_counts(fields, "activations"))


def _counts(fields: Fields, key: str) -> dict[str, int]:
    inner = fields.fields(key)
    return {name: inner.integer(name) for name in inner.names()[:_DTYPES]}


def missed(promise: Promise, found: Anatomy) -> str | None:
    """Say what of a promise was not kept, None if all was."""
    for what, promised, became in (
        ("weights", promise.weights, found.weights),
        ("operators' activations", promise.activations, found.activations),
    ):
        for dtype, count in promised.items():
            if became.get(dtype, 0) < MIN_SHARE * count:
                return f"only {became.get(dtype, 0)} of {count} {what} became {dtype}"
    return None


def bloated(promise: Promise, size_bytes: int, float_bytes: int) -> str | None:
    """Say that a file did not become smaller as its weights did, None if it did.

    Some quantizers leave the float weights in the file, where nothing uses them.

    Args:
        promise: what the recipe makes of the model.
        size_bytes: of the artifact.
        float_bytes: of the float model.
    """
    saved = sum((4 - _BYTES[dtype]) * count for dtype, count in promise.weights.items())
    most = float_bytes - saved * MIN_SAVED + ALLOWANCE_BYTES
    if not saved or size_bytes <= most:
        return None
    return f"it has {size_bytes} bytes, the float model {float_bytes}: {saved} less were promised"


def check_effect(
    promise: Promise,
    found: Anatomy,
    *,
    name: str,
    recipe: str,
    sizes: tuple[int, int] = (0, 0),
) -> str:
    """Hold an artifact to what its recipe promised; return what became of it.

    Args:
        promise: what the recipe makes of the model.
        found: the artifact.
        name: how errors name it.
        recipe: its recipe's name.
        sizes: bytes of the float model and of the artifact.

    Raises:
        GateFailed: what is missing.
    """
    why = missed(promise, found) or bloated(promise, sizes[1], sizes[0])
    if why is not None:
        raise GateFailed(
            f"gate {EFFECT_GATE!r}: {name} by {recipe}: {why}",
            next_step="another recipe, or the model in the other format",
        )
    return f"weights: {said_counts(found.weights)}; activations: {said_counts(found.activations)}"


def said_counts(counts: Mapping[str, int]) -> str:
    """Return counts by dtype in one line."""
    return ", ".join(f"{count} {dtype or 'of unknown dtype'}" for dtype, count in counts.items())
