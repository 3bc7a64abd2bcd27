"""Valid examples for every parser, made by code: what is spoiled begins as what is right."""

from __future__ import annotations

import importlib
import io
import json
import zipfile
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from device_agent.core.counts import Counts
from device_agent.processing.golden import GoldenRows, encode_golden
from device_agent.protocol import topics
from device_agent.protocol.chunks import encode_chunk
from device_agent.protocol.codec import encode
from device_agent.protocol.enrolment import Enrolment
from device_agent.protocol.envelope import PAYLOAD_ROOT, Signature, seal
from device_agent.protocol.evidence import (
    ClassEvidence,
    Evidence,
    MetricEvidence,
    SliceEvidence,
)
from device_agent.protocol.ids import digest_of
from device_agent.protocol.items import Numbered
from device_agent.protocol.plan import FeaturePlan, SketchPlan, pack_counts
from device_agent.protocol.preprocessing import Preprocessing
from device_agent.protocol.reference import ReferenceProfile
from device_agent.protocol.sketch import CONFIDENCE_BINS
from device_agent.runtimes.probe_report import ProbeReport, ProbeSpec
from edgeops.packaging.convert.job import Job, Report, Task, failure_bytes
from edgeops.packaging.convert.source import SourceKind
from edgeops.packaging.engines import Engine
from edgeops.packaging.gates.effect import Promise
from edgeops.packaging.gates.verdicts import Verdict
from edgeops.packaging.recipes import RECIPES, Recipe
from edgeops.packaging.recipes.schema import Rule
from edgeops.packaging.recipes.trials import Search, Trial
from edgeops.packaging.record.anatomy import Anatomy, Operation
from edgeops.packaging.record.build_record import ArtifactRecord, BuildRecord
from edgeops.packaging.record.measured import (
    Measured,
    RunMeasured,
    SearchMeasured,
    TrialMeasured,
)
from edgeops.retraining.rows import Rows, write_rows
from edgeops.trust.keys import SigningKey
from tests import agent_values as valid
from tests.convolution_tflite import convolution_tflite
from tests.fuzz.spoil_zip import config_archive, make_bombs
from tests.hub_harness import Keys, make_keys, sample
from tests.models import digits_tflite, linear_onnx, two_inputs_onnx

Seeds = tuple[bytes, ...]
ROOT = Path(__file__).parents[2]


@cache
def keys() -> Keys:
    """Return a root of trust, the same in every process: inputs are told by their numbers."""
    numbers = iter(range(1, 256))
    return make_keys(
        lambda: SigningKey(Ed25519PrivateKey.from_private_bytes(bytes([next(numbers)]) * 32))
    )


PREPROCESSING = Preprocessing(
    scale=0.5, mean=(1.0,), std=(2.0, 4.0), shape=(2, 2, 2), layout="hwc-to-chw"
)


def lines(*texts: str) -> Seeds:
    """Return what people write, as bytes."""
    return tuple(text.encode() for text in texts)


# ---- between hub and device


@cache
def evidence() -> Evidence:
    return Evidence(
        recipe="tflite-int8",
        rows=200,
        float_accuracy=0.9,
        accuracy=0.88,
        drop_low=-0.01,
        drop_high=0.04,
        confidence=0.95,
        max_drop=0.05,
        agreement=0.97,
        float_size_bytes=4000,
        size_bytes=1000,
        classes=(ClassEvidence(rows=100, float_correct=90, correct=88),) * 2,
        float_confusion=(90, 10, 10, 90),
        confusion=(88, 12, 12, 88),
        sqnr_db=31.5,
        slices=(SliceEvidence(name="site=oslo", rows=50, float_correct=45, correct=44),),
    )


@cache
def metric() -> MetricEvidence:
    return MetricEvidence(
        name="rmse",
        rows=192,
        float_value=54.25,
        value=54.5,
        drop_low=-0.001,
        drop_high=0.01,
        confidence=0.95,
        max_drop=0.05,
        sqnr_db=31.5,
    )


@cache
def manifests() -> Seeds:
    made = valid.variant(
        evidence=evidence(), metric=metric(), reference=valid.chunked(b"reference" * 40)
    )
    prepared = valid.manifest(min_agent="0.2.0", preprocessing=PREPROCESSING, variants=(made,))
    return valid.manifest().to_bytes(), prepared.to_bytes()


