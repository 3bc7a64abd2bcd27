"""What the parent asks of a converting child, and what the child reports: two JSON documents.

The child runs native converters on models that nobody trusts, so its report is read like
anything else that comes from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, TypeVar

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import Digest
from edgeops.domain.errors import EdgeopsError, InvalidInput, InvalidModel, StoreFailed
from edgeops.packaging.convert.errors import ConversionFailed, ConverterMissing
from edgeops.packaging.convert.source import SourceKind
from edgeops.packaging.engines import Engine
from edgeops.packaging.gates.effect import Promise
from edgeops.packaging.recipes.schema import MAX_RULES, Recipe
from edgeops.packaging.recipes.trials import Search, Trial

MAX_JOB_BYTES = 32 * 1024
"""Below the 64 KiB that a pipe holds, so that writing a job never waits for the child."""
MAX_REPORT_BYTES = 32 * 1024 * 1024
MAX_RANGES = 200_000
MAX_NOTES = 64
MAX_TRIALS = 512
MAX_TEXT = 1000
MAX_NAME = 8192
"""Length of a tensor's name: TensorFlow joins the names of all that it fused."""
MAX_PATH = 4096
MAX_ENGINES = 8
MAX_NUMBER = 3.5e38
MAX_MEMORY_MIB = 1024 * 1024
PROGRESS = "\x1eprogress "
"""Marks a line on the child's standard error as one of its own, not of native code."""

E = TypeVar("E", bound=StrEnum)

_KINDS: dict[str, type[EdgeopsError]] = {
    each.__name__: each
    for each in (
        *(InvalidInput, InvalidModel, ConversionFailed, ConverterMissing),
        *(StoreFailed, EdgeopsError),
    )
}


