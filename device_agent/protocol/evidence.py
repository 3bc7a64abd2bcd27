"""Evidence: what was measured of an artifact before it was published, as the manifest says it."""

from __future__ import annotations

from dataclasses import dataclass

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.sketch import MAX_CLASSES

MAX_CONFUSION_CLASSES = 32
"""Beyond so many classes a confusion matrix says little to people and costs devices bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassEvidence:
    """One true class: its rows, and how many the float model and the artifact answered right."""

    rows: int
    float_correct: int
    correct: int

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {"rows": self.rows, "float_correct": self.float_correct, "correct": self.correct}

    @classmethod
    def from_fields(cls, fields: Fields) -> ClassEvidence:
        """Read the JSON form."""
        return cls(
            rows=fields.integer("rows"),
            float_correct=fields.integer("float_correct"),
            correct=fields.integer("correct"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Accuracy of the float model and of the artifact on the same evaluation rows.

    Attributes:
        recipe: how the artifact was made.
        rows: evaluation rows.
        float_accuracy: share of them that the float model answers right.
        accuracy: share of them that the artifact answers right, on its own runtime.
        drop_low: lower end of the interval of the paired drop, float minus artifact.
        drop_high: its upper end: what the gate holds against ``max_drop``.
        confidence: of that interval, e.g. 0.95.
        max_drop: the bar.
        agreement: share of the rows to which both answer the same class.
        float_size_bytes: of the float model.
        size_bytes: of the artifact.
        classes: by true class, in the order of the labels.
        float_confusion: of the float model, counts of rows by true class and answered class:
            ``C * C`` for C ``classes``, row-major, a true class a row. Answers that name no class
            are in none. Empty if it was not measured, or for more than
            ``MAX_CONFUSION_CLASSES`` classes.
        confusion: of the artifact, likewise.
    """

    recipe: str
    rows: int
    float_accuracy: float
    accuracy: float
    drop_low: float
    drop_high: float
    confidence: float
    max_drop: float
    agreement: float
    float_size_bytes: int
    size_bytes: int
    classes: tuple[ClassEvidence, ...] = ()
    float_confusion: tuple[int, ...] = ()
    confusion: tuple[int, ...] = ()

    def to_document(self) -> dict[str, object]:
        """Return the JSON form; without confusions it is as it was before there were any."""
        document: dict[str, object] = {
            "recipe": self.recipe,
            "rows": self.rows,
            "float_accuracy": self.float_accuracy,
            "accuracy": self.accuracy,
            "drop_low": self.drop_low,
            "drop_high": self.drop_high,
            "confidence": self.confidence,
            "max_drop": self.max_drop,
            "agreement": self.agreement,
            "float_size_bytes": self.float_size_bytes,
            "size_bytes": self.size_bytes,
            "classes": [each.to_document() for each in self.classes],
        }
        if self.float_confusion:
            document["float_confusion"] = list(self.float_confusion)
        if self.confusion:
            document["confusion"] = list(self.confusion)
        return document

    @classmethod
    def from_fields(cls, fields: Fields) -> Evidence:
        """Read the JSON form."""
        classes = fields.list_of("classes", ClassEvidence.from_fields, max_items=MAX_CLASSES)
        return cls(
            recipe=fields.text("recipe", max_length=64),
            rows=fields.integer("rows", minimum=1),
            float_accuracy=fields.number("float_accuracy", maximum=1.0),
            accuracy=fields.number("accuracy", maximum=1.0),
            drop_low=fields.number("drop_low", minimum=-1.0, maximum=1.0),
            drop_high=fields.number("drop_high", minimum=-1.0, maximum=1.0),
            confidence=fields.number("confidence", maximum=1.0),
            max_drop=fields.number("max_drop", maximum=1.0),
            agreement=fields.number("agreement", maximum=1.0),
            float_size_bytes=fields.integer("float_size_bytes"),
            size_bytes=fields.integer("size_bytes"),
            classes=classes,
            float_confusion=_read_confusion(fields, "float_confusion", len(classes)),
            confusion=_read_confusion(fields, "confusion", len(classes)),
        )


def _read_confusion(fields: Fields, key: str, classes: int) -> tuple[int, ...]:
    if not fields.has(key):
        return ()
    counts = fields.integers(key, max_items=MAX_CONFUSION_CLASSES**2)
    if len(counts) != classes**2:
        raise ProtocolError(
            f"{fields.path}.{key} has {len(counts)} counts, not {classes**2} for {classes} classes"
        )
    return counts