@cache
def plan() -> SketchPlan:
    feature = FeaturePlan(name="x0", edges=(0.0, 0.5, 1.0), atoms=(0.0,))
    return SketchPlan(source="elements", features=(feature, feature))


@cache
def references() -> Seeds:
    bins = plan().bins
    profile = ReferenceProfile(
        plan=plan(),
        rows=40,
        inputs=tuple(range(bins)),
        classes=(20, 20),
        confidence=(2,) * CONFIDENCE_BINS,
        correct=(1,) * CONFIDENCE_BINS,
    )
    return (profile.to_bytes(),)


@cache
def telemetry() -> Seeds:
    planned = {"plan": plan().schema, "input_rows": 10, "inputs": pack_counts(range(plan().bins))}
    document = valid.numbered(telemetry=True).to_document()
    windows = [{**each, **planned} for each in document["windows"]]  # type: ignore[attr-defined]
    return encode(document), encode({**document, "windows": windows})


@cache
def samples() -> Seeds:
    numbered = Numbered(
        device=valid.DEVICE, stream="s1", sequence=4, oldest=2, body=(sample(), sample(bytes(16)))
    )
    return (encode(numbered.to_document()),)


@cache
def outcomes() -> Seeds:
    bodies = (valid.outcome(), valid.outcome(log=(), models=()))
    return tuple(encode(valid.numbered(body).to_document()) for body in bodies)


@cache
def command_logs() -> Seeds:
    begun = [
        {"id": "a", "kind": "restart", "issued_s": 1.5, "told": False},
        {"id": "b", "kind": "announce", "issued_s": 2.5, "told": True},
    ]
    return (encode({"schema_version": 1, "begun": begun, "forgotten_s": 1.0}),)


@cache
def root_envelopes() -> Seeds:
    unsigned = seal(
        PAYLOAD_ROOT, keys().root.to_bytes(), [Signature(keyid="k", value=b"s" * 64)] * 3
    )
    return keys().envelope, unsigned


@cache
def enrolments() -> Seeds:
    enrolment = Enrolment(
        device=valid.DEVICE,
        profile="x86-64-generic",
        broker="mqtt://localhost:1883",
        username="cam-1",
        password="secret",
        root=keys().envelope,
    )
    return (enrolment.to_bytes(),)


@cache
def chunks() -> Seeds:
    blob = valid.chunked()
    piece = encode_chunk(blob.ref, 0, (b"artifact" * 100)[:256])
    return piece, encode_chunk(valid.ref(size_bytes=0), 0, b"")


@cache
def topics_up() -> Seeds:
    return lines(*(topics.up(valid.DEVICE, kind) for kind in topics.UP_KINDS))


@cache
def topics_down() -> Seeds:
    names = [topics.desired(valid.DEVICE), topics.command(valid.DEVICE), topics.ack(valid.DEVICE)]
    names += [topics.repair(valid.DEVICE, valid.digest()), topics.blob(valid.digest())]
    return lines(*names, topics.root(1), topics.trust("targets"), topics.epoch())


@cache
def goldens() -> Seeds:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    rows = GoldenRows(x=x, labels=np.array([0, 1, 2]), expected={"scores": x * 2})
    return encode_golden(rows), encode_golden(GoldenRows(x=x.astype(np.uint8)))


@cache
def probe_specs() -> Seeds:
    spec = ProbeSpec(runtime="litert", artifact="a", golden="g", preprocessing=PREPROCESSING)
    return (spec.to_bytes(),)


@cache
def probe_reports() -> Seeds:
    return (ProbeReport(accuracy=0.5).to_bytes(),)


@cache
def kept_counts() -> Seeds:
    document = asdict(Counts(inferences=3, classes=(1, 2), confidence=(3,), latency=(0, 3)))
    return (encode(document),)


# ---- packages


@cache
def recipes() -> tuple[Recipe, ...]:
    rules = (Rule(precision="float32", operator="CONV_2D", name="^first.*$"),)
    mixed = {**RECIPES["tflite-int8"].to_document(), "name": "mine", "rules": []}
    own = Recipe.from_document({**mixed, "rules": [each.to_document() for each in rules]})
    return own, RECIPES["onnx-int8-percentile-channel"], RECIPES["tflite-float16"]