class Task(StrEnum):
    """What is to be done with a model."""

    CONVERT = "convert"
    """Make an artifact, and look whether all engines answer alike."""
    SEARCH = "search"
    """Find the recipe for an objective, and make its artifact."""
    REBUILD = "rebuild"
    """Make it again, from the ranges and exclusions of its making."""
    LOCATE = "locate"
    """Find the first operator that engines compute otherwise; a note names it."""
    EXAMINE = "examine"
    """Run it once on zeros, and write its anatomy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One step to do in a child.

    Attributes:
        task: what to do.
        source: path of the model.
        digest: of its bytes, so that what was checked is what is converted.
        kind: what it is. Artifacts are quantized, the others converted to the recipe's format
            as floats.
        target: path of the file to write; nothing is written by ``LOCATE``.
        recipe: what to make; of a model to examine or to search for only its format counts.
        calibration: path of an ``.npy`` with calibration rows, or None.
        trust_code: let Keras load code.
        memory_mib: most memory that the child may allocate.
        others: engines in other environments that must answer as the own ones do.
        making: path of the ``Report`` of the first making, to make it again.
        search: what to search for.
    """

    task: Task = Task.CONVERT

    source: str
    digest: Digest
    kind: SourceKind
    target: str
    recipe: Recipe
    calibration: str | None
    trust_code: bool
    memory_mib: int
    others: tuple[Engine, ...] = ()
    making: str | None = None
    search: Search | None = None

    @property
    def name(self) -> str:
        """How errors name the step."""
        return self.recipe.name if self.task is Task.CONVERT else f"{self.task} {self.source}"

    def to_bytes(self) -> bytes:
        """Return the JSON form.

        Raises:
            InvalidInput: a path that cannot be, or is far too long.
        """
        document = {
            "task": self.task.value,
            "source": self.source,
            "digest": self.digest,
            "kind": self.kind.value,
            "target": self.target,
            "recipe": self.recipe.to_document(),
            "calibration": self.calibration,
            "trust_code": self.trust_code,
            "memory_mib": self.memory_mib,
            "others": [asdict(engine) for engine in self.others],
            "making": self.making,
            "search": None if self.search is None else self.search.to_document(),
        }
        try:
            data = encode(document)
        except ProtocolError as error:
            raise InvalidInput(
                f"a path is no text: {error}",
                next_step="give the files names of plain text",
            ) from error
        if len(data) > MAX_JOB_BYTES:
            raise InvalidInput(
                f"recipe {self.recipe.name} and its paths take {len(data)} bytes, {MAX_JOB_BYTES} "
                "are allowed",
                next_step="say it with fewer rules: a rule's name is a regular expression",
            )
        return data

    @classmethod
    def from_bytes(cls, data: bytes) -> Job:
        """Read the JSON form.

        Raises:
            ProtocolError: it is none; InvalidInput: its recipe is none.
        """
        document = decode(data, max_bytes=MAX_JOB_BYTES)
        fields = Fields(document, "job")
        has_rows = fields.has("calibration")
        has_making = fields.has("making")
        return cls(
            task=_one_of(Task, fields, "task"),
            source=fields.text("source", max_length=MAX_PATH),
            digest=fields.digest("digest"),
            kind=_one_of(SourceKind, fields, "kind"),
            target=fields.text("target", max_length=MAX_PATH),
            recipe=Recipe.from_document(document.get("recipe")),
            calibration=fields.text("calibration", max_length=MAX_PATH) if has_rows else None,
            trust_code=fields.boolean("trust_code"),
            memory_mib=fields.integer("memory_mib", minimum=1, maximum=MAX_MEMORY_MIB),
            others=fields.list_of("others", _engine, max_items=MAX_ENGINES),
            making=fields.text("making", max_length=MAX_PATH) if has_making else None,
            search=fields.optional("search", Search.from_fields),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of a job.

    Attributes:
        ranges: of activations, by tensor name, or None if none were needed.
        notes: what a person should know, a line each.
        excluded: names of the operators that stay in floats although the recipe quantizes
            them: some runtime would have answered otherwise.
        promise: what the recipe makes of this model.
        recipe: what a search found, None if nothing was searched for.
        trials: what a search tried.
        sensitivity: relative error of the answers when one operator alone is quantized, by its
            name.
        stopped: why a search stopped.
        objective: what it was for.
        float_ms: median of one row of the float model on this host, None where it is not told.
    """

    ranges: dict[str, tuple[float, float]] | None = None
    notes: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    promise: Promise = field(default_factory=Promise)
    recipe: Recipe | None = None
    trials: tuple[Trial, ...] = ()
    sensitivity: Mapping[str, float] = field(default_factory=dict)
    stopped: str = ""
    objective: str = ""
    float_ms: float | None = None

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        listed = None
        if self.ranges is not None:
            listed = [{"name": k, "low": v[0], "high": v[1]} for k, v in self.ranges.items()]
        document = {
            "ranges": listed,
            "notes": [_short(note) for note in self.notes[:MAX_NOTES]],
            "excluded": list(self.excluded),
            "promise": self.promise.to_document(),
        }
        if self.recipe is None:
            return document
        sensitivity = [{"name": name, "error": each} for name, each in self.sensitivity.items()]
        return {
            **document,
            "recipe": self.recipe.to_document(),
            "trials": [each.to_document() for each in self.trials],
            "sensitivity": sensitivity,
            "stopped": self.stopped,
            "objective": self.objective,
            "float_ms": self.float_ms,
        }

    def to_bytes(self) -> bytes:
        """Return the JSON form as bytes."""
        return encode(self.to_document())

    @classmethod
    def from_bytes(cls, data: bytes) -> Report:
        """Read a child's report.

        Raises:
            ProtocolError: it is none.
            EdgeopsError: the failure that the child reported, as the kind that it was.
        """
        document = decode(data, max_bytes=MAX_REPORT_BYTES)
        fields = Fields(document, "report")
        if fields.has("error"):
            kind = _KINDS.get(fields.text("error"), ConversionFailed)
            next_step = fields.text("next_step", max_length=MAX_TEXT)
            raise kind(fields.text("cause", max_length=MAX_TEXT), next_step=next_step)
        return cls.from_fields(fields)

    @classmethod
    def from_fields(cls, fields: Fields) -> Report:
        """Read the fields of a success."""
        ranges = None
        if fields.has("ranges"):
            ranges = dict(fields.list_of("ranges", _range, max_items=MAX_RANGES))
        notes = fields.texts("notes", max_items=MAX_NOTES, max_length=MAX_TEXT)
        excluded = fields.texts("excluded", max_items=MAX_RULES, max_length=MAX_NAME)
        promise = Promise.from_fields(fields.fields("promise"))
        made = cls(ranges=ranges, notes=notes, excluded=excluded, promise=promise)
        if not fields.has("recipe"):
            return made
        return replace(
            made,
            recipe=Recipe.from_fields(fields.fields("recipe")),
            trials=fields.list_of("trials", Trial.from_fields, max_items=MAX_TRIALS),
            sensitivity=dict(fields.list_of("sensitivity", _error, max_items=MAX_TRIALS)),
            stopped=fields.text("stopped", max_length=MAX_TEXT),
            objective=fields.text("objective") if fields.has("objective") else "",
            float_ms=fields.number("float_ms") if fields.has("float_ms") else None,
        )


def failure_bytes(error: EdgeopsError) -> bytes:
    """Return the report of a failure: its kind, cause and next step."""
    name = next((each for each in _KINDS if type(error).__name__ == each), "ConversionFailed")
    return encode(
        {"error": name, "cause": _short(str(error)), "next_step": _short(error.next_step)}
    )


def _one_of(kind: type[E], fields: Fields, key: str) -> E:
    try:
        return kind(fields.text(key))
    except ValueError as error:
        raise ProtocolError(f"{fields.path}.{key}: {error}") from error


def _engine(fields: Fields) -> Engine:
    return Engine(
        runtime=fields.text("runtime"),
        package=fields.text("package"),
        python=fields.text("python", max_length=MAX_PATH),
        optimized=fields.boolean("optimized"),
    )


def _error(fields: Fields) -> tuple[str, float]:
    return fields.text("name", max_length=MAX_NAME), fields.number("error")


def _range(fields: Fields) -> tuple[str, tuple[float, float]]:
    low = fields.number("low", minimum=-MAX_NUMBER, maximum=MAX_NUMBER)
    high = fields.number("high", minimum=-MAX_NUMBER, maximum=MAX_NUMBER)
    return fields.text("name", max_length=MAX_NAME), (low, high)


def _short(text: str) -> str:
    line = " ".join(text.replace("\x00", " ").split()).encode(errors="replace").decode()
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"
