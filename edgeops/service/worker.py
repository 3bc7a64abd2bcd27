"""The retraining worker: trains, packages, compares, and publishes what is shown to be better.

It runs where the targets key and the training script are, and speaks to the hub as any client
does: the hub asks for a model, but cannot sign one.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np

from device_agent.processing.golden import decode_golden
from device_agent.protocol.envelope import Signature
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import Digest, digest_of
from device_agent.protocol.manifest import FORMAT_OF_RUNTIME, Manifest, Variant
from edgeops.domain.errors import (
    Conflict,
    EdgeopsError,
    GateFailed,
    HubUnreachable,
    InvalidInput,
)
from edgeops.domain.retraining import Contest
from edgeops.packaging.build import build_package
from edgeops.packaging.engines import Engine, engine_for
from edgeops.packaging.evaluate import predict
from edgeops.packaging.files.model_file import AS_IS, ModelFile, on_trial
from edgeops.packaging.gates.evidence import MAX_DROP
from edgeops.packaging.package import Package
from edgeops.packaging.recipes import Recipe
from edgeops.packaging.record.build_record import BuildRecord
from edgeops.packaging.request import MIN_ACCURACY, PackageRequest
from edgeops.packaging.rows.golden_rows import LabelledRows, read_golden_rows, spread
from edgeops.retraining.contest import DRIFTED, EVALUATION, contest, why_not
from edgeops.retraining.contract import TrainingTask
from edgeops.retraining.rows import read_rows, without, write_rows
from edgeops.retraining.script import TrainingLimits, run_script
from edgeops.service.verification import fetch_record
from edgeops.trust.keys import KeyFolder

CANDIDATE = "candidate"
PATIENCE_S = 600.0
"""How long a worker waits for a hub that is away."""
RETRY_S = 2.0
RENEW_S = 30.0
"""How often a worker tells that it works."""
MAX_WHY = 2000
"""The alias of the newest version that won its contest."""

Json = dict[str, Any]


class HubDoor(Protocol):
    """What a worker asks of a hub; ``edgeops.client.Client`` does it."""

    def version(self, reference: str) -> Json: ...  # noqa: D102
    def next_number(self, name: str) -> int: ...  # noqa: D102
    def data_set(self, reference: str) -> Json: ...  # noqa: D102
    def get_blob(self, digest: str) -> bytes: ...  # noqa: D102
    def has_blob(self, digest: Digest) -> bool: ...  # noqa: D102
    def put_blob(self, digest: Digest, data: bytes) -> None: ...  # noqa: D102
    def publish(self, manifest: Digest, signature: Signature) -> Json: ...  # noqa: D102
    def set_alias(self, model: str, alias: str, version: int) -> Json: ...  # noqa: D102
    def create_rollout(self, version: str, **options: Any) -> Json: ...  # noqa: D102
    def retrain_policy(self, model: str) -> Json: ...  # noqa: D102
    def move_retraining(  # noqa: D102
        self, retraining: str, step: str, found: Mapping[str, Any]
    ) -> Json: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a worker works.

    Attributes:
        script: the training script.
        keys: folder with the targets key.
        cache: folder of conversions.
        folder: where each retraining has its folder, with log and models.
        limits: of the training script.
        seed: given to the script.
    """

    script: Path
    keys: Path
    cache: Path
    folder: Path
    limits: TrainingLimits = field(default_factory=TrainingLimits)
    seed: int = 0


def work(
    hub: HubDoor, asked: Json, options: WorkerOptions, progress: Callable[[str], None]
) -> Json:
    """Do one retraining, to its end.

    Whatever fails (the script, a gate, the comparison, the disk) ends it with its reason;
    nothing is published then. Who stops the worker gives it back: another one may begin. While
    the hub is away, the worker waits for it.

    Args:
        hub: where it was asked for.
        asked: the retraining, as the hub shows it.
        options: script, keys, folders.
        progress: told one line about each step.

    Returns:
        The retraining as it ended.

    Raises:
        HubUnreachable: the hub stayed away.
        EdgeopsError: somebody else has moved it.
    """
    patient = _patient(hub, progress)
    patient.move_retraining(asked["id"], "claim", {})
    try:
        step, found = _done(hub, asked, options, progress)
    except (Conflict, HubUnreachable):
        raise  # it is not ours any more, or nobody can be told
    except Exception as error:  # noqa: BLE001 - the last door: whatever script or disk provokes ends it
        step, found = "fail", {"why": _told(error)}
    except BaseException:  # stopped by a person or the system
        with suppress(EdgeopsError):
            hub.move_retraining(asked["id"], "release", {"why": "its worker was stopped"})
        raise
    if found["why"]:
        progress(f"{step}: {found['why']}")
    return patient.move_retraining(asked["id"], step, found)


