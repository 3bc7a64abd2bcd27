"""Parsers that take their bytes from somewhere else than an argument: a folder, a socket, a child.

Each of these is a function of bytes that lays them where they are read in real life.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import httpx

from device_agent.protocol import topics
from device_agent.protocol.ids import Digest, digest_of
from device_agent.runtimes.sandbox import enter_sandbox
from device_agent.shell.storage import FolderStorage
from edgeops.client import Client
from edgeops.integrations.oci_registry import distribution
from edgeops.integrations.oci_registry.address import parse_address
from edgeops.integrations.oci_registry.credentials import Credentials
from edgeops.integrations.oci_registry.limits import RegistryLimits
from edgeops.integrations.oci_registry.session import Session
from edgeops.packaging.convert import child, process
from edgeops.packaging.convert.job import Job, Report, Task
from edgeops.packaging.convert.source import SourceKind
from edgeops.packaging.oci.layout import read_layout, write_layout
from edgeops.packaging.oci.words import Descriptor
from edgeops.packaging.package import Package
from edgeops.packaging.profiles import load_profiles
from edgeops.packaging.recipes import RECIPES
from edgeops.packaging.record.anatomy import Anatomy
from edgeops.packaging.record.build_record import BUILD_KEY, BUILD_RECORD
from edgeops.packaging.verify import verify_package
from edgeops.retraining.contract import read_output
from edgeops.trust.keys import verify_signature
from tests.fuzz import seeds
from tests.hub_harness import FakeDevice, HubHarness, event, outcome, sample, tiny_package, window

CHILD_S = 20.0
"""How long a converting child gets here; people wait longer."""
CHILD_MIB = 1024
Parse = Callable[[bytes], object]


def text(parse: Callable[[str], object]) -> Parse:
    """Read text as a command line gives it: what is no UTF-8 becomes lone surrogates."""
    return lambda data: parse(data.decode("utf-8", "surrogateescape"))


@cache
def scratch() -> Path:
    """Return a folder of this process, in memory where there is such a disk."""
    memory = Path("/dev/shm")
    folder = tempfile.mkdtemp(prefix="edgeops-fuzz-", dir=memory if memory.is_dir() else None)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def file(read: Callable[[Path], object], name: str) -> Parse:
    """Read a file of that name."""

    def parse(data: bytes) -> object:
        path = scratch() / name
        path.write_bytes(data)
        return read(path)

    return parse


# ---- state folders of devices


def state(path: str, read: Callable[[FolderStorage], object]) -> Parse:
    """Read a state folder in which one file is another one."""

    def parse(data: bytes) -> object:
        storage = FolderStorage(scratch() / "state")
        storage.replace(path, data)
        return read(storage)

    return parse


# ---- what training scripts leave behind


def metrics(data: bytes) -> object:
    """Read the metrics beside a model."""
    folder = scratch() / "trained"
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(b"x")
    (folder / "metrics.json").write_bytes(data)
    return read_output(folder)


# ---- profiles


def profile_folder(data: bytes) -> object:
    """Read a folder with one profile."""
    folder = scratch() / "profiles"
    folder.mkdir(exist_ok=True)
    (folder / "nucleo-l4r5zi.toml").write_bytes(data)
    return load_profiles([folder])


# ---- layouts


@cache
def _package() -> Package:
    record = seeds.build_records()[0]
    made = tiny_package(seeds.keys(), lineage={BUILD_KEY: digest_of(record)})
    return Package(
        manifest=made.manifest,
        manifest_bytes=made.data,
        signature=made.signature,
        blobs=made.blobs,
        provenance={BUILD_RECORD: record},
    )


@cache
def layout_parts() -> dict[str, bytes]:
    """Return the documents of a valid layout: index, OCI manifest, edge manifest, signature, …."""
    folder = scratch() / "valid"
    write_layout(_package(), folder)
    index = (folder / "index.json").read_bytes()
    oci = _blob(folder, json.loads(index)["manifests"][0]["digest"])
    layers = json.loads(oci)["layers"]
    held = {each["annotations"]["org.cncf.model.filepath"]: each["digest"] for each in layers}
    return {"index": index, "oci": oci} | {name: _blob(folder, each) for name, each in held.items()}


def layout_with(part: str) -> Parse:
    """Read and verify the layout in which one document is another one; all digests fit again."""

    def parse(data: bytes) -> object:
        folder = scratch() / "layout"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(scratch() / "valid", folder)
        _put(folder, part, data)
        package = read_layout(folder)
        verify_package(package, seeds.keys().root.keys_of("targets"), verify_signature)
        return package

    layout_parts()
    return parse


def _put(folder: Path, part: str, data: bytes) -> None:
    if part == "index":
        (folder / "index.json").write_bytes(data)
        return
    if part != "oci":
        manifest = json.loads(layout_parts()["oci"])
        for layer in manifest["layers"]:
            if layer["annotations"]["org.cncf.model.filepath"] == part:
                layer |= {"digest": _keep(folder, data), "size": len(data)}
        data = json.dumps(manifest).encode()
    index = json.loads(layout_parts()["index"])
    index["manifests"][0] |= {"digest": _keep(folder, data), "size": len(data)}
    (folder / "index.json").write_text(json.dumps(index))


def _blob(folder: Path, digest: str) -> bytes:
    return (folder / "blobs" / "sha256" / digest[7:]).read_bytes()


def _keep(folder: Path, data: bytes) -> Digest:
    digest = digest_of(data)
    (folder / "blobs" / "sha256" / digest[7:]).write_bytes(data)
    return digest


# ---- a registry


def registry(data: bytes) -> None:
    """Ask a registry that gives the answers of a document, one after the other."""
    answers = iter(_responses(data))
    limits = RegistryLimits(max_package_bytes=1 << 20, max_body_bytes=1 << 16, max_pages=3)
    address = parse_address("oci://registry.test/m/kws:1")
    credentials = Credentials(username="ana", password="secret")
    session = Session(
        address,
        actions="pull,push",
        credentials=credentials,
        plain_http=False,
        limits=limits,
        say=lambda _: None,
        sleep=lambda _: None,
    )
    session._http = httpx.Client(transport=httpx.MockTransport(lambda _: next(answers, _nothing())))
    blob = Descriptor.of("a/b", b"abc", annotations={})
    path = scratch() / "blob"
    with session:
        distribution.get_manifest(session, "1")
        list(distribution.tags(session))
        distribution.get_blob(session, blob, path)
        distribution.put_blob(session, blob, path)
        distribution.digest_at(session, "1")


def _responses(data: bytes) -> list[httpx.Response]:
    """Return the answers of a document; none if it is spoiled so that it has none."""
    try:
        return [_response(each) for each in json.loads(data)["answers"]]
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError):
        return []


def _response(answer: Any) -> httpx.Response:
    headers = {str(name): str(value) for name, value in answer["headers"].items()}
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    status = int(answer["status"])
    if not 100 <= status < 600:
        raise ValueError("no status")
    return httpx.Response(status, headers=pairs, stream=_Body(str(answer["body"]).encode()))


def _nothing() -> httpx.Response:
    return httpx.Response(404, stream=_Body(b""))


class _Body(httpx.SyncByteStream):
    """A body as it comes from a socket: to be read once, in pieces."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        yield from (self._data[at : at + 4096] for at in range(0, len(self._data), 4096))


