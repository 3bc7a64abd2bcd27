"""An OCI registry that lies, breaks off or never ends gives one clear error and leaves nothing."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeops.domain.errors import (
    EdgeopsError,
    Forbidden,
    InvalidPackage,
    NotAuthorized,
    NotTrusted,
)
from edgeops.integrations.oci_registry.address import parse_address
from edgeops.integrations.oci_registry.credentials import Credentials
from edgeops.integrations.oci_registry.errors import RegistryRefused, RegistryUnreachable
from edgeops.integrations.oci_registry.limits import RegistryLimits
from edgeops.service.oci_registry import Access, pull, push
from tests.distribution_server import Answer, DistributionServer, Request, Tamper, another
from tests.hostile import hostile_payloads
from tests.oci_packages import Bench, add_layer, bench, files

LIMITS = RegistryLimits(timeout_s=1.0, attempts=2, backoff_s=0.0, max_pause_s=0.0)
ACCESS = Access(credentials=Credentials(username="ed", password="secret"), limits=LIMITS)
MIB = 1024 * 1024
LARGE = "application/vnd.example.large"


@pytest.fixture
def desk(tmp_path: Path) -> Bench:
    made = bench(tmp_path / "desk")
    made.write(1)
    add_layer(made.layout, "kws:1", LARGE, bytes(range(256)) * 256)
    return made


@pytest.fixture
def server(desk: Bench) -> Iterator[DistributionServer]:
    with DistributionServer() as found:
        push("kws:1", desk.layout, at(found), desk.keys, ACCESS, print)
        found.requests.clear()
        yield found


def at(server: DistributionServer, which: str = ":1") -> Any:
    return parse_address(f"oci://{server.host}/kws{which}")


def of_blobs(change: Callable[[Answer], Answer]) -> Tamper:
    """Change what is said of the large blob."""

    def tamper(request: Request, answer: Answer) -> Answer:
        hit = request.method == "GET" and "/blobs/" in request.path and len(answer.body) == 65536
        return change(answer) if hit else answer

    return tamper


def of_manifests(change: Callable[[Answer], Answer]) -> Tamper:
    """Change what is said of the manifest."""
    return lambda request, answer: change(answer) if "/manifests/" in request.path else answer


def refused(
    server: DistributionServer, desk: Bench, folder: Path, tamper: Tamper, which: str = ":1"
) -> EdgeopsError:
    """Pull, and return the error: quickly, and with nothing left behind."""
    server.tamper = tamper
    begin_s = time.monotonic()
    with pytest.raises(EdgeopsError) as error:
        pull(at(server, which), folder / "new" / "layout", desk.keys, ACCESS, print)
    assert time.monotonic() - begin_s < 20
    assert not (folder / "new").exists()
    assert str(error.value) and len(str(error.value)) < 1000
    assert str(folder) not in str(error.value)
    return error.value


def raw(*lines: bytes) -> Callable[[Answer], Answer]:
    return lambda answer: another(answer, raw=b"\r\n".join(lines))


def to(location: str, status: int = 307) -> Callable[[Answer], Answer]:
    return lambda answer: another(answer, status=status, headers={"Location": location})


LIES = {
    "a flipped bit": (lambda a: another(a, body=b"\x01" + a.body[1:]), NotTrusted),
    "fewer bytes": (lambda a: another(a, body=a.body[:-1]), NotTrusted),
    "more bytes": (lambda a: another(a, body=a.body + b"x"), NotTrusted),
    "nothing": (lambda a: another(a, body=b""), NotTrusted),
    "fewer bytes, no length": (
        lambda a: another(a, raw=b"HTTP/1.1 200 OK\r\n\r\n" + a.body[:-1]),
        NotTrusted,
    ),
    "more bytes, no length": (
        lambda a: another(a, raw=b"HTTP/1.1 200 OK\r\n\r\n" + a.body + b"x"),
        RegistryRefused,
    ),
    "a body without end": (lambda a: another(a, endless=True), RegistryRefused),
    "it breaks off": (
        lambda a: another(a, raw=b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\nabc"),
        RegistryUnreachable,
    ),
    "another length than it sends": (
        lambda a: another(a, raw=b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + a.body),
        NotTrusted,
    ),
    "two lengths": (
        raw(b"HTTP/1.1 200 OK", b"Content-Length: 65536", b"Content-Length: 3", b"", b"abc"),
        RegistryUnreachable,
    ),
    "a length beyond every bound": (
        raw(b"HTTP/1.1 200 OK", b"Content-Length: " + b"9" * 30, b"", b"abc"),
        EdgeopsError,
    ),
    "compressed": (
        lambda a: another(a, body=gzip.compress(a.body), headers={"Content-Encoding": "gzip"}),
        EdgeopsError,
    ),
    "a bomb": (
        lambda a: another(
            a,
            raw=b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"
            + gzip.compress(bytes(32 * MIB)),
        ),
        RegistryRefused,
    ),
    "a header without end": (
        raw(b"HTTP/1.1 200 OK", b"X: " + b"x" * MIB, b"", b""),
        RegistryUnreachable,
    ),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.6", b""), RegistryUnreachable),
    "silence": (raw(b"\r\n"), RegistryUnreachable),
    "always busy": (
        lambda a: Answer(status=503, headers={"Retry-After": "9" * 99}),
        RegistryUnreachable,
    ),
    "too many of us": (
        lambda a: Answer(status=429, headers={"Retry-After": "-1"}),
        RegistryUnreachable,
    ),
    "a teapot": (lambda a: Answer(status=418, body=b"<html>\x1b[31m"), RegistryRefused),
    "no": (lambda a: Answer(status=403), Forbidden),
    "a redirect to itself": (to("?"), RegistryRefused),
    "a redirect to a file": (to("file:///etc/passwd"), RegistryRefused),
    "a redirect to another protocol": (to("ftp://127.0.0.1/blob"), RegistryRefused),
    "a redirect to a name with a password": (to("http://a:b@127.0.0.1:1/"), RegistryRefused),
    "a redirect to nowhere": (lambda a: Answer(status=307), RegistryRefused),
    "a redirect to no address": (to("http://[::bad"), EdgeopsError),
    "a redirect to no port": (to("http://127.0.0.1:99999999/"), EdgeopsError),
    "a redirect to a closed port": (to("http://127.0.0.1:1/"), RegistryUnreachable),
    "a redirect of bytes": (to("http://\x80\xff/\x01"), EdgeopsError),
    "a challenge for ever": (
        lambda a: Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'}),
        NotAuthorized,
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_blob_that_is_not_what_was_asked_for_is_refused(
    server: DistributionServer, desk: Bench, tmp_path: Path, lie: str
) -> None:
    change, kind = LIES[lie]
    assert isinstance(refused(server, desk, tmp_path, of_blobs(change)), kind)


def test_a_redirect_that_goes_on_for_ever_is_left_after_a_few_hops(
    server: DistributionServer, desk: Bench, tmp_path: Path
) -> None:
    refused(server, desk, tmp_path, of_blobs(to("?again")))
    asked = [path for path in server.sent("GET") if "/blobs/" in path]
    assert max(asked.count(path) for path in asked) == LIMITS.max_redirects + 1


def test_a_manifest_that_is_none_is_refused(
    server: DistributionServer, desk: Bench, tmp_path: Path
) -> None:
    for body in hostile_payloads():
        tamper = of_manifests(lambda answer, body=body: another(answer, body=body))
        error = refused(server, desk, tmp_path, tamper)
        assert isinstance(error, InvalidPackage | RegistryRefused), body[:80]
    assert [path for path in server.sent("GET") if "/blobs/" in path] == []


def edited(change: Callable[[dict[str, Any]], object]) -> Tamper:
    def edit(answer: Answer) -> Answer:
        document = json.loads(answer.body)
        change(document)
        return another(answer, body=json.dumps(document).encode())

    return of_manifests(edit)


EDITS = {
    "another artifact": lambda d: d["layers"][0].update(digest="sha256:" + "0" * 64),
    "a size that is wrong": lambda d: d["layers"][0].update(size=7),
    "a size beyond every disk": lambda d: d["layers"][0].update(size=2**53 - 1),
    "a negative size": lambda d: d["layers"][0].update(size=-1),
    "a digest that is a path": lambda d: d["layers"][0].update(digest="sha256:../../../etc/passwd"),
    "a digest of another kind": lambda d: d["layers"][0].update(digest="sha512:" + "0" * 128),
    "no signature": lambda d: d["layers"].pop(2),
    "no edge manifest": lambda d: d["layers"].pop(1),
    "two edge manifests": lambda d: d["layers"].append(d["layers"][1]),
    "no artifact": lambda d: d["layers"].pop(0),
    "no config": lambda d: d.pop("config"),
    "a thousand layers": lambda d: d.update(layers=d["layers"] * 200),
    "another media type": lambda d: d.update(mediaType="application/vnd.oci.image.index.v1+json"),
    "a terabyte": lambda d: d["layers"].extend(
        {"mediaType": "x", "digest": f"sha256:{n:064x}", "size": 2**31 - 1} for n in range(200)
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_manifest_that_was_edited_is_refused(
    server: DistributionServer, desk: Bench, tmp_path: Path, edit: str
) -> None:
    refused(server, desk, tmp_path, edited(EDITS[edit]))


def test_a_size_that_is_wrong_is_found_also_where_no_length_is_said(
    server: DistributionServer, desk: Bench, tmp_path: Path
) -> None:
    longer = edited(lambda document: document["layers"][-1].update(size=65537))
    no_length = of_blobs(lambda a: another(a, raw=b"HTTP/1.1 200 OK\r\n\r\n" + a.body))
    error = refused(server, desk, tmp_path, lambda r, a: no_length(r, longer(r, a)))
    assert isinstance(error, NotTrusted)


def test_an_address_with_a_digest_takes_no_other_manifest(
    server: DistributionServer, desk: Bench, tmp_path: Path
) -> None:
    (digest,) = server.repositories["kws"].manifests
    tamper = edited(lambda document: document.update(annotations={"a": "b"}))
    error = refused(server, desk, tmp_path, tamper, which=f"@{digest}")
    assert isinstance(error, NotTrusted)


@pytest.mark.parametrize(
    "change", [lambda a: another(a, endless=True), lambda a: another(a, body=b" " * 2 * MIB)]
)
def test_a_manifest_without_end_is_refused(
    server: DistributionServer, desk: Bench, tmp_path: Path, change: Any
) -> None:
    assert isinstance(refused(server, desk, tmp_path, of_manifests(change)), RegistryRefused)


def tags(body: bytes, **headers: str) -> Tamper:
    return lambda request, answer: (
        another(answer, body=body, headers=headers) if "/tags/" in request.path else answer
    )


@pytest.mark.parametrize(
    "tamper",
    [
        *(
            tags(body)
            for body in (b"", b"[]", b"{", b'{"tags":{}}', b'{"tags":[1]}', b"x" * 2 * MIB)
        ),
        tags(b'{"tags":["' + b"9" * 600 + b'"]}'),
        tags(b'{"tags":["' + b"9" * 500 + b'","latest","-1","1e3","01"]}'),
        tags(b'{"tags":["1"]}', Link='<?again>; rel="next"'),
        tags(b'{"tags":["1"]}', Link='<file:///etc/passwd>; rel="next"'),
        tags(b'{"tags":["1"]}', Link='<http://[>; rel="next"'),
    ],
)
def test_a_list_of_tags_that_is_none_is_refused(
    server: DistributionServer, desk: Bench, tmp_path: Path, tamper: Tamper
) -> None:
    refused(server, desk, tmp_path, tamper, which="")


CHALLENGES = [
    "",
    "Basic",
    "Negotiate",
    "Bearer",
    'Bearer realm=""',
    'Bearer realm="token"',
    'Bearer realm="file:///etc/passwd"',
    'Bearer realm="http://[::bad/"',
    'Bearer realm="http://user:password@127.0.0.1:1/token"',
    'Bearer realm="http://127.0.0.1:1/token"',
    'Bearer realm="http://127.0.0.1:1/token' + "x" * 60_000 + '"',
    "Bearer " + 'a="' * 20_000,
    "Bearer " + "x" * 60_000,
    "," * 60_000,
]


@pytest.mark.parametrize("number", range(len(CHALLENGES)))
def test_a_challenge_that_is_none_is_refused(
    server: DistributionServer, desk: Bench, tmp_path: Path, number: int
) -> None:
    asked = Answer(status=401, headers={"WWW-Authenticate": CHALLENGES[number]})
    refused(server, desk, tmp_path, lambda request, answer: asked)


TOKENS = [
    *hostile_payloads(),
    b'{"token":7}',
    b'{"token":""}',
    b'{"token":"a\\r\\nX-Injected: 1"}',
    '{"token":"é"}'.encode(),
    b'{"access_token":[]}',
]


def test_a_token_that_is_none_is_refused(desk: Bench, tmp_path: Path) -> None:
    with DistributionServer(user=("ed", "secret"), auth="bearer") as server:
        for body in TOKENS:
            error = refused(
                server,
                desk,
                tmp_path,
                lambda request, answer, body=body: (
                    another(answer, body=body) if request.path == "/token" else answer
                ),
            )
            assert isinstance(error, RegistryRefused), body[:80]
    assert len(server.requests) == 2 * len(TOKENS)
    assert not any("x-injected" in each.headers for each in server.requests)


def test_what_a_registry_says_of_an_error_is_shown_in_one_short_line(
    server: DistributionServer, desk: Bench, tmp_path: Path
) -> None:
    body = json.dumps({"errors": [{"code": "DENIED", "message": "no\n" * 100_000}]}).encode()
    error = refused(server, desk, tmp_path, lambda r, a: Answer(status=400, body=body))
    assert ": DENIED no no no" in str(error)
    assert "\n" not in str(error)
    for strange in (b'{"errors":[]}', b'{"errors":7}', b'{"errors":[7]}', b"\xff", b"[]"):
        server.tamper = lambda r, a, body=strange: Answer(status=400, body=body)
        with pytest.raises(RegistryRefused, match="answered 400"):
            pull(at(server), tmp_path / "new", desk.keys, ACCESS, print)


PUSHES = {
    "no upload": lambda r, a: Answer(status=202) if r.method == "POST" else a,
    "an upload elsewhere": lambda r, a: (
        Answer(status=202, headers={"Location": "file:///tmp/x"}) if r.method == "POST" else a
    ),
    "an upload that is refused": lambda r, a: Answer(status=413) if r.method == "PUT" else a,
    "an upload that breaks off": lambda r, a: another(a, raw=b"\r\n") if r.method == "PUT" else a,
    "always busy": lambda r, a: Answer(status=500) if r.method == "PUT" else a,
    "another digest": lambda r, a: (
        another(a, headers={"Docker-Content-Digest": "sha256:" + "0" * 64})
        if r.method == "PUT" and "/manifests/" in r.path
        else a
    ),
    "an answer without end": lambda r, a: (
        another(a, body=b"x" * 65536, endless=True) if r.method == "PUT" else a
    ),
}


@pytest.mark.parametrize("lie", PUSHES)
def test_a_push_that_goes_wrong_is_one_clear_error(desk: Bench, lie: str) -> None:
    before = files(desk.layout)
    with DistributionServer(tamper=PUSHES[lie]) as server:
        with pytest.raises(EdgeopsError):
            push("kws:1", desk.layout, at(server), desk.keys, ACCESS, print)
    assert files(desk.layout) == before


def test_a_body_that_only_drips_is_given_up(
    server: DistributionServer, desk: Bench, tmp_path: Path
) -> None:
    server.tamper = of_blobs(lambda answer: another(answer, drip_s=0.05))
    limits = RegistryLimits(timeout_s=0.2, attempts=1, min_bytes_per_s=10**9)
    with pytest.raises(RegistryRefused, match="too slowly"):
        pull(at(server), tmp_path / "new", desk.keys, Access(limits=limits), print)
    assert not (tmp_path / "new").exists()