def _done(
    hub: HubDoor, asked: Json, options: WorkerOptions, progress: Callable[[str], None]
) -> tuple[str, Json]:
    """Train, compare and publish; return how it ended, and what was found."""
    job = _Job(hub, asked, options, progress)
    try:
        package, found = job.challenge()
    except GateFailed as error:
        return "reject", {"why": _told(error)}
    if found["why"]:
        return "reject", found
    hub = _patient(hub, progress)
    upload(hub, package, progress)
    number = package.manifest.version
    hub.set_alias(asked["model"], CANDIDATE, number)
    return "publish", {**found, "child": number, **_begin(hub, asked["model"], number, job.policy)}


def _told(error: Exception) -> str:
    """Return an error for the record: cause and next step."""
    if not isinstance(error, EdgeopsError):
        return f"{type(error).__name__}: {error}"[:MAX_WHY]
    return f"{error}{f'; {error.next_step}' if error.next_step else ''}"[:MAX_WHY]


def _patient(hub: HubDoor, progress: Callable[[str], None]) -> HubDoor:
    return cast("HubDoor", _PatientDoor(hub, progress))


class _PatientDoor:
    """A hub that is waited for while it is away: it may be starting again."""

    def __init__(self, hub: HubDoor, progress: Callable[[str], None]) -> None:
        self._hub, self._progress = hub, progress

    def __getattr__(self, name: str) -> Callable[..., Any]:
        ask = getattr(self._hub, name)

        def asked(*arguments: Any, **options: Any) -> Any:
            end_s = time.monotonic() + PATIENCE_S
            told = False
            while True:
                try:
                    return ask(*arguments, **options)
                except HubUnreachable as error:
                    if time.monotonic() > end_s:
                        raise
                    if not told:
                        self._progress(f"waiting for the hub: {error}")
                        told = True
                    time.sleep(RETRY_S)

        return asked


def upload(hub: HubDoor, package: Package, progress: Callable[[str], None]) -> None:
    """Upload what the hub misses of a package, and publish it."""
    more = {digest_of(data): data for data in package.provenance.values()}
    for digest, data in {**package.blobs, **more}.items():
        if not hub.has_blob(digest):
            progress(f"uploading {digest[:19]}… ({len(data)} bytes)")
            hub.put_blob(digest, data)
    hub.put_blob(package.digest, package.manifest_bytes)
    hub.publish(package.digest, package.signature)


def _begin(hub: HubDoor, model: str, number: int, policy: Json) -> Json:
    if policy["rollout"] is None:
        return {}
    # Where the parent is known to be wrong, answering other classes than it is no fault. Labels,
    # failures, latency and confidence are held against it as ever.
    options = {"probation": {"max_class_shift": 1.0}, **policy["rollout"]}
    try:
        begun = hub.create_rollout(f"{model}:{number}", **options)
    except EdgeopsError as error:  # it is a version all the same
        return {"why": f"published, but no rollout began: {error}"}
    return {"rollout": begun["id"]}


