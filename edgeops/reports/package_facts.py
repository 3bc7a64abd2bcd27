"""Facts of a package: all that its report knows. Nothing of a clock or a machine is in them.

None, and empty tuples, mean that it is not known: older packages have no build record.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeops.reports.facts import VariantFacts

MODEL_INPUT = 0
"""Stands for the model's inputs where numbers of operations are meant; those begin at 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictFacts:
    """One check of a gate: whether it held, and what was found."""

    holds: bool
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFacts:
    """One gate: what its checks found, and why a person waived it (empty if nobody did)."""

    name: str
    verdicts: tuple[VerdictFacts, ...] = ()
    waived: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFacts:
    """One candidate of a search.

    Attributes:
        recipe: its name.
        size_bytes: of the file; None if none could be made, as the next two.
        sqnr_db: likeness of its scores to the float model's.
        agreement: share of the rows that it answers as the float model does.
        latency_ms: median of one row on the host that searched; None where that is not known.
        why_not: why it cannot be taken, empty if it can.
        on_front: no other that can be taken is both smaller and nearer to the float model.
        chosen: the artifact was made by it.
    """

    recipe: str
    size_bytes: int | None
    sqnr_db: float | None
    agreement: float | None
    latency_ms: float | None = None
    why_not: str = ""
    on_front: bool = False
    chosen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SensitivityFacts:
    """An operator, and the relative error of the answers when it alone is quantized.

    ``number`` and ``type`` are those of the artifact's operation of that name, None and empty if
    it has no such one.
    """

    name: str
    error: float
    number: int | None = None
    type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFacts:
    """One operator of an artifact, with a batch of one row.

    Attributes:
        number: its place in the order of computing, from 1.
        type: as the format calls it.
        name: of its first output.
        takes: numbers of the operations whose outputs it takes; ``MODEL_INPUT`` for an input.
        weights: elements of its constants of rank 2 or more.
        weight_dtype: theirs, empty without weights.
        activation_dtype: of its first input, empty if that is unknown.
        constant_bytes: bytes of all its constants.
        output_bytes: bytes of what it makes.
        macs: multiplications with accumulation.
        live_bytes: of all values that exist while it runs.
    """

    number: int
    type: str
    name: str
    takes: tuple[int, ...] = ()
    weights: int = 0
    weight_dtype: str = ""
    activation_dtype: str = ""
    constant_bytes: int = 0
    output_bytes: int = 0
    macs: int = 0
    live_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportFacts:
    """Whether a profile's runtime runs an artifact; ``runs`` None: nobody tried, or it is unknown.

    ``found`` is what the gate said.
    """

    profile: str
    runtime: str
    runs: bool | None
    found: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorFacts:
    """How far scores are from the float model's, row by row, on one runtime.

    Attributes:
        runtime: what ran the artifact.
        rows: evaluation rows.
        same: those with exactly the same scores, which are in no bin.
        low: where the first bin begins.
        high: where the last one ends; bins are equally wide on a logarithmic scale.
        counts: rows by bin; what lies outside is in the end bins.
        median: error that half of the rows do not exceed.
        p95: error that 95 % of the rows do not exceed.
        worst: largest error.
    """

    runtime: str
    rows: int
    same: int
    low: float
    high: float
    counts: tuple[int, ...]
    median: float
    p95: float
    worst: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFacts:
    """One file of a package.

    Attributes:
        digest: of its bytes.
        format: ``tflite`` or ``onnx``.
        size_bytes: its size.
        runtimes: that run it.
        supports: for each profile that it is for.
        recipe: how it was made, empty if that is not known; ``as-is`` if it was given so.
        source: digest of the model that a person named, empty if that is not known.
        float_model: digest of the float model that it was made from, empty without.
        calibration: digest of the rows that ranges were taken from, empty without.
        ranges: how many ranges of activations it was made with, None if it needs none.
        excluded: operators that stayed in floats, as some runtime misreads them.
        notes: of its making.
        tools: ``(package, version)`` that took part.
        operations: in the order of computing; empty if nothing here reads the file.
        trials: of the search for its recipe, empty if there was none.
        stopped: why the search stopped.
        objective: what the search was for.
        float_ms: median of one row of the float model on the host that searched.
        sensitivity: of operators that were quantized alone, the costliest first.
    """

    digest: str
    format: str
    size_bytes: int
    runtimes: tuple[str, ...]
    supports: tuple[SupportFacts, ...] = ()
    recipe: str = ""
    source: str = ""
    float_model: str = ""
    calibration: str = ""
    ranges: int | None = None
    excluded: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    tools: tuple[tuple[str, str], ...] = ()
    operations: tuple[OperationFacts, ...] = ()
    trials: tuple[TrialFacts, ...] = ()
    stopped: str = ""
    objective: str = ""
    float_ms: float | None = None
    sensitivity: tuple[SensitivityFacts, ...] = ()

    @property
    def macs(self) -> int:
        """Multiplications with accumulation for one row."""
        return sum(each.macs for each in self.operations)

    @property
    def peak_bytes(self) -> int:
        """Most bytes of values that exist at once."""
        return max((each.live_bytes for each in self.operations), default=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What the host that packaged measured of a file; never what a board takes.

    Attributes:
        runtime: what ran it.
        package: that runtime's package and version.
        threads: of the runtime.
        latency_ms: median of one row.
        latency_ms_p95: 95th percentile of one row.
        memory_mib: growth of resident memory; None for microcontrollers.
    """

    runtime: str
    package: str
    threads: int
    latency_ms: float
    latency_ms_p95: float
    memory_mib: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageFacts:
    """One package.

    Attributes:
        model: name of the model.
        number: of the version.
        digest: of its manifest.
        key: id of the key that signed it.
        signature: ``trusted``, ``not trusted`` or ``not checked``.
        found: what was found of the signature.
        min_agent: the oldest agent that can run all of it.
        labels: names of the classes, in the order of the model's scores.
        lineage: ``(key, value)``, where it comes from.
        has_record: whether it carries its build record.
        gates: that packages pass, in their order.
        variants: its artifacts as profiles get them.
        artifacts: its files.
        errors: of the scores, one for each runtime.
        host: the machine that packaged it, empty if what it measured is not here.
        runs: what that machine measured; not signed.
    """

    model: str
    number: int
    digest: str
    key: str
    signature: str
    found: str
    min_agent: str = ""
    labels: tuple[str, ...] = ()
    lineage: tuple[tuple[str, str], ...] = ()
    has_record: bool = False
    gates: tuple[GateFacts, ...] = ()
    variants: tuple[VariantFacts, ...] = ()
    artifacts: tuple[ArtifactFacts, ...] = ()
    errors: tuple[ErrorFacts, ...] = ()
    host: str = ""
    runs: tuple[RunFacts, ...] = ()

    def artifact_on(self, runtime: str) -> ArtifactFacts | None:
        """Return the file that a runtime runs, None if there is none."""
        return next((each for each in self.artifacts if runtime in each.runtimes), None)
