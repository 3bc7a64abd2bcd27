"""What the parent asks of a converting child, and what the child reports: two JSON documents.

The child runs native converters on models that nobody trusts, so its report is read like
anything else that comes from outside.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import Digest
from edgeops.domain.errors import EdgeopsError, InvalidInput, InvalidModel, StoreFailed
from edgeops.packaging.convert.errors import ConversionFailed, ConverterMissing
from edgeops.packaging.convert.source import SourceKind
from edgeops.packaging.engines import Engine
from edgeops.packaging.recipes.schema import MAX_RULES, Recipe

MAX_JOB_BYTES = 32 * 1024
"""Below the 64 KiB that a pipe holds, so that writing a job never waits for the child."""
MAX_REPORT_BYTES = 32 * 1024 * 1024
MAX_RANGES = 200_000
MAX_NOTES = 64
MAX_TEXT = 1000
MAX_NAME = 8192
"""Length of a tensor's name: TensorFlow joins the names of all that it fused."""
MAX_PATH = 4096
MAX_ENGINES = 8
MAX_NUMBER = 3.5e38
MAX_MEMORY_MIB = 1024 * 1024

_KINDS: dict[str, type[EdgeopsError]] = {
    each.__name__: each
    for each in (
        *(InvalidInput, InvalidModel, ConversionFailed, ConverterMissing),
        *(StoreFailed, EdgeopsError),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One step to do in a child.

    Attributes:
        source: path of the model.
        digest: of its bytes, so that what was checked is what is converted.
        kind: what it is. Artifacts are quantized, the others converted to the recipe's format
            as floats.
        target: path of the file to write; nothing is written if ``only_check``.
        recipe: what to make.
        calibration: path of an ``.npy`` with calibration rows, or None.
        trust_code: let Keras load code.
        memory_mib: most memory that the child may allocate.
        others: engines in other environments that must answer as the own ones do.
        only_check: look at an artifact that is packaged as it is, and run it once.
    """

    source: str
    digest: Digest
    kind: SourceKind
    target: str
    recipe: Recipe
    calibration: str | None
    trust_code: bool
    memory_mib: int
    others: tuple[Engine, ...] = ()
    only_check: bool = False

    def to_bytes(self) -> bytes:
        """Return the JSON form.

        Raises:
            InvalidInput: a path that cannot be, or is far too long.
        """
        document = {
            "source": self.source,
            "digest": self.digest,
            "kind": self.kind.value,
            "target": self.target,
            "recipe": self.recipe.to_document(),
            "calibration": self.calibration,
            "trust_code": self.trust_code,
            "memory_mib": self.memory_mib,
            "others": [asdict(engine) for engine in self.others],
            "only_check": self.only_check,
        }
        try:
            data = encode(document)
        except ProtocolError as error:
            raise InvalidInput(f"a path is no text: {error}") from error
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
        return cls(
            source=fields.text("source", max_length=MAX_PATH),
            digest=fields.digest("digest"),
            kind=SourceKind(fields.text("kind")),
            target=fields.text("target", max_length=MAX_PATH),
            recipe=Recipe.from_document(document.get("recipe")),
            calibration=fields.text("calibration", max_length=MAX_PATH) if has_rows else None,
            trust_code=fields.boolean("trust_code"),
            memory_mib=fields.integer("memory_mib", minimum=1, maximum=MAX_MEMORY_MIB),
            others=fields.list_of("others", _engine, max_items=MAX_ENGINES),
            only_check=fields.boolean("only_check"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What came of a job.

    Attributes:
        ranges: of activations, by tensor name, or None if none were needed.
        notes: what a person should know, a line each.
        excluded: names of the operators that stay in floats although the recipe quantizes
            them: some runtime would have answered otherwise.
    """

    ranges: dict[str, tuple[float, float]] | None = None
    notes: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        listed = None
        if self.ranges is not None:
            listed = [{"name": k, "low": v[0], "high": v[1]} for k, v in self.ranges.items()]
        return {
            "ranges": listed,
            "notes": [_short(note) for note in self.notes[:MAX_NOTES]],
            "excluded": list(self.excluded),
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
        return cls(ranges=ranges, notes=notes, excluded=excluded)


def failure_bytes(error: EdgeopsError) -> bytes:
    """Return the report of a failure: its kind, cause and next step."""
    name = next((each for each in _KINDS if type(error).__name__ == each), "ConversionFailed")
    return encode(
        {"error": name, "cause": _short(str(error)), "next_step": _short(error.next_step)}
    )


def _engine(fields: Fields) -> Engine:
    return Engine(
        runtime=fields.text("runtime"),
        package=fields.text("package"),
        python=fields.text("python", max_length=MAX_PATH),
        optimized=fields.boolean("optimized"),
    )


def _range(fields: Fields) -> tuple[str, tuple[float, float]]:
    low = fields.number("low", minimum=-MAX_NUMBER, maximum=MAX_NUMBER)
    high = fields.number("high", minimum=-MAX_NUMBER, maximum=MAX_NUMBER)
    return fields.text("name", max_length=MAX_NAME), (low, high)


def _short(text: str) -> str:
    line = " ".join(text.replace("\x00", " ").split()).encode(errors="replace").decode()
    return line if len(line) <= MAX_TEXT else line[: MAX_TEXT - 1] + "…"
