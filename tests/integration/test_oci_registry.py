"""Pushing and pulling: who is told what, what is sent, what a folder has in the end."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from edgeops.cli import packages
from edgeops.cli.main import main
from edgeops.domain.errors import (
    Conflict,
    InvalidInput,
    InvalidPackage,
    NotAuthorized,
    NotFound,
    NotTrusted,
    StoreFailed,
)
from edgeops.integrations.oci_registry.address import parse_address
from edgeops.integrations.oci_registry.credentials import Credentials
from edgeops.integrations.oci_registry.errors import RegistryRefused, RegistryUnreachable
from edgeops.integrations.oci_registry.limits import RegistryLimits
from edgeops.packaging.oci.layout import read_layout, references
from edgeops.service.oci_registry import Access, pull, push
from tests.distribution_server import Answer, DistributionServer, another
from tests.oci_packages import UNKNOWN, Bench, add_layer, bench, files, rewrite
from tests.served_hub import served_hub

LIMITS = RegistryLimits(timeout_s=5.0, backoff_s=0.0, max_pause_s=0.0)
USER = ("ed", "secret")
ED = Access(credentials=Credentials(username="ed", password="secret"), limits=LIMITS)
ANYBODY = Access(limits=LIMITS)


@pytest.fixture
def desk(tmp_path: Path) -> Bench:
    made = bench(tmp_path / "desk")
    made.write(1)
    return made


@pytest.fixture
def server() -> Iterator[DistributionServer]:
    with DistributionServer() as found:
        yield found


def at(server: DistributionServer, which: str = "") -> Any:
    return parse_address(f"oci://{server.host}/kws{which}")


def send(desk: Bench, server: DistributionServer, number: int = 1, **more: Any) -> Any:
    access = more.pop("access", ANYBODY)
    where = at(server, more.pop("which", ""))
    return push(f"kws:{number}", desk.layout, where, desk.keys, access, more.pop("say", print))


def fetch(desk: Bench, server: DistributionServer, folder: Path, **more: Any) -> Any:
    access = more.pop("access", ANYBODY)
    where = at(server, more.pop("which", ":1"))
    return pull(where, folder, more.pop("keys", desk.keys), access, more.pop("say", print))


# ---- what is sent


def test_the_manifest_goes_last_and_as_it_is(desk: Bench, server: DistributionServer) -> None:
    sent = send(desk, server)
    assert server.sent("PUT")[-1] == "/v2/kws/manifests/1"
    assert len(server.sent("PUT")) == len(sent.moved) + 1 == 6
    entry = json.loads((desk.layout / "index.json").read_bytes())["manifests"][0]
    (kept,) = server.repositories["kws"].manifests.items()
    data = (desk.layout / "blobs" / "sha256" / entry["digest"][7:]).read_bytes()
    assert kept == (entry["digest"], ("application/vnd.oci.image.manifest.v1+json", data))
    assert json.loads(data)["annotations"] == {"org.example.by": "another tool"}


def test_blobs_that_another_version_brought_are_not_sent_again(
    desk: Bench, server: DistributionServer
) -> None:
    shared = b"the same weights" * 99
    for number in (2, 3):
        desk.write(number, artifact=shared)
    send(desk, server, 2)
    sent = send(desk, server, 3)
    assert [each.size_bytes for each in sent.kept] == [len(shared)]


def damaged(desk: Bench, media_type: str) -> None:
    def flip(manifest: dict[str, Any]) -> None:
        found = next(each for each in manifest["layers"] if media_type in each["mediaType"])
        path = desk.layout / "blobs" / "sha256" / found["digest"][7:]
        path.write_bytes(b"\0" + path.read_bytes()[1:])

    rewrite(desk.layout, "kws:1", flip)


@pytest.mark.parametrize("media_type", ["weight.v1.raw", "weight.config", "signature", UNKNOWN])
def test_an_altered_package_is_not_sent_at_all(
    desk: Bench, server: DistributionServer, media_type: str
) -> None:
    damaged(desk, media_type)
    with pytest.raises((NotTrusted, InvalidPackage)):
        send(desk, server)
    assert server.requests == []


def test_a_package_of_foreign_keys_is_not_sent_at_all(
    desk: Bench, server: DistributionServer, tmp_path: Path
) -> None:
    other = bench(tmp_path / "other")
    other.write(1)
    with pytest.raises(NotTrusted, match="not signed by a key that is trusted here"):
        push("kws:1", other.layout, at(server), desk.keys, ANYBODY, print)
    assert server.requests == []


def test_a_package_that_is_not_there_or_a_tag_that_cannot_be_is_refused(
    desk: Bench, server: DistributionServer
) -> None:
    with pytest.raises(NotFound, match="kws:2"):
        send(desk, server, 2)
    with pytest.raises(InvalidInput, match="needs a tag"):
        send(desk, server, which="@sha256:" + "0" * 64)
    for tag in (":2", ":01"):
        with pytest.raises(InvalidInput, match="the name of another version than 1"):
            send(desk, server, which=tag)
    assert server.requests == []


def test_large_blobs_say_how_far_they_are(
    desk: Bench, server: DistributionServer, tmp_path: Path
) -> None:
    add_layer(desk.layout, "kws:1", "x/large", bytes(70 * 1024 * 1024))
    lines: list[str] = []
    send(desk, server, say=lines.append)
    fetch(desk, server, tmp_path / "new", say=lines.append)
    shown = [line.split()[0] for line in lines if "%" in line]
    assert shown == ["45", "91", "45", "91"]


# ---- who is told who we are


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_nobody_is_told_a_password_who_does_not_ask(
    desk: Bench, server: DistributionServer, tmp_path: Path, auth: str
) -> None:
    send(desk, server, access=ED)
    assert {each.authorization for each in server.requests} == {""}
    with DistributionServer(user=USER, auth=auth) as asking:
        send(desk, asking, access=ED)
        first, *others = asking.requests
        assert first.authorization == ""
        basic = "Basic " + base64.b64encode(b"ed:secret").decode()
        expected = {"basic": {basic}, "bearer": {basic, "Bearer t0"}}
        assert {each.authorization for each in others} == expected[auth]


def test_another_host_that_keeps_the_blobs_is_told_nothing(desk: Bench, tmp_path: Path) -> None:
    with (
        DistributionServer() as storage,
        DistributionServer(user=USER, auth="bearer", storage=storage.url) as server,
    ):
        storage.repositories = server.repositories
        send(desk, server, access=ED)
        fetch(desk, server, tmp_path / "new", access=ED)
        assert len(storage.sent("GET")) == 5
        assert not any("authorization" in each.headers for each in storage.requests)
    assert files(tmp_path / "new") == files(desk.layout)


@pytest.mark.parametrize("scheme", ["Basic", "Bearer"])
def test_another_host_that_asks_who_we_are_is_told_nothing_either(
    desk: Bench, tmp_path: Path, scheme: str
) -> None:
    with (
        DistributionServer(user=USER, auth="bearer") as thief,
        DistributionServer(user=USER, storage=thief.url) as server,
    ):
        asked = {"WWW-Authenticate": f'{scheme} realm="{thief.url}/token",service="tests"'}
        thief.tamper = lambda request, answer: Answer(status=401, headers=asked)
        send(desk, server, access=ED)
        with pytest.raises(NotAuthorized):
            fetch(desk, server, tmp_path / "new", access=ED)
        assert [each.authorization for each in thief.requests] == [""]


def test_one_token_does_for_a_whole_push_and_it_may_push(desk: Bench, tmp_path: Path) -> None:
    with DistributionServer(user=USER, auth="bearer") as server:
        send(desk, server, access=ED)
        assert list(server.tokens.values()) == [("repository:kws:pull,push",)]
        fetch(desk, server, tmp_path / "new", access=ED)
        assert list(server.tokens.values())[1:] == [("repository:kws:pull",)]


def test_a_token_that_expires_on_the_way_is_renewed(desk: Bench) -> None:
    with DistributionServer(user=USER, auth="bearer") as server:

        def expire(request: Any, answer: Answer) -> Answer:
            if request.method == "POST":
                server.tokens["t0"] = ()
            return answer

        server.tamper = expire
        assert len(send(desk, server, access=ED).moved) == 5
        assert len(server.tokens) == 2


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_without_a_password_the_next_step_is_how_to_give_one(desk: Bench, auth: str) -> None:
    access = Access(credentials=Credentials(hint="the config has nothing"), limits=LIMITS)
    with DistributionServer(user=USER, auth=auth) as server:
        with pytest.raises(NotAuthorized, match="the config has nothing") as error:
            send(desk, server, access=access)
    assert "--password-stdin" in error.value.next_step


# ---- what may work later


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_registry_that_is_busy_is_asked_again(
    desk: Bench, server: DistributionServer, tmp_path: Path, status: int
) -> None:
    busy: set[tuple[str, str]] = set()

    def first_time_busy(request: Any, answer: Answer) -> Answer:
        what = (request.method, re.sub(r"/u\d+$", request.query.get("digest", ""), request.path))
        if what in busy:
            return answer
        busy.add(what)
        return Answer(status=status, headers={"Retry-After": "0"})

    server.tamper = first_time_busy
    lines: list[str] = []
    send(desk, server, say=lines.append)
    fetch(desk, server, tmp_path / "new", say=lines.append)
    assert files(tmp_path / "new") == files(desk.layout)
    assert sum(f"answered {status}; trying again" in line for line in lines) == len(busy) > 9


def test_a_registry_that_stays_busy_is_left_after_a_few_tries(
    desk: Bench, server: DistributionServer
) -> None:
    server.tamper = lambda request, answer: Answer(status=503)
    with pytest.raises(RegistryUnreachable, match=r"answered 503 \(4 tries\)"):
        send(desk, server)
    assert len(server.requests) == 4


def test_a_download_that_broke_off_begins_again(
    desk: Bench, server: DistributionServer, tmp_path: Path
) -> None:
    send(desk, server)
    broken: set[str] = set()

    def break_off(request: Any, answer: Answer) -> Answer:
        if "/blobs/" not in request.path or request.path in broken:
            return answer
        broken.add(request.path)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer.body)
        return another(answer, raw=head + answer.body[:-1])

    server.tamper = break_off
    fetch(desk, server, tmp_path / "new")
    assert len(broken) == 5
    assert files(tmp_path / "new") == files(desk.layout)


# ---- what the folder has


def test_a_pulled_package_is_signed_by_the_root_that_is_here(
    desk: Bench, server: DistributionServer, tmp_path: Path
) -> None:
    send(desk, server)
    foreign = bench(tmp_path / "foreign")
    with pytest.raises(NotTrusted, match="not signed by a key that is trusted here"):
        fetch(desk, server, tmp_path / "new", keys=foreign.keys)
    assert not (tmp_path / "new").exists()


def test_without_a_root_it_is_said_that_the_signature_was_not_checked(
    desk: Bench, server: DistributionServer, tmp_path: Path
) -> None:
    send(desk, server)
    lines: list[str] = []
    done = fetch(desk, server, tmp_path / "new", keys=tmp_path / "none", say=lines.append)
    assert not done.is_signature_checked
    assert any("signature of kws:1 was NOT checked" in line for line in lines)
    assert references(tmp_path / "new") == ("kws:1",)


def test_a_version_in_the_folder_never_changes(
    desk: Bench, server: DistributionServer, tmp_path: Path
) -> None:
    send(desk, server)
    other = bench(tmp_path / "other", signers=desk.signers)
    other.write(1, artifact=b"another one")
    before = files(other.layout)
    with pytest.raises(Conflict, match="holds another package kws:1"):
        fetch(desk, server, other.layout)
    assert files(other.layout) == before


def test_a_pull_adds_to_what_is_there(
    desk: Bench, server: DistributionServer, tmp_path: Path
) -> None:
    send(desk, server)
    other = bench(tmp_path / "other", signers=desk.signers)
    other.write(7)
    fetch(desk, server, other.layout)
    assert references(other.layout) == ("kws:1", "kws:7")
    assert read_layout(other.layout, "kws:1") == read_layout(desk.layout, "kws:1")


def test_a_damaged_blob_in_the_folder_is_fetched_again(
    desk: Bench, server: DistributionServer, tmp_path: Path
) -> None:
    send(desk, server)
    fetch(desk, server, tmp_path / "new")
    before = files(tmp_path / "new")
    name = read_layout(desk.layout).manifest.variants[0].artifact.ref.digest
    (tmp_path / "new" / "blobs" / "sha256" / name[7:]).write_bytes(b"damaged")
    again = fetch(desk, server, tmp_path / "new")
    assert [each.digest for each in again.moved] == [name]
    assert files(tmp_path / "new") == before


def test_another_folder_is_neither_asked_for_nor_written_to(
    desk: Bench, server: DistributionServer, tmp_path: Path
) -> None:
    send(desk, server)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"a photograph")
    with pytest.raises(InvalidPackage, match="no OCI layout"):
        fetch(desk, server, tmp_path / "photos")
    with pytest.raises(StoreFailed):
        fetch(desk, server, tmp_path / "photos" / "holiday.jpg")
    assert files(tmp_path / "photos") == {"holiday.jpg": b"a photograph"}
    assert [path for path in server.sent("GET") if "/blobs/" in path] == []


@pytest.mark.parametrize("allowed", range(9))
def test_a_disk_that_fails_at_any_file_leaves_what_was_there(
    desk: Bench,
    server: DistributionServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    allowed: int,
) -> None:
    send(desk, server)
    other = bench(tmp_path / "other", signers=desk.signers)
    other.write(7)
    before, left, replace = files(other.layout), iter(range(allowed)), os.replace

    def fail(old: Any, new: Any) -> None:
        if next(left, None) is None:
            raise OSError(28, "No space left on device")
        replace(old, new)

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", fail)
        if allowed < 8:
            with pytest.raises(StoreFailed, match="No space left"):
                fetch(desk, server, other.layout)
            assert references(other.layout) == ("kws:7",)
            assert before.items() <= files(other.layout).items()
            assert not [name for name in files(other.layout) if ".new-" in name]
    fetch(desk, server, other.layout)
    assert references(other.layout) == ("kws:1", "kws:7")


def test_a_package_that_does_not_fit_on_the_disk_is_not_begun(
    desk: Bench, server: DistributionServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(desk, server)
    monkeypatch.setattr("edgeops.packaging.oci.staging.SPARE_BYTES", 2**62)
    with pytest.raises(StoreFailed, match="are free") as error:
        fetch(desk, server, tmp_path / "new")
    assert "--layout" in error.value.next_step
    assert not (tmp_path / "new").exists()


def test_pulls_at_the_same_time_lose_no_package(
    desk: Bench, server: DistributionServer, tmp_path: Path
) -> None:
    numbers = range(1, 6)
    for number in numbers:
        if number > 1:
            desk.write(number)
        send(desk, server, number)
    threads = [
        threading.Thread(
            target=fetch, args=(desk, server, tmp_path / "new"), kwargs={"which": f":{number}"}
        )
        for number in numbers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert references(tmp_path / "new") == tuple(f"kws:{number}" for number in numbers)
    assert files(tmp_path / "new") == files(desk.layout)


PULL = """
import sys
from pathlib import Path
from edgeops.integrations.oci_registry.address import parse_address
from edgeops.service.oci_registry import Access, pull
pull(parse_address(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), Access(), print)
"""


def test_what_a_killed_pull_left_is_cleared_away_by_the_next(
    desk: Bench, server: DistributionServer, tmp_path: Path
) -> None:
    add_layer(desk.layout, "kws:1", "x/large", bytes(2000))
    send(desk, server)
    server.tamper = lambda r, a: another(a, drip_s=0.05) if len(a.body) == 2000 else a
    command = [sys.executable, "-c", PULL, str(at(server, ":1")), tmp_path / "new", desk.keys]
    with subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ) as process:
        end_s = time.monotonic() + 30
        while not list((tmp_path / "new").glob(".new-staging-*/blobs/sha256/*")):
            assert time.monotonic() < end_s
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert [name for name in files(tmp_path / "new") if ".new-" in name]
    server.tamper = None
    fetch(desk, server, tmp_path / "new")
    assert files(tmp_path / "new") == files(desk.layout)
    assert sorted(each.name for each in (tmp_path / "new").iterdir()) == [
        "blobs",
        "index.json",
        "oci-layout",
    ]


# ---- HTTPS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 0.0.0.0: this machine under a name that is not taken for local."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("0.0.0.0"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(made.public_bytes(Encoding.PEM) + pem)
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[DistributionServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with DistributionServer(tls=context, location="relative") as found:
        yield found


def test_https_is_spoken_with_other_machines(
    desk: Bench,
    secure: DistributionServer,
    certificate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(RegistryUnreachable, match="certificate verify failed"):
        send(desk, secure)
    assert secure.requests == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    send(desk, secure)
    fetch(desk, secure, tmp_path / "new")
    assert files(tmp_path / "new") == files(desk.layout)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=307, headers={"Location": "http://127.0.0.1:1/blob"}),
        Answer(
            status=401,
            headers={"WWW-Authenticate": 'Bearer realm="http://127.0.0.1:1/token",service="x"'},
        ),
    ],
)
def test_https_is_never_left(
    desk: Bench,
    secure: DistributionServer,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Answer,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    secure.tamper = lambda request, _: answer
    with pytest.raises(RegistryRefused, match="which is not https"):
        send(desk, secure, access=ED)


def test_http_with_another_machine_is_only_for_those_who_ask_for_it(
    desk: Bench, tmp_path: Path
) -> None:
    with DistributionServer(name="0.0.0.0") as server:
        with pytest.raises(RegistryUnreachable):
            send(desk, server)
        assert len(server.repositories) == 0
        send(desk, server, access=Access(plain_http=True, limits=LIMITS))
        assert list(server.repositories["kws"].tags) == ["1"]


# ---- the commands


def run(home: Path, *arguments: object, stdin: str = "") -> Result:
    words = ["--home", str(home), *map(str, arguments)]
    return CliRunner().invoke(main, words, input=stdin, catch_exceptions=False)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a package and keys, where Docker's config has nothing."""
    made = bench(tmp_path / "home")
    made.write(1)
    (tmp_path / "home" / "layout").rename(tmp_path / "home" / "packages")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    return tmp_path / "home"


