"""The reference profile: the sketches of "normal" inside a package.

Made at packaging from held-out rows. The device takes only the plan from it; the control plane
compares what devices count with the counts in here.
"""

from __future__ import annotations

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from device_agent.protocol.plan import MAX_COUNTS_TEXT, SketchPlan, pack_counts, unpack_counts
from device_agent.protocol.sketch import CONFIDENCE_BINS, MAX_CLASSES
from device_agent.protocol.values import dataclass

MAX_REFERENCE_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceProfile:
    """Counts of the reference rows.

    Attributes:
        plan: the features and their bins.
        rows: how many reference rows there were.
        inputs: flat counts, ``plan.bins`` of them.
        classes: predicted classes of the rows.
        confidence: their confidence, in 32 bins.
        correct: how many in each confidence bin were right; empty without labels.
    """

    plan: SketchPlan
    rows: int
    inputs: tuple[int, ...]
    classes: tuple[int, ...]
    confidence: tuple[int, ...]
    correct: tuple[int, ...] = ()

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: a blob of the package."""
        return encode(
            {
                "schema_version": SCHEMA_VERSION,
                "plan": self.plan.to_document(),
                "rows": self.rows,
                "inputs": pack_counts(self.inputs),
                "classes": list(self.classes),
                "confidence": list(self.confidence),
                "correct": list(self.correct),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> ReferenceProfile:
        """Read a reference profile from anybody's bytes.

        Raises:
            ProtocolError: not one; the message names the field.
        """
        fields = Fields(decode(data, max_bytes=MAX_REFERENCE_BYTES), "reference")
        fields.check_schema()
        plan = SketchPlan.from_fields(fields.fields("plan"))
        profile = cls(
            plan=plan,
            rows=fields.integer("rows", minimum=1),
            inputs=unpack_counts(fields.text("inputs", max_length=MAX_COUNTS_TEXT), plan.bins),
            classes=fields.integers("classes", max_items=MAX_CLASSES),
            confidence=fields.integers("confidence", max_items=CONFIDENCE_BINS),
            correct=fields.integers("correct", max_items=CONFIDENCE_BINS),
        )
        if len(profile.inputs) != plan.bins:
            raise ProtocolError(f"reference.inputs are {len(profile.inputs)} of {plan.bins} counts")
        if any(c > n for c, n in zip(profile.correct, profile.confidence, strict=False)):
            raise ProtocolError("reference.correct has more than reference.confidence")
        return profile
