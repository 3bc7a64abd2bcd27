"""Hypothesis strategies for every value of the device's protocol."""

from __future__ import annotations

import string

from hypothesis import strategies as st

from device_agent.core.counts import Counts
from device_agent.protocol.chunks import (
    MAX_CHUNK_BYTES,
    MIN_CHUNK_BYTES,
    BlobRef,
    chunk_hashes,
)
from device_agent.protocol.codec import MAX_INTEGER
from device_agent.protocol.enrolment import Enrolment
from device_agent.protocol.envelope import Signature, key_id
from device_agent.protocol.ids import digest_of
from device_agent.protocol.items import Event, Numbered, Window
from device_agent.protocol.manifest import (
    MAX_VERSION,
    RUNTIMES,
    Budget,
    ChunkedBlob,
    Manifest,
    TensorSpec,
    Variant,
    Waiver,
)
from device_agent.protocol.orders import COMMANDS, Ack, Command, Desired, DesiredModel, Epoch
from device_agent.protocol.outcomes import OUTCOMES, CommandOutcome, ModelVerdict
from device_agent.protocol.probation import ProbationRules
from device_agent.protocol.reasons import Reason
from device_agent.protocol.reports import (
    MAX_SESSION,
    GaveWay,
    Need,
    Reported,
    ReportedDeployment,
    ReportedModel,
    ReportedVersion,
)
from device_agent.protocol.root import ROLES, Root
from device_agent.protocol.sketch import CONFIDENCE_BINS, LATENCY_BINS
from tests.properties.preprocessing_strategies import preprocessings


def texts(most: int = 40) -> st.SearchStrategy[str]:
    """Return any text that UTF-8 can hold, but for NUL, which databases refuse."""
    letters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
    return st.text(letters, max_size=most)


NAMES = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=64)
DEVICES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
DIGESTS = st.binary(max_size=8).map(digest_of)
COUNTS = st.integers(0, MAX_INTEGER)
POSITIVE = st.integers(1, MAX_INTEGER)
NUMBERS = st.floats(0, 1e15)
REASONS = st.none() | st.sampled_from([reason.value for reason in Reason])
SIGNATURES = st.builds(Signature, keyid=texts(64), value=st.binary(max_size=64))

REFS = st.builds(
    BlobRef,
    digest=DIGESTS,
    size_bytes=st.integers(0, 2**28),
    chunk_bytes=st.integers(MIN_CHUNK_BYTES, MAX_CHUNK_BYTES),
)


@st.composite
def chunked_blobs(draw: st.DrawFn) -> ChunkedBlob:
    data = draw(st.binary(max_size=1500))
    size = draw(st.integers(MIN_CHUNK_BYTES, 1024))
    blob = BlobRef(digest=digest_of(data), size_bytes=len(data), chunk_bytes=size)
    return ChunkedBlob(ref=blob, hashes=chunk_hashes(data, size))


RULES = st.builds(
    ProbationRules,
    min_inferences=COUNTS,
    max_trials=COUNTS,
    max_failures=COUNTS,
    max_nonfinite=COUNTS,
    min_labels=COUNTS,
    min_duration_s=NUMBERS,
    timeout_s=NUMBERS,
    max_latency_ratio=NUMBERS,
    max_class_shift=NUMBERS,
    max_confidence_shift=NUMBERS,
    max_label_drop=NUMBERS,
)
ORDERS = st.builds(
    DesiredModel,
    version=POSITIVE,
    manifest=REFS,
    signature=SIGNATURES,
    rollout=texts(64),
    probation=RULES,
    download_timeout_s=st.floats(1, 1e7),
)
DESIRED = st.builds(
    Desired,
    device=DEVICES,
    generation=POSITIVE,
    models=st.dictionaries(NAMES, ORDERS, max_size=3),
)
VERSIONS = st.builds(ReportedVersion, version=POSITIVE, digest=DIGESTS)
DEPLOYMENTS = st.builds(
    ReportedDeployment,
    generation=POSITIVE,
    rollout=texts(64),
    version=POSITIVE,
    state=texts(32),
    reason=REASONS,
    detail=texts(400),
    chunks_have=st.integers(0, 2**20),
    chunks_total=st.integers(0, 2**20),
)
REPORTED = st.builds(
    Reported,
    device=DEVICES,
    online=st.booleans(),
    session=st.integers(0, MAX_SESSION),
    instance=texts(64),
    agent=texts(32),
    profile=texts(64),
    runtimes=st.lists(texts(64), max_size=3).map(tuple),
    generation=COUNTS,
    models=st.dictionaries(
        NAMES,
        st.builds(
            ReportedModel,
            active=st.none() | VERSIONS,
            previous=st.none() | VERSIONS,
            deployment=st.none() | DEPLOYMENTS,
        ),
        max_size=3,
    ),
    clock_s=NUMBERS,
    disk_free_bytes=COUNTS,
    outbox=COUNTS,
    gave_way=st.builds(GaveWay, merged=COUNTS, windows=COUNTS, events=COUNTS, samples=COUNTS),
)
EVENTS = st.builds(
    Event,
    model=NAMES,
    generation=COUNTS,
    rollout=texts(64),
    version=POSITIVE,
    digest=DIGESTS,
    state=texts(32),
    reason=REASONS,
    detail=texts(400),
    evidence=st.dictionaries(texts(20), st.floats(-1e15, 1e15), max_size=5),
    at_s=NUMBERS,
)


def bins(most: int, top: int = 10**9) -> st.SearchStrategy[tuple[int, ...]]:
    return st.lists(st.integers(0, top), max_size=most).map(tuple)