def test_push_and_pull_say_what_they_did(
    home: Path, server: DistributionServer, tmp_path: Path
) -> None:
    pushed = run(home, "push", "kws:1", f"oci://{server.host}/kws", "-o", "json")
    assert pushed.exit_code == 0
    said = json.loads(pushed.stdout)
    assert said["address"] == f"oci://{server.host}/kws:1"
    assert said["signature"] == "checked"
    assert [each["moved"] for each in said["blobs"]] == [True] * 5
    pulled = run(home, "pull", said["pinned"], "--layout", tmp_path / "new", "-o", "json")
    assert pulled.exit_code == 0
    came = json.loads(pulled.stdout)
    assert came["address"] == said["pinned"] == came["pinned"]
    assert (came["reference"], came["package"]) == ("kws:1", said["package"])
    shown = run(home, "pull", f"oci://{server.host}/kws")
    assert shown.exit_code == 0
    assert "already there: kws:1" in shown.stderr
    assert shown.stdout.splitlines()[-1] == f"kws:1 {said['pinned']}"


def test_what_was_pulled_can_be_published(server: DistributionServer, tmp_path: Path) -> None:
    with served_hub() as hub:
        desk = bench(tmp_path / "desk", signers=hub.harness.keys)
        desk.write(1)
        send(desk, server)
        fetch(desk, server, tmp_path / "new")
        done = hub.run(packages.publish, str(tmp_path / "new"))
        assert done.exit_code == 0, done.output
        assert hub.client().version("kws:1")["digest"] == read_layout(desk.layout).digest