# ---- a hub, as its client sees it


def hub_answer(data: bytes) -> None:
    """Ask something that may be a hub, and answers what it likes."""
    answers = iter(_responses(data))
    transport = httpx.MockTransport(lambda _: next(answers, _nothing()))
    with Client("http://hub.test", token="t", transport=transport) as client:
        client.health()
        client.models()
        client.next_number("kws")
        client.has_blob(digest_of(b""))
        client.version("kws:1")


# ---- the hub's inbox


@cache
def _hub() -> tuple[HubHarness, FakeDevice]:
    harness = HubHarness()
    harness.publish(1)
    return harness, harness.online(seeds.valid.DEVICE, "cam-2")[0]


def inbox(kind: str) -> Parse:
    """Hand a payload of a device to the hub, which must not raise for anything."""
    topic = topics.up(seeds.valid.DEVICE, kind)
    return lambda data: _hub()[0].handlers.handle(topic, data)


@cache
def inbox_payloads(kind: str) -> tuple[bytes, ...]:
    """Return a payload that the hub takes."""
    harness, device = _hub()
    blob = tiny_package(harness.keys).manifest.variants[0].artifact.ref
    made = {
        "state": device.report,
        "event": lambda: device.numbered("event", event("r1", inferences=3.0)),
        "outcome": lambda: device.numbered("outcome", outcome(log=("a",))),
        "telemetry": lambda: device.numbered("telemetry", (window(),)),
        "sample": lambda: device.numbered("sample", (sample(),)),
        "need": lambda: device.need(blob, (0, 3)),
    }
    return (made[kind]()[1],)


