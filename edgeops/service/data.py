"""Data sets: versions of rows, named by their content; and the samples that devices let out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from device_agent.protocol.chunks import MAX_BLOB_BYTES
from device_agent.protocol.ids import ModelName, digest_of
from edgeops.access import audit
from edgeops.domain.errors import InvalidInput, NotFound
from edgeops.domain.registry import parse_model
from edgeops.domain.retraining import DataSet, parse_data_name
from edgeops.registry.versions import list_versions
from edgeops.retraining.rows import Rows, read_rows, rows_of, write_rows
from edgeops.service.context import Context
from edgeops.service.packages import manifest_of
from edgeops.store.database import Work

MOST_SAMPLES = 50_000
"""Newest samples that one data set is made of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleCount:
    """How many samples of a model the hub has."""

    model: str
    samples: int
    labelled: int


def add(context: Context, actor: str, name: str, data: bytes, origin: Mapping[str, str]) -> DataSet:
    """Add a version of a data set; the same content again is the version that it was.

    Raises:
        InvalidInput: no rows, or not readable; the message says what.
    """
    rows = read_rows(data, origin.get("file", name))
    origin = {**origin, "source": digest_of(data)}
    with context.database.begin() as work:
        return keep(context, work, actor, name, rows, origin)


def add_samples(context: Context, actor: str, name: str, model: str) -> DataSet:
    """Add a version of a data set from the labelled samples of a model.

    Raises:
        NotFound: no such model.
        InvalidInput: there are none.
    """
    known = parse_model(model)
    with context.database.begin() as work:
        newest = manifest_of(context, list_versions(work.registry, known)[-1])
        found = work.retraining.samples_of(known, limit=MOST_SAMPLES)
        rows = rows_of([sample for _, sample in found], filled=newest.filled)
        if rows is None:
            raise no_samples(known)
        return keep(context, work, actor, name, rows, {"samples": known})


def keep(
    context: Context, work: Work, actor: str, name: str, rows: Rows, origin: Mapping[str, str]
) -> DataSet:
    """Keep rows as the next version of a data set, in the caller's transaction."""
    versions = work.retraining.data(parse_data_name(name))
    blob = write_rows(rows)
    if len(blob) > MAX_BLOB_BYTES:
        raise InvalidInput(f"{len(blob)} bytes of rows, {MAX_BLOB_BYTES} are allowed")
    digest = digest_of(blob)
    same = [each for each in versions if each.digest == digest]
    if same:
        return same[0]
    context.blobs.put(digest, blob)
    added = DataSet(
        name=name,
        number=1 + max((each.number for each in versions), default=0),
        digest=digest,
        rows=len(rows.x),
        labelled=rows.y is not None,
        origin=dict(origin),
        created_s=context.clock(),
        created_by=actor,
    )
    work.retraining.add_data(added)
    audit.record(
        work.audit, added.created_s, actor, "data.add", added.reference, digest=digest, **origin
    )
    return added


def listed(context: Context) -> tuple[DataSet, ...]:
    """Return every version of every data set."""
    with context.database.read() as work:
        return work.retraining.data()


def show(context: Context, reference: str) -> DataSet:
    """Return the data set version that ``name:2`` or ``name`` (the newest) means."""
    with context.database.read() as work:
        return find(work, reference)


def samples(context: Context, model: str) -> SampleCount:
    """Return how many samples of a model the hub has."""
    known = parse_model(model)
    with context.database.read() as work:
        every, labelled = work.retraining.sample_counts(known)
        return SampleCount(model=known, samples=every, labelled=labelled)


def find(work: Work, reference: str) -> DataSet:
    """Return the data set version that a reference means.

    Raises:
        NotFound: there is none.
    """
    name, _, number = reference.partition(":")
    versions = work.retraining.data(name)
    found = [each for each in versions if not number or str(each.number) == number]
    if not found:
        known = ", ".join(sorted({each.name for each in work.retraining.data()})) or "none"
        raise NotFound(
            f"there is no data set {reference[:80]!r} (there are: {known})",
            next_step="add it: edgeops data add NAME FILE.npz",
        )
    return found[-1]


def no_samples(model: ModelName) -> InvalidInput:
    """Return the error that no labelled samples of a model have come."""
    return InvalidInput(
        f"no labelled samples of {model} have come",
        next_step="switch them on at devices (their owner's choice): device-agent run --samples "
        "0.1, and report labels",
    )