@cache
def recipe_files() -> Seeds:
    return tuple(encode(each.to_document()) for each in recipes())


@cache
def preprocessing_files() -> Seeds:
    examples = sorted((ROOT / "examples" / "preprocessing").glob("*.json"))
    steps = tuple(each.read_bytes() for each in examples)
    return encode(PREPROCESSING.to_document()), b'{"scale":0.5}', *steps


@cache
def anatomy() -> Anatomy:
    operation = Operation(
        type="CONV_2D",
        name="c",
        inputs=("0:x",),
        outputs=("1:c",),
        weights=16,
        weight_dtype="int8",
        activation_dtype="int8",
        constant_bytes=16,
        output_bytes=64,
        macs=1024,
    )
    return Anatomy(format="tflite", operations=(operation,) * 3, live_bytes=(64, 128, 64))


@cache
def anatomies() -> Seeds:
    return (anatomy().to_bytes(),)


@cache
def report() -> Report:
    promise = Promise(weights={"int8": 16}, activations={"int8": 1})
    trial = Trial(recipe=recipes()[0], size_bytes=900, sqnr_db=30.0, agreement=1.0, latency_ms=0.5)
    return Report(
        ranges={"x": (-1.0, 1.0), "y": (0.0, 6.5)},
        notes=("a note",),
        excluded=("c",),
        promise=promise,
        recipe=recipes()[0],
        trials=(trial,),
        sensitivity={"c": 0.5},
        stopped="nothing is left to try",
    )


@cache
def reports() -> Seeds:
    from edgeops.domain.errors import InvalidModel

    failed = failure_bytes(InvalidModel("it is damaged", next_step="export it again"))
    return report().to_bytes(), Report().to_bytes(), failed


@cache
def jobs() -> Seeds:
    job = Job(
        task=Task.SEARCH,
        source="/model.tflite",
        digest=valid.digest(),
        kind=SourceKind.TFLITE,
        target="/out.tflite",
        recipe=recipes()[0],
        calibration="/rows.npy",
        trust_code=False,
        memory_mib=1024,
        others=(Engine(runtime="tflite-runtime", package="tflite-runtime 2.14.0"),),
        making="/making.json",
        search=Search(objective="size", min_sqnr_db=20.0, min_agreement=0.9, max_drop=0.02),
    )
    return (job.to_bytes(),)


@cache
def build_records() -> Seeds:
    artifact = ArtifactRecord(
        artifact=valid.digest(1),
        format="tflite",
        source=valid.digest(2),
        recipe=recipes()[0],
        making=report(),
        float_model=valid.digest(3),
        calibration=valid.digest(4),
        tools={"numpy": "2.0"},
        anatomy=anatomy(),
    )
    verdict = Verdict(gate="golden", holds=True, found="all answers are the same")
    return (BuildRecord(artifacts=(artifact,), verdicts=(verdict,)).to_bytes(),)


@cache
def measured() -> Seeds:
    run = RunMeasured(
        artifact=digest_of(b"artifact"),
        runtime="litert",
        package="ai-edge-litert 2.3.0",
        threads=1,
        latency_ms=0.2,
        latency_ms_p95=0.3,
        memory_mib=None,
    )
    trial = TrialMeasured(recipe="tflite-int8", latency_ms=0.1)
    found = Measured(
        package=digest_of(b"manifest"),
        processor="a processor",
        cores=2,
        system="Linux x86_64",
        runs=(run,),
        searches=(SearchMeasured(format="tflite", float_ms=0.4, trials=(trial,)),),
    )
    return (found.to_bytes(),)


@cache
def profiles() -> Seeds:
    folder = Path(__file__).parents[2] / "firmware_profiles"
    return ((folder / "nucleo-l4r5zi.toml").read_bytes(),)


# ---- rows and models


@cache
def row_files() -> Seeds:
    make_bombs("x.npy")
    x = np.arange(24, dtype=np.float32).reshape(6, 4)
    y = np.array([0, 1, 2, 0, 1, 2])
    sites = np.array(["oslo", "bergen"] * 3)
    plain = io.BytesIO()
    np.savez(plain, x=x, y=y)
    return write_rows(Rows(x=x, y=y, slices={"site": sites})), plain.getvalue()