# ---- converting children


def examined(kind: SourceKind) -> Parse:
    """Have a model's anatomy read in a child, as ``examine`` does."""

    def parse(data: bytes) -> object:
        target = scratch() / f"anatomy-{kind}.json"
        target.unlink(missing_ok=True)
        in_child(_job(data, kind, Task.EXAMINE, target))
        return Anatomy.from_bytes(target.read_bytes())

    return parse


def laid_out(kind: SourceKind) -> Parse:
    """Have a model laid out for recipes in a child, and made by one, without any rows."""

    def parse(data: bytes) -> object:
        target = scratch() / f"made.{kind}"
        return in_child(_job(data, kind, Task.REBUILD, target))

    return parse


def _job(data: bytes, kind: SourceKind, task: Task, target: Path) -> Job:
    source, making = scratch() / f"model.{kind}", scratch() / "making.json"
    source.write_bytes(data)
    making.write_bytes(Report(ranges=_RANGES).to_bytes())
    return Job(
        task=task,
        source=str(source),
        digest=digest_of(data),
        kind=kind,
        target=str(target),
        recipe=RECIPES[_RECIPES[kind]],
        calibration=None,
        trust_code=False,
        memory_mib=CHILD_MIB,
        making=str(making),
    )


_RECIPES = {SourceKind.TFLITE: "tflite-dynamic", SourceKind.ONNX: "onnx-int8"}
_RANGES = dict.fromkeys(("x", "scores", "a", "b", "MatMul_0.out0", "Add_0.out0"), (-4.0, 4.0))
"""Of the values that the seeds have; what else a spoiled model has, has none."""


def in_child(job: Job) -> object:
    """Do a job in a fork, and read its report as ``run_job`` reads it.

    A fork of a process that has the converters loaded takes milliseconds; a new interpreter
    takes a second. What is done to itself before the model is touched is the same.
    """
    with process._scratch_file() as out, process._scratch_file() as err:
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                enter_sandbox(parent)
                _in_fork(job, out.fileno(), err.fileno())
            finally:
                os._exit(1)
        code = _wait(pid)
        if code is None:
            raise process.ConversionFailed("it took too long")
        return process._read(code, out, err, job)


def _in_fork(job: Job, out: int, err: int) -> None:
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    os.dup2(err, 1)
    os.dup2(err, 2)
    child._limit_memory(job.memory_mib)
    os.write(out, child.do_job(job))
    os._exit(0)


def _wait(pid: int) -> int | None:
    """Return how a child ended; None if it had to be ended."""
    watched = os.pidfd_open(pid)
    try:
        ended = bool(select.select([watched], [], [], CHILD_S)[0])
        if not ended:
            os.kill(pid, signal.SIGKILL)
    finally:
        os.close(watched)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if ended else None
