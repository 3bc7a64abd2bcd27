"""What to package: everything that a person or a pipeline decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from device_agent.protocol.chunks import (
    DEFAULT_CHUNK_BYTES,
    MAX_CHUNK_BYTES,
    MIN_CHUNK_BYTES,
)
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.evidence import MAX_SQNR_DB
from device_agent.protocol.fields import Fields
from device_agent.protocol.manifest import MAX_VERSION, Budget, Waiver, agent_version_key
from device_agent.protocol.preprocessing import Preprocessing
from device_agent.protocol.thresholds import read_thresholds
from edgeops.domain.errors import InvalidInput
from edgeops.domain.registry import parse_model
from edgeops.packaging.gates.evidence import MAX_DROP
from edgeops.packaging.gates.metrics import ACCURACY, read_metric
from edgeops.packaging.gates.quality import FidelityBars
from edgeops.packaging.gates.verdicts import GATES
from edgeops.packaging.recipes import Recipe
from edgeops.packaging.recipes.trials import SIZE
from edgeops.packaging.record.build_record import BUILD_KEY

MIN_ACCURACY = 0.8
MAX_BUDGET = 1e9
RESERVED_LINEAGE = (
    *("source.", "recipe.", "excluded.", "converter.", "calibration.", "runtime."),
    *("arena.", "evaluation", "golden", "packager", BUILD_KEY),
)
"""Beginnings of the lineage keys that the packager itself fills in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRequest:
    """One package to make.

    Attributes:
        models: model files, one for each format, or one that is converted to several; formats
            are found out by their content.
        name: the model's name in the registry.
        version: its number, from 1.
        profiles: ids of the classes of board that it is for.
        golden: ``.npz`` with rows ``x`` and labels ``y``, or None.
        evaluation: ``.npz`` with labelled rows that nothing was trained or calibrated on: gives
            evidence and the reference profile.
        calibration: ``.npz`` with rows ``x`` that quantization takes its ranges from.
        preprocessing: what evaluation and device do to each row first, or None. Golden,
            evaluation and calibration rows are then as the application gives them.
        thresholds: how sure the model must be of a class: one number for all, or one for each in
            the order of the scores; empty asks for none.
        recipes: how artifacts are made: a precision (``int8``) for every format, or recipes or
            their names or files, one for each format; ``auto`` searches one; empty packages
            files as they are.
        objective: what ``auto`` searches for: ``size``, ``latency`` or ``accuracy``.
        trust_code: take models that hold code (Lambda layers, custom objects, distrusted types).
        cache: folder of conversions, needed with recipes and for Keras models.
        keep_float: put the float models into the package, so that others can make it again.
        metric: what the quality gate looks at, see ``packaging.gates.metrics``.
        max_drop: of it what may be lost against the float model: the upper end of the
            interval of the drop must be below it.
        fidelity: how near the answers must be to the float model's.
        min_accuracy: share of labelled golden rows that every variant must answer right.
        waivers: gates that a person waives, each with a reason.
        labels: names of the classes, in the order of the scores.
        chunk_bytes: size of the chunks that devices fetch; small on slow links.
        budget: what the model may cost on a device; None takes the strictest budget of the
            profiles that share an artifact.
        lineage: where the model comes from (``data``, ``code``, ``run``, ``parent``, …).
        min_agent: oldest agent that may run it; with preprocessing or thresholds at least the
            first that applies them.
        scores: output that holds the scores; None finds it.
        tolerance: largest absolute difference to the golden answers that a device may show;
            None chooses by the outputs (see ``evaluate``).
    """

    models: tuple[Path, ...]
    name: str
    version: int
    profiles: tuple[str, ...]
    golden: Path | None = None
    evaluation: Path | None = None
    calibration: Path | None = None
    preprocessing: Preprocessing | None = None
    thresholds: tuple[float, ...] = ()
    recipes: tuple[Recipe | str, ...] = ()
    objective: str = SIZE
    trust_code: bool = False
    cache: Path | None = None
    keep_float: bool = True
    metric: str = ACCURACY.name
    max_drop: float = MAX_DROP
    fidelity: FidelityBars = field(default_factory=FidelityBars)
    min_accuracy: float = MIN_ACCURACY
    waivers: tuple[Waiver, ...] = ()
    labels: tuple[str, ...] = ()
    chunk_bytes: int = DEFAULT_CHUNK_BYTES
    budget: Budget | None = None
    lineage: Mapping[str, str] = field(default_factory=dict)
    min_agent: str = "0.1.0"
    scores: str | None = None
    tolerance: float | None = None