def test_the_password_comes_on_standard_input_or_from_docker(home: Path, tmp_path: Path) -> None:
    with DistributionServer(user=USER) as server:
        words = ("push", "kws:1", f"oci://{server.host}/kws")
        failed = run(home, *words)
        assert failed.exit_code == 6
        assert "next:  give --username and --password-stdin" in failed.stderr
        given = (*words, "--username", "ed", "--password-stdin")
        assert run(home, *given, stdin="wrong\n").exit_code == 6
        assert run(home, *given, stdin="secret\n").exit_code == 0
        (tmp_path / "docker").mkdir()
        auth = base64.b64encode(b"ed:secret").decode()
        config = {"auths": {server.host: {"auth": auth}}}
        (tmp_path / "docker" / "config.json").write_text(json.dumps(config))
        assert run(home, *words).exit_code == 0
        assert "secret" not in failed.output


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("push", "kws:1"), 2),
        (("push", "kws:1", "oci://h/kws", "--username", "ed"), 2),
        (("pull", "oci://h/kws", "--password-stdin"), 2),
        (("pull", "h/kws"), 1),
        (("push", "kws:1", "oci://h/KWS"), 1),
        (("push", "kws:9", "oci://127.0.0.1:1/kws"), 1),
        (("push", "kws:1", "oci://127.0.0.1:99999/kws"), 1),
    ],
)
def test_words_that_cannot_be_right_are_refused(
    home: Path, words: tuple[str, ...], code: int
) -> None:
    done = run(home, *words)
    assert done.exit_code == code
    assert done.stderr.count("\n") <= 4