@cache
def skops_files() -> Seeds:
    schema = {
        "__class__": "Ridge",
        "__module__": "sklearn.linear_model",
        "__loader__": "ObjectNode",
    }
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            zipfile.ZipInfo("schema.json"), json.dumps({**schema, "content": {"alpha": 1.0}})
        )
        archive.writestr(zipfile.ZipInfo("140.npy"), bytes(200))
    return (packed.getvalue(),)


@cache
def keras_files() -> Seeds:
    make_bombs("config.json")
    layer = {"class_name": "Dense", "module": "keras.layers", "registered_name": None, "config": {}}
    model = {"class_name": "Sequential", "module": "keras", "config": {"layers": [layer, layer]}}
    return (config_archive({**model, "compile_config": {"loss": "x"}}),)


def _load(*modules: str) -> None:
    """Load a converter before a worker forks: each of its children has it then."""
    for each in modules:
        importlib.import_module(each)


@cache
def onnx_files() -> Seeds:
    _load("edgeops.packaging.convert.onnx_bench")

    return linear_onnx(np.eye(4, dtype=np.float32)), two_inputs_onnx(3)


@cache
def tflite_files() -> Seeds:
    _load("edgeops.packaging.convert.tflite_quantize", "ai_edge_quantizer.quantizer")

    return digits_tflite().read_bytes(), convolution_tflite()


# ---- what people write, and what registries answer


@cache
def registry_answers() -> Seeds:
    """Return what a registry answers to one request after the other."""
    layer = {"mediaType": "a/b", "digest": valid.digest(), "size": 3}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "a/b",
        "config": layer,
        "layers": [layer],
    }
    asks = 'Bearer realm="https://auth.test/token",service="s",scope="repository:m/kws:pull"'
    more = '</v2/m/kws/tags/list?last=2>; rel="next"'
    tags = json.dumps({"name": "m/kws", "tags": ["1", "2", "latest"]})
    answers = [
        _answer(401, "", **{"www-authenticate": asks}),
        _answer(200, json.dumps({"token": "abc"})),
        _answer(200, json.dumps(manifest)),
        _answer(200, tags, link=more),
        _answer(200, tags),
        _answer(307, "", location="https://cdn.test/x"),
        _answer(200, "abc"),
        _answer(202, "", location="/v2/upload?s=1"),
        _answer(429, "", **{"retry-after": "3"}),
        _answer(202, "", location="/v2/upload?s=1"),
        _answer(201, ""),
        _answer(404, '{"errors":[{"code":"UNKNOWN","message":"no"}]}'),
    ]
    return encode({"answers": answers}), encode({"answers": answers[2:3] + answers[4:5]})


@cache
def hub_answers() -> Seeds:
    refused = {"type": "NotFound", "cause": "there is no kws:1", "next_step": "look at the list"}
    answers = [
        _answer(200, '{"ok":true}'),
        _answer(200, '[{"name":"kws"}]'),
        _answer(200, '{"version":3}'),
        _answer(200, ""),
        _answer(200, '{"version":1,"manifest":{}}'),
    ]
    missing = _answer(404, json.dumps({"error": refused}))
    return encode({"answers": answers}), encode({"answers": [*answers[:4], missing]})


def _answer(status: int, body: str, **headers: str) -> dict[str, object]:
    return {"status": status, "headers": headers, "body": body}


@cache
def docker_configs() -> Seeds:
    auth = {"auth": "YW5hOnNlY3JldA=="}
    return (
        encode({"auths": {"r.test": auth, "https://index.docker.io/v1/": auth}}),
        encode({"auths": {"r.test": {"identitytoken": "x"}}, "credsStore": "desktop"}),
    )


@cache
def keras_configs() -> Seeds:
    with zipfile.ZipFile(io.BytesIO(keras_files()[0])) as archive:
        return (archive.read("config.json"),)


@cache
def model_files() -> Seeds:
    return (*onnx_files(), *keras_files(), tflite_files()[1], b"\x89HDF\r\n\x1a\n" + bytes(100))
