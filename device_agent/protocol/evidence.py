"""Evidence: what was measured of an artifact before it was published, as the manifest says it."""

from __future__ import annotations

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.sketch import MAX_CLASSES
from device_agent.protocol.values import dataclass

MAX_SLICES = 256
MAX_SLICE_NAME = 80
MAX_SQNR_DB = 200.0
MAX_METRIC_NAME = 200
MAX_NUMBER = 1e15
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
class SliceEvidence:
    """A part of the evaluation rows that somebody named: its rows, and how many were right."""

    name: str
    rows: int
    float_correct: int
    correct: int

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        return {
            "name": self.name,
            "rows": self.rows,
            "float_correct": self.float_correct,
            "correct": self.correct,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> SliceEvidence:
        """Read the JSON form."""
        return cls(
            name=fields.text("name", max_length=MAX_SLICE_NAME),
            rows=fields.integer("rows", minimum=1),
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
        sqnr_db: signal-to-quantization-noise ratio of the artifact's scores against the float
            model's, in decibels; None if scores are not floats, or it was not measured.
        slices: parts of the rows that somebody named.
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
    sqnr_db: float | None = None
    slices: tuple[SliceEvidence, ...] = ()

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
        if self.sqnr_db is not None:
            document["sqnr_db"] = self.sqnr_db
        if self.slices:
            document["slices"] = [each.to_document() for each in self.slices]
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
            sqnr_db=(
                fields.number("sqnr_db", minimum=-MAX_SQNR_DB, maximum=MAX_SQNR_DB)
                if fields.has("sqnr_db")
                else None
            ),
            slices=(
                fields.list_of("slices", SliceEvidence.from_fields, max_items=MAX_SLICES)
                if fields.has("slices")
                else ()
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSlice:
    """A part of the evaluation rows that somebody named, and a metric on it.

    ``float_value`` and ``value`` (of the float model and of the artifact) are None where the
    metric says nothing of these rows alone.
    """

    name: str
    rows: int
    float_value: float | None = None
    value: float | None = None

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""
        document: dict[str, object] = {"name": self.name, "rows": self.rows}
        if self.float_value is not None and self.value is not None:
            document |= {"float_value": self.float_value, "value": self.value}
        return document

    @classmethod
    def from_fields(cls, fields: Fields) -> MetricSlice:
        """Read the JSON form."""
        is_measured = fields.has("value")
        return cls(
            name=fields.text("name", max_length=MAX_SLICE_NAME),
            rows=fields.integer("rows", minimum=1),
            float_value=_any_number(fields, "float_value") if is_measured else None,
            value=_any_number(fields, "value") if is_measured else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricEvidence:
    """Another measure than accuracy, of the float model and of the artifact on the same rows.

    Attributes:
        name: ``f1``, ``rmse``, …, or ``module:function`` of somebody's own.
        rows: evaluation rows.
        float_value: of the float model.
        value: of the artifact.
        drop_low: lower end of the interval of what is lost; for errors a share of the float
            model's.
        drop_high: its upper end.
        confidence: of that interval.
        max_drop: the bar that was asked.
        sqnr_db: likeness of the answers to the float model's.
        slices: the metric on parts of the rows that somebody named.
    """

    name: str
    rows: int
    float_value: float
    value: float
    drop_low: float
    drop_high: float
    confidence: float
    max_drop: float
    sqnr_db: float
    slices: tuple[MetricSlice, ...] = ()

    def to_document(self) -> dict[str, object]:
        """Return the JSON form; without slices it is as it was before there were any."""
        document: dict[str, object] = {
            "name": self.name,
            "rows": self.rows,
            "float_value": self.float_value,
            "value": self.value,
            "drop_low": self.drop_low,
            "drop_high": self.drop_high,
            "confidence": self.confidence,
            "max_drop": self.max_drop,
            "sqnr_db": self.sqnr_db,
        }
        if self.slices:
            document["slices"] = [each.to_document() for each in self.slices]
        return document

    @classmethod
    def from_fields(cls, fields: Fields) -> MetricEvidence:
        """Read the JSON form."""
        return cls(
            name=fields.text("name", max_length=MAX_METRIC_NAME),
            rows=fields.integer("rows", minimum=1),
            float_value=_any_number(fields, "float_value"),
            value=_any_number(fields, "value"),
            drop_low=_any_number(fields, "drop_low"),
            drop_high=_any_number(fields, "drop_high"),
            confidence=fields.number("confidence", maximum=1.0),
            max_drop=fields.number("max_drop"),
            sqnr_db=fields.number("sqnr_db", minimum=-MAX_SQNR_DB, maximum=MAX_SQNR_DB),
            slices=(
                fields.list_of("slices", MetricSlice.from_fields, max_items=MAX_SLICES)
                if fields.has("slices")
                else ()
            ),
        )


def _any_number(fields: Fields, key: str) -> float:
    return fields.number(key, minimum=-MAX_NUMBER, maximum=MAX_NUMBER)


def _read_confusion(fields: Fields, key: str, classes: int) -> tuple[int, ...]:
    if not fields.has(key):
        return ()
    counts = fields.integers(key, max_items=MAX_CONFUSION_CLASSES**2)
    if len(counts) != classes**2:
        raise ProtocolError(
            f"{fields.path}.{key} has {len(counts)} counts, not {classes**2} for {classes} classes"
        )
    return counts
