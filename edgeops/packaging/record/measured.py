"""What this machine measured of a package: latency and memory, where it was, beside what is signed.

Such figures are others each time and on each machine. The build record and the manifest must not
be, so they have a file of their own beside the blobs of a layout, ``measured/DIGEST.json``: it
names the package that it is of, is not signed, and is neither published nor pushed. It says nothing
of any board.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from device_agent.protocol.ids import Digest, digest_of
from device_agent.protocol.manifest import FORMAT_OF_RUNTIME
from edgeops.domain.errors import InvalidPackage
from edgeops.packaging.evaluate import Evaluation
from edgeops.packaging.files.model_file import ModelFile

MAX_MEASURED_BYTES = 1024 * 1024
MAX_RUNS = 16
MAX_SEARCHES = 4
MAX_TRIALS = 512
MAX_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class RunMeasured:
    """One artifact on one runtime, by a single thread.

    Attributes:
        artifact: its digest.
        runtime: its runtime.
        package: that runtime's package and version.
        threads: of the runtime.
        latency_ms: median of one row.
        latency_ms_p95: 95th percentile of one row.
        memory_mib: growth of resident memory by loading and one run; None where that says
            nothing: microcontrollers have an arena instead.
    """

    artifact: Digest
    runtime: str
    package: str
    threads: int
    latency_ms: float
    latency_ms_p95: float
    memory_mib: float | None

    @classmethod
    def from_fields(cls, fields: Fields) -> RunMeasured:
        """Read the JSON form."""
        return cls(
            artifact=fields.digest("artifact"),
            runtime=fields.text("runtime", max_length=MAX_NAME),
            package=fields.text("package", max_length=MAX_NAME),
            threads=fields.integer("threads", minimum=1, maximum=1024),
            latency_ms=fields.number("latency_ms"),
            latency_ms_p95=fields.number("latency_ms_p95"),
            memory_mib=fields.number("memory_mib") if fields.has("memory_mib") else None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialMeasured:
    """One candidate of a search by the name of its recipe, and the median of one row."""

    recipe: str
    latency_ms: float

    @classmethod
    def from_fields(cls, fields: Fields) -> TrialMeasured:
        """Read the JSON form."""
        return cls(
            recipe=fields.text("recipe", max_length=MAX_NAME),
            latency_ms=fields.number("latency_ms"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchMeasured:
    """What a search measured: the float model, None if that is not known, and its candidates."""

    format: str
    float_ms: float | None
    trials: tuple[TrialMeasured, ...]

    @classmethod
    def from_fields(cls, fields: Fields) -> SearchMeasured:
        """Read the JSON form."""
        return cls(
            format=fields.text("format", max_length=MAX_NAME),
            float_ms=fields.number("float_ms") if fields.has("float_ms") else None,
            trials=fields.list_of("trials", TrialMeasured.from_fields, max_items=MAX_TRIALS),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one machine measured.

    Attributes:
        package: digest of the package.
        processor: of that machine, as its system names it.
        cores: that the process could use.
        system: operating system and architecture.
        runs: of the artifacts.
        searches: for recipes.
    """

    package: Digest
    processor: str
    cores: int
    system: str
    runs: tuple[RunMeasured, ...] = ()
    searches: tuple[SearchMeasured, ...] = ()

    @property
    def host(self) -> str:
        """The machine in one line."""
        return f"{self.processor}, {self.cores} cores, {self.system}"

    def to_bytes(self) -> bytes:
        """Return the JSON form."""
        return encode({"schema_version": SCHEMA_VERSION, **asdict(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Measured:
        """Read it from anybody's bytes.

        Raises:
            InvalidPackage: it is none; the message names the field.
        """
        try:
            fields = Fields(decode(data, max_bytes=MAX_MEASURED_BYTES), "measured")
            fields.check_schema()
            return cls(
                package=fields.digest("package"),
                processor=fields.text("processor", max_length=MAX_NAME),
                cores=fields.integer("cores", minimum=1),
                system=fields.text("system", max_length=MAX_NAME),
                runs=fields.list_of("runs", RunMeasured.from_fields, max_items=MAX_RUNS),
                searches=fields.list_of(
                    "searches", SearchMeasured.from_fields, max_items=MAX_SEARCHES
                ),
            )
        except ProtocolError as error:
            raise InvalidPackage(
                f"what was measured is damaged: {error}",
                next_step="remove measured/ from the layout folder: it is no part of a package",
            ) from error


def measured_here(
    package: Digest, files: Mapping[str, ModelFile], evaluations: Mapping[str, Evaluation]
) -> Measured:
    """Return what this machine measured while a package was made.

    Args:
        package: its digest.
        files: the artifacts by format.
        evaluations: by runtime.
    """
    runs = [
        RunMeasured(
            artifact=digest_of(files[FORMAT_OF_RUNTIME[runtime]].data),
            runtime=runtime,
            package=found.engine.package,
            threads=found.threads,
            latency_ms=round(found.latency_ms_p50, 5),
            latency_ms_p95=round(found.latency_ms_p95, 5),
            memory_mib=None if runtime == "tflm" else round(found.memory_mib, 2),
        )
        for runtime, found in evaluations.items()
    ]
    searches = [found for file in files.values() if (found := _searched(file)) is not None]
    return Measured(
        package=package,
        processor=processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        system=f"{platform.system()} {platform.machine()}",
        runs=tuple(runs),
        searches=tuple(searches),
    )


def _searched(file: ModelFile) -> SearchMeasured | None:
    if file.made is None or not file.made.making.trials:
        return None
    making = file.made.making
    timed = [(each.recipe.name, each.latency_ms) for each in making.trials]
    return SearchMeasured(
        format=file.format,
        float_ms=making.float_ms,
        trials=tuple(
            TrialMeasured(recipe=name, latency_ms=took) for name, took in timed if took is not None
        ),
    )


def processor() -> str:
    """Return the name of this machine's processor, as the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        lines = []
    named = next((line for line in lines if line.startswith("model name")), "")
    name = named.partition(":")[2].strip() or platform.processor() or platform.machine()
    return " ".join(name.split())[:MAX_NAME] or "unknown"