def check_request(request: PackageRequest) -> None:
    """Refuse what cannot become a package, before any file is read.

    Raises:
        InvalidInput: the first thing that cannot be.
    """
    parse_model(request.name)
    if not request.models:
        raise InvalidInput(
            "no model file is given", next_step="name a .tflite, .onnx, .keras, .h5 or .skops file"
        )
    if not request.profiles:
        raise InvalidInput("no profile is given", next_step="list them with: edgeops profiles list")
    read_metric(request.metric)
    _check_range("version", request.version, 1, MAX_VERSION)
    _check_range("min_accuracy", request.min_accuracy, 0.0, 1.0)
    _check_range("max_drop", request.max_drop, 0.0, 1.0)
    _check_range("min_sqnr_db", request.fidelity.min_sqnr_db, -MAX_SQNR_DB, MAX_SQNR_DB)
    _check_range("min_agreement", request.fidelity.min_agreement, 0.0, 1.0)
    _check_budget(request.budget)
    _check_names(request.labels)
    _check_range("chunk_bytes", request.chunk_bytes, MIN_CHUNK_BYTES, MAX_CHUNK_BYTES)
    if request.tolerance is not None:
        _check_range("tolerance", request.tolerance, 0.0, 1e15)
    for waiver in request.waivers:
        if waiver.gate not in GATES or not waiver.reason.strip():
            raise InvalidInput(
                f"gate {waiver.gate[:40]!r} cannot be waived with the reason {waiver.reason!r}",
                next_step=f"gates that can be waived: {', '.join(GATES)}; say why",
            )
    for key in request.lineage:
        if key.startswith(RESERVED_LINEAGE):
            raise InvalidInput(
                f"lineage {key[:40]!r} is filled in by the packager itself",
                next_step="give yours another key",
            )
    try:
        if request.preprocessing is not None:
            document = request.preprocessing.to_document()
            Preprocessing.from_fields(Fields(document, "preprocessing"))
        asked = {"thresholds": [float(each) for each in request.thresholds]}
        read_thresholds(Fields(asked, "request"), "thresholds")
        agent_version_key(request.min_agent)
    except ProtocolError as error:
        raise InvalidInput(
            str(error), next_step=error.next_step or "give what its documentation says"
        ) from error


def _check_budget(budget: Budget | None) -> None:
    """Refuse budgets that no model can hold."""
    if budget is None:
        return
    limits = {"latency_ms_p95": budget.latency_ms_p95, "memory_mib": budget.memory_mib}
    for what, limit in limits.items():
        if limit is not None and not 0.0 < limit <= MAX_BUDGET:
            raise InvalidInput(
                f"the budget {what} is {limit:g}, not above 0 and up to {MAX_BUDGET:g}",
                next_step="give what one model may cost on the device, or leave it out",
            )


def _check_names(labels: tuple[str, ...]) -> None:
    """Refuse names of classes that name nothing, or two classes alike."""
    empty = [at for at, each in enumerate(labels) if not each.strip()]
    if empty:
        raise InvalidInput(
            f"the label of class {empty[0]} is empty",
            next_step="give one name for each class, in the order of the scores",
        )
    twice = [each for at, each in enumerate(labels) if each in labels[:at]]
    if twice:
        raise InvalidInput(
            f"the label {twice[0][:40]!r} is given twice",
            next_step="give each class a name of its own",
        )


def _check_range(what: str, value: float, minimum: float, maximum: float) -> None:
    if not minimum <= value <= maximum:
        raise InvalidInput(
            f"{what} is {value}, not in {minimum:g}..{maximum:g}",
            next_step="give one in this range",
        )