class _Job:
    """One retraining's files: data, parent, challenger."""

    def __init__(
        self, door: HubDoor, asked: Json, options: WorkerOptions, progress: Callable[[str], None]
    ) -> None:
        self._door, hub = door, _patient(door, progress)
        self._hub, self._asked, self._options, self._say = hub, asked, options, progress
        self._renewed_s = time.monotonic()
        # Now, so that it is of the script that runs and not of one that was edited meanwhile.
        self._code = digest_of(options.script.read_bytes())
        self.policy = hub.retrain_policy(asked["model"])
        options.folder.mkdir(parents=True, exist_ok=True)
        # A new folder for each try: a worker that died leaves its own behind, with the log.
        self._folder = Path(tempfile.mkdtemp(dir=options.folder, prefix=f"{asked['id']}-"))
        version = hub.version(f"{asked['model']}:{asked['parent']}")
        try:
            self._parent = Manifest.from_bytes(hub.get_blob(version["digest"]))
        except ProtocolError as error:
            raise InvalidInput(f"the parent's manifest is damaged: {error}") from error

    def _progress(self, line: str) -> None:
        self._say(line)
        self._still_works()

    def _still_works(self) -> None:
        """Tell the hub now and then, so that it does not take this worker for dead.

        Raises:
            Conflict: somebody else has moved the retraining: this worker is to stop.
        """
        if time.monotonic() - self._renewed_s >= RENEW_S:
            self._renewed_s = time.monotonic()
            with suppress(HubUnreachable):  # later: a hub that is away must not stop the clock
                self._door.move_retraining(self._asked["id"], "renew", {})

    def challenge(self) -> tuple[Package, Json]:
        """Return the challenger's package, and what the contest found (``why`` empty: it won)."""
        held = self._data(self._asked["evaluation"])
        drifted = self._data(self._asked["drifted"])
        train = self._train_data([held, drifted])
        self._progress(f"training with {self._options.script.name}, in {self._folder}")
        trained = run_script(
            self._options.script,
            self._task(train),
            self._folder,
            self._options.limits,
            self._still_works,
        )
        package = build_package(
            self._request(trained.models, train, held),
            KeyFolder(self._options.keys).targets(),
            self._progress,
        )
        contests = [
            made
            for name, path in ((EVALUATION, held), (DRIFTED, drifted))
            for made in self._contests(name, read_golden_rows(path, self._parent.filled), package)
        ]
        for each in contests:
            self._progress(
                f"{each.name} rows by {each.runtime}: {each.champion:.3f} → "
                f"{each.challenger:.3f}, gain between {each.gain_low:+.3f} and "
                f"{each.gain_high:+.3f}"
            )
        return package, {
            "why": why_not(contests, self.policy["max_drop"]),
            "metrics": dict(trained.metrics),
            "contests": [asdict(each) for each in contests],
        }

    def _data(self, reference: str) -> Path:
        path = self._folder / f"{reference.replace(':', '-')}.npz"
        path.write_bytes(self._hub.get_blob(self._hub.data_set(reference)["digest"]))
        return path

    def _train_data(self, judging: list[Path]) -> list[Path]:
        """Return the files to train on, without the rows that challenger and champion meet on.

        Raises:
            InvalidInput: nothing is left to train on.
        """
        judged = [read_rows(path.read_bytes(), path.name) for path in judging]
        paths = []
        for reference in self._asked["train"]:
            path = self._data(reference)
            rows = read_rows(path.read_bytes(), reference)
            kept = without(rows, judged)
            if dropped := len(rows.x) - len(kept.x):
                self._progress(f"{dropped} of {len(rows.x)} rows of {reference} judge: left out")
            if not len(kept.x):
                continue
            path.write_bytes(write_rows(kept))
            paths.append(path)
        if not paths:
            raise InvalidInput(
                f"all rows of {', '.join(self._asked['train'])} are among those that judge",
                next_step=f"give other data: edgeops retrain policy {self._asked['model']} --data",
            )
        return paths

    def _task(self, train: list[Path]) -> TrainingTask:
        files: dict[str, str] = {}
        for variant in self._parent.variants:
            form = FORMAT_OF_RUNTIME[variant.runtime]
            path = self._folder / f"parent.{form}"
            path.write_bytes(self._hub.get_blob(variant.artifact.ref.digest))
            files[form] = str(path)
        return TrainingTask(
            id=self._asked["id"],
            model=self._asked["model"],
            seed=self._options.seed,
            labels=self._parent.labels,
            preprocessing=self._parent.preprocessing,
            parent=self._asked["parent"],
            parent_files=files,
            train=tuple(str(path) for path in train),
        )

    def _request(self, models: tuple[Path, ...], train: list[Path], held: Path) -> PackageRequest:
        parent = self._parent
        evidence = [each.evidence for each in parent.variants if each.evidence is not None]
        recipes = self._recipes([each.recipe for each in evidence])
        drops = [each.max_drop for each in evidence]
        profiles = dict.fromkeys(name for each in parent.variants for name in each.profiles)
        return PackageRequest(
            models=models,
            name=str(parent.model),
            version=self._hub.next_number(str(parent.model)),
            profiles=tuple(profiles),
            golden=self._golden(held),
            evaluation=held,
            calibration=self._calibration(train) if recipes else None,
            recipes=recipes,
            cache=self._options.cache,
            min_accuracy=MIN_ACCURACY if parent.min_accuracy is None else parent.min_accuracy,
            labels=parent.labels,
            preprocessing=parent.preprocessing,
            thresholds=parent.thresholds,
            chunk_bytes=parent.variants[0].artifact.ref.chunk_bytes,
            lineage=self._lineage(),
            max_drop=max(drops, default=MAX_DROP),
            metric=next((each.metric.name for each in parent.variants if each.metric), "accuracy"),
        )

    def _recipes(self, names: list[str]) -> tuple[Recipe | str, ...]:
        """Return the parent's recipes: as its build record has them, else by their names."""
        kept = fetch_record(self._hub, self._parent)
        if kept is None:
            return tuple(dict.fromkeys(name for name in names if name != AS_IS))
        made = (each.recipe for each in BuildRecord.from_bytes(kept).artifacts)
        return tuple(recipe for recipe in made if recipe is not None)

    def _golden(self, held: Path) -> Path:
        """Return as many golden rows as devices got with the parent: all of them is a burden."""
        kept = [each.golden for each in self._parent.variants if each.golden is not None]
        if not kept:
            return held
        rows = decode_golden(self._hub.get_blob(kept[0].ref.digest)).count
        chosen = read_golden_rows(held, self._parent.filled)
        part = chosen.at(spread(len(chosen.x), rows))
        path = self._folder / "golden.npz"
        with path.open("wb") as file:
            np.savez(file, x=part.x, y=_labels_of(part, EVALUATION))
        return path

    def _lineage(self) -> dict[str, str]:
        asked = self._asked
        return {
            "parent": f"{asked['model']}:{asked['parent']}",
            "retraining": asked["id"],
            **({"alarm": asked["alarm"]} if asked["alarm"] else {}),
            "data": ", ".join(asked["train"])[:500],
            "code": self._code,
        }

    def _calibration(self, train: list[Path]) -> Path:
        parts = [read_rows(path.read_bytes(), path.name).x for path in train]
        if len({part.shape[1:] for part in parts}) > 1:
            raise InvalidInput("the data sets to train on have rows of different shapes")
        path = self._folder / "calibration.npz"
        buffer = io.BytesIO()
        np.savez(buffer, x=np.concatenate(parts))
        path.write_bytes(buffer.getvalue())
        return path

    def _contests(self, name: str, rows: LabelledRows, package: Package) -> list[Contest]:
        truth = _labels_of(rows, name)
        champions = {each.runtime: each for each in self._parent.variants}
        made = []
        for variant in package.manifest.variants:
            champion = champions.get(variant.runtime)
            if champion is None:
                continue
            data = self._hub.get_blob(champion.artifact.ref.digest)
            own = package.blobs[variant.artifact.ref.digest]
            engine = engine_for(variant.runtime, self._options.cache, self._progress)
            before = _classes(self._parent, champion, engine, data, rows)
            after = _classes(package.manifest, variant, engine, own, rows)
            made.append(contest(name, variant.runtime, truth, before, after))
        return made


def _labels_of(rows: LabelledRows, name: str) -> Any:
    if rows.y is None:
        raise InvalidInput(f"the {name} rows have no labels")
    return rows.y


def _classes(
    manifest: Manifest, variant: Variant, engine: Engine, data: bytes, rows: LabelledRows
) -> Any:
    file = ModelFile(
        name=f"{manifest.model}:{manifest.version}",
        data=data,
        format=FORMAT_OF_RUNTIME[variant.runtime],
        preprocessing=manifest.preprocessing,
        thresholds=manifest.thresholds,
    )
    with on_trial(file, engine) as trial:
        return predict(trial, rows, like=variant.outputs, scores=variant.scores).classes