@st.composite
def windows(draw: st.DrawFn) -> Window:
    inferences, labelled = draw(COUNTS), draw(COUNTS)
    return Window(
        model=draw(NAMES),
        version=draw(POSITIVE),
        digest=draw(DIGESTS),
        started_s=draw(NUMBERS),
        ended_s=draw(NUMBERS),
        inferences=inferences,
        failures=draw(COUNTS),
        nonfinite=draw(st.integers(0, inferences)),
        classes=draw(bins(20)),
        confidence=draw(bins(CONFIDENCE_BINS)),
        latency=draw(bins(LATENCY_BINS)),
        labelled=labelled,
        labelled_correct=draw(st.integers(0, labelled)),
    )


VERDICTS = st.builds(
    ModelVerdict,
    model=NAMES,
    version=POSITIVE,
    digest=DIGESTS,
    reason=REASONS,
    detail=texts(400),
    evidence=st.dictionaries(texts(20), st.floats(-1e15, 1e15), max_size=5),
)
OUTCOME_ITEMS = st.builds(
    Numbered,
    device=DEVICES,
    stream=texts(64),
    sequence=POSITIVE,
    oldest=POSITIVE,
    body=st.builds(
        CommandOutcome,
        id=texts(64),
        kind=texts(32),
        outcome=st.sampled_from(OUTCOMES),
        detail=texts(400),
        at_s=NUMBERS,
        log=st.lists(texts(512), max_size=3).map(tuple),
        models=st.lists(VERDICTS, max_size=3, unique_by=lambda each: each.model).map(
            lambda verdicts: tuple(sorted(verdicts, key=lambda each: each.model))
        ),
    ),
)
EVENT_ITEMS = st.builds(
    Numbered,
    device=DEVICES,
    stream=texts(64),
    sequence=POSITIVE,
    oldest=POSITIVE,
    body=EVENTS,
    age_s=st.none() | NUMBERS,
)
TELEMETRY_ITEMS = st.builds(
    Numbered,
    device=DEVICES,
    stream=texts(64),
    sequence=POSITIVE,
    oldest=POSITIVE,
    body=st.lists(windows(), max_size=3).map(tuple),
    age_s=st.none() | NUMBERS,
)
ACKS = st.builds(Ack, stream=texts(64), sequence=COUNTS)
NEEDS = st.builds(
    Need,
    device=DEVICES,
    blob=REFS,
    ranges=st.lists(st.tuples(COUNTS, COUNTS), max_size=20).map(tuple),
)
COMMANDS_ = st.builds(
    Command,
    device=DEVICES,
    id=texts(64),
    kind=st.sampled_from(COMMANDS),
    issued_s=NUMBERS,
    expires_s=NUMBERS,
)
EPOCHS = st.builds(Epoch, epoch=texts(64), hub=texts(32))

SPECS = st.builds(
    TensorSpec,
    name=texts(),
    dtype=st.sampled_from(["float32", "int8", "uint64", "bool", "float16"]),
    shape=st.lists(st.integers(-1, 4096), max_size=8).map(tuple),
)


@st.composite
def variants(draw: st.DrawFn) -> Variant:
    outputs = draw(st.lists(SPECS, min_size=1, max_size=3))
    limits = st.none() | NUMBERS
    return Variant(
        profiles=tuple(draw(st.lists(texts(64), max_size=3))),
        runtime=draw(st.sampled_from(RUNTIMES)),
        artifact=draw(chunked_blobs()),
        golden=draw(st.none() | chunked_blobs()),
        inputs=tuple(draw(st.lists(SPECS, max_size=3))),
        outputs=tuple(outputs),
        scores=draw(st.sampled_from(outputs)).name,
        tolerance=draw(NUMBERS),
        golden_accuracy=draw(st.none() | st.floats(0, 1)),
        budget=Budget(latency_ms_p95=draw(limits), memory_mib=draw(limits)),
    )


MANIFESTS = st.builds(
    Manifest,
    model=NAMES,
    version=st.integers(1, MAX_VERSION),
    min_agent=st.from_regex(r"[1-9][0-9]{0,3}\.[0-9]{1,4}\.[0-9]{1,4}", fullmatch=True),
    preprocessing=st.none() | preprocessings(),
    thresholds=st.just(()) | st.tuples(st.floats(0, 1)),
    labels=st.lists(texts(), max_size=5).map(tuple),
    variants=st.lists(variants(), min_size=1, max_size=3).map(tuple),
    min_accuracy=st.none() | st.floats(0, 1),
    waivers=st.lists(st.builds(Waiver, gate=texts(), reason=texts()), max_size=2).map(tuple),
    lineage=st.dictionaries(texts(), texts(), max_size=4),
)
ROOTS = st.builds(
    Root,
    version=POSITIVE,
    roles=st.fixed_dictionaries(
        {
            role: st.lists(
                st.binary(min_size=32, max_size=32), min_size=1, max_size=8, unique=True
            ).map(lambda keys: {key_id(key): key for key in keys})
            for role in ROLES
        }
    ),
)
ENROLMENTS = st.builds(
    Enrolment,
    device=DEVICES,
    profile=texts(64),
    broker=st.sampled_from(["mqtt://host", "mqtts://[::1]:8883", "mqtt://10.0.0.1:1884"]),
    username=texts(),
    password=texts(),
    root=texts(300).map(str.encode),
)


@st.composite
def counts(draw: st.DrawFn) -> Counts:
    few = st.integers(0, 10**6)
    return Counts(
        inferences=draw(few),
        failures=draw(few),
        nonfinite=draw(few),
        classes=draw(bins(6)),
        confidence=draw(bins(CONFIDENCE_BINS)),
        latency=draw(bins(LATENCY_BINS)),
        labelled=draw(few),
        labelled_correct=draw(few),
    )
