"""The build record: how artifacts were made, what they are made of, and which gates held.

It travels with the package, named by its digest in the signed lineage, and devices never fetch it.
With it and the float model an artifact can be made again without any rows: quantization takes its
ranges from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from device_agent.protocol.ids import Digest
from edgeops.domain.errors import InvalidInput, InvalidPackage
from edgeops.packaging.convert.job import Report
from edgeops.packaging.gates.score_errors import ScoreErrors
from edgeops.packaging.gates.verdicts import Verdict
from edgeops.packaging.recipes import Recipe
from edgeops.packaging.record.anatomy import Anatomy

BUILD_RECORD = "build.json"
"""Its name in a package, and (without the suffix) the key of its digest in the lineage."""
BUILD_KEY = "build"
MAX_RECORD_BYTES = 64 * 1024 * 1024
MAX_ARTIFACTS = 16
MAX_VERDICTS = 256
MAX_TOOLS = 64
MAX_ERRORS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRecord:
    """How one artifact was made.

    Attributes:
        artifact: its digest.
        format: ``tflite`` or ``onnx``.
        source: digest of the model that a person named.
        recipe: None for a file that was packaged as it is.
        making: ranges, exclusions, promise and notes; None as above.
        float_model: digest of the float model that it was made from, None if it is that itself.
        calibration: digest of the rows that ranges were taken from, None without.
        tools: versions of the packages that took part, by name.
        anatomy: None if nothing here reads the format.
    """

    artifact: Digest
    format: str
    source: Digest
    recipe: Recipe | None = None
    making: Report | None = None
    float_model: Digest | None = None
    calibration: Digest | None = None
    tools: Mapping[str, str] = field(default_factory=dict)
    anatomy: Anatomy | None = None

    def to_document(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "artifact": self.artifact,
            "format": self.format,
            "source": self.source,
            "recipe": None if self.recipe is None else self.recipe.to_document(),
            "making": None if self.making is None else self.making.to_document(),
            "float_model": self.float_model,
            "calibration": self.calibration,
            "tools": dict(sorted(self.tools.items())),
            "anatomy": None if self.anatomy is None else self.anatomy.to_document(),
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> ArtifactRecord:
        """Read the JSON form.

        Raises:
            ProtocolError, InvalidInput: it is none.
        """
        tools = fields.fields("tools")
        return cls(
            artifact=fields.digest("artifact"),
            format=fields.text("format"),
            source=fields.digest("source"),
            recipe=fields.optional("recipe", Recipe.from_fields),
            making=fields.optional("making", Report.from_fields),
            float_model=fields.digest("float_model") if fields.has("float_model") else None,
            calibration=fields.digest("calibration") if fields.has("calibration") else None,
            tools={name: tools.text(name) for name in tools.names()[:MAX_TOOLS]},
            anatomy=fields.optional("anatomy", Anatomy.from_fields),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRecord:
    """How a package was made.

    Attributes:
        artifacts: one for each format.
        verdicts: of its gates.
        errors: of the scores of converted artifacts, one for each runtime; records from before
            there were any have none.
    """

    artifacts: tuple[ArtifactRecord, ...]
    verdicts: tuple[Verdict, ...]
    errors: tuple[ScoreErrors, ...] = ()

    def of(self, artifact: Digest) -> ArtifactRecord | None:
        """Return the record of an artifact."""
        return next((each for each in self.artifacts if each.artifact == artifact), None)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: what the lineage names."""
        return encode(
            {
                "schema_version": SCHEMA_VERSION,
                "artifacts": [each.to_document() for each in self.artifacts],
                "verdicts": [each.to_document() for each in self.verdicts],
                "errors": [each.to_document() for each in self.errors],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> BuildRecord:
        """Read a record from anybody's bytes.

        Raises:
            InvalidPackage: it is none; the message names the field.
        """
        try:
            fields = Fields(decode(data, max_bytes=MAX_RECORD_BYTES), "build record")
            fields.check_schema()
            return cls(
                artifacts=fields.list_of(
                    "artifacts", ArtifactRecord.from_fields, max_items=MAX_ARTIFACTS
                ),
                verdicts=fields.list_of("verdicts", Verdict.from_fields, max_items=MAX_VERDICTS),
                errors=(
                    fields.list_of("errors", ScoreErrors.from_fields, max_items=MAX_ERRORS)
                    if fields.has("errors")
                    else ()
                ),
            )
        except (ProtocolError, InvalidInput) as error:
            raise InvalidPackage(
                f"the build record is damaged: {error}",
                next_step="package it again, or pull it again",
            ) from error
