"""What every OCI registry must do for packages, and what they look like from outside.

The registries: the strict one of the tests in each of its ways (how it asks who we are, how it
names uploads, where it keeps blobs), and Debian's ``docker-registry`` where it is installed.
"""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import oras.client
import pytest

from device_agent.protocol.ids import digest_of
from edgeops.domain.errors import Conflict, NotAuthorized, NotFound
from edgeops.integrations.oci_registry.address import parse_address
from edgeops.integrations.oci_registry.credentials import Credentials
from edgeops.integrations.oci_registry.limits import RegistryLimits
from edgeops.service.oci_registry import Access, Transfer, pull, push
from tests.distribution_server import DistributionServer
from tests.oci_packages import UNKNOWN, Bench, bench, files

USER = ("ed", "pa ss:wörd")
BCRYPT = "$2b$05$bP69Ru2QZBZUUmEz0JoxvuNBVHK64p9ziGNyngdlIt5/HK215ePti"
REPOSITORY = "models/on-edge/kws"
PATIENCE_S = 10.0

CONFIGURATION = """
version: 0.1
log: {{level: error}}
storage: {{filesystem: {{rootdirectory: {folder}}}}}
http: {{addr: "{host}", secret: tests}}
"""


@dataclass(frozen=True, kw_only=True)
class Registry:
    """A registry that runs, who may use it (empty: everybody), and how it asks for him."""

    host: str
    user: tuple[str, str] | tuple[()] = ()
    auth: str = "basic"

    def at(self, which: str = "") -> Any:
        return parse_address(f"oci://{self.host}/{REPOSITORY}{which}")

    def access(self, password: str | None = None) -> Access:
        known = Credentials()
        if self.user:
            known = Credentials(username=self.user[0], password=password or self.user[1])
        return Access(credentials=known, limits=RegistryLimits(backoff_s=0.0))


@contextmanager
def strict(**options: Any) -> Iterator[Registry]:
    with DistributionServer(**options) as server:
        yield Registry(host=server.host, user=server.user or (), auth=server.auth)


@contextmanager
def keeps_blobs_elsewhere() -> Iterator[Registry]:
    with DistributionServer() as storage, DistributionServer(storage=storage.url) as server:
        server.repositories = storage.repositories
        yield Registry(host=server.host)


@contextmanager
def real(folder: Path, *, with_user: bool) -> Iterator[Registry]:
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    text = CONFIGURATION.format(folder=folder / "data", host=host)
    if with_user:
        (folder / "htpasswd").write_text(f"{USER[0]}:{BCRYPT}\n")
        text += f"auth: {{htpasswd: {{realm: tests, path: {folder / 'htpasswd'}}}}}\n"
    (folder / "config.yml").write_text(text)
    log = (folder / "log").open("wb")
    with (
        log,
        subprocess.Popen(
            [program, "serve", folder / "config.yml"], stdout=log, stderr=log
        ) as process,
    ):
        try:
            wait_for(host)
            yield Registry(host=host, user=USER if with_user else ())
        finally:
            process.terminate()


def wait_for(host: str) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            httpx.get(f"http://{host}/v2/")
            return
        except httpx.TransportError:
            assert time.monotonic() < end_s, f"nothing answers at {host}"
            time.sleep(0.05)


REGISTRIES: dict[str, Any] = {
    "open": lambda folder: strict(),
    "basic": lambda folder: strict(user=USER),
    "bearer": lambda folder: strict(user=USER, auth="bearer"),
    "relative locations": lambda folder: strict(location="relative", page=1),
    "locations with a state": lambda folder: strict(location="state", page=2),
    "blobs elsewhere": lambda folder: keeps_blobs_elsewhere(),
    "docker-registry": lambda folder: real(folder, with_user=False),
    "docker-registry with a password": lambda folder: real(folder, with_user=True),
}
WITH_USER = ("basic", "bearer", "docker-registry with a password")


@pytest.fixture(params=REGISTRIES)
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    folder = tmp_path / "registry"
    folder.mkdir()
    with REGISTRIES[request.param](folder) as found:
        yield found


@pytest.fixture
def desk(tmp_path: Path) -> Bench:
    made = bench(tmp_path / "desk")
    for number in (1, 2, 10):
        made.write(number)
    return made


def pushed(desk: Bench, registry: Registry, number: int = 1, which: str = "") -> Transfer:
    where = registry.at(which)
    return push(f"kws:{number}", desk.layout, where, desk.keys, registry.access(), print)


def pulled(desk: Bench, registry: Registry, folder: Path, which: str = "") -> Transfer:
    return pull(registry.at(which), folder, desk.keys, registry.access(), print)


def test_what_is_pushed_comes_back_byte_for_byte(
    registry: Registry, desk: Bench, tmp_path: Path
) -> None:
    for number in (1, 2, 10):
        sent = pushed(desk, registry, number)
        assert str(sent.address) == f"oci://{registry.host}/{REPOSITORY}:{number}"
        came = pulled(desk, registry, tmp_path / "new", f":{number}")
        assert came.is_signature_checked
        assert came.is_new
        assert (came.digest, came.package) == (sent.digest, sent.package)
        assert UNKNOWN in {each.media_type for each in came.moved}
    assert files(tmp_path / "new") == files(desk.layout)


def test_a_package_that_is_there_is_not_sent_again(registry: Registry, desk: Bench) -> None:
    first, second = pushed(desk, registry), pushed(desk, registry)
    assert len(first.moved) == 5
    assert second.moved == ()
    assert second.kept == first.moved


def test_a_package_that_is_here_is_not_fetched_again(
    registry: Registry, desk: Bench, tmp_path: Path
) -> None:
    pushed(desk, registry)
    pulled(desk, registry, tmp_path / "new", ":1")
    again = pulled(desk, registry, tmp_path / "new", ":1")
    assert (again.is_new, again.moved, len(again.kept)) == (False, (), 5)


def test_a_version_number_is_never_the_tag_of_another_package(
    registry: Registry, desk: Bench, tmp_path: Path
) -> None:
    first = pushed(desk, registry)
    other = bench(tmp_path / "other", signers=desk.signers)
    other.write(1, artifact=b"another one")
    with pytest.raises(Conflict, match="a version never changes"):
        pushed(other, registry)
    assert pulled(desk, registry, tmp_path / "new", ":1").digest == first.digest


def test_another_tag_follows_the_last_push(registry: Registry, desk: Bench, tmp_path: Path) -> None:
    for number in (1, 2):
        last = pushed(desk, registry, number, ":candidate")
    came = pulled(desk, registry, tmp_path / "new", ":candidate")
    assert (came.package.reference, came.digest) == ("kws:2", last.digest)


def test_without_a_tag_the_highest_version_number_comes(
    registry: Registry, desk: Bench, tmp_path: Path
) -> None:
    for number in (2, 10, 1):
        pushed(desk, registry, number)
    pushed(desk, registry, 1, ":zzz")
    came = pulled(desk, registry, tmp_path / "new")
    assert came.package.reference == "kws:10"
    assert str(came.address).endswith(f"{REPOSITORY}:10")


def test_a_digest_names_one_package_for_ever(
    registry: Registry, desk: Bench, tmp_path: Path
) -> None:
    first = pushed(desk, registry, 1, ":candidate")
    pushed(desk, registry, 2, ":candidate")
    address = parse_address(first.pinned)
    came = pull(address, tmp_path / "new", desk.keys, registry.access(), print)
    assert came.package.reference == "kws:1"
    assert came.pinned == first.pinned == str(came.address)


def test_what_is_not_there_is_not_found(registry: Registry, desk: Bench, tmp_path: Path) -> None:
    pushed(desk, registry)
    for which in (":7", f"@{digest_of(b'nothing')}"):
        with pytest.raises(NotFound):
            pulled(desk, registry, tmp_path / "new", which)
    nowhere = parse_address(f"oci://{registry.host}/nowhere")
    with pytest.raises(NotFound):
        pull(nowhere, tmp_path / "new", desk.keys, registry.access(), print)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("registry", WITH_USER, indirect=True)
def test_who_has_no_password_or_a_wrong_one_is_kept_out(
    registry: Registry, desk: Bench, tmp_path: Path
) -> None:
    pushed(desk, registry)
    for access in (registry.access("wrong"), Access()):
        with pytest.raises(NotAuthorized):
            push("kws:2", desk.layout, registry.at(), desk.keys, access, print)
        with pytest.raises(NotAuthorized):
            pull(registry.at(":1"), tmp_path / "new", desk.keys, access, print)
    assert not (tmp_path / "new").exists()


def test_oras_pulls_by_tag_what_was_pushed(
    registry: Registry, desk: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = pushed(desk, registry)
    monkeypatch.setenv("HOME", str(tmp_path))  # it looks for a login there
    kind = "token" if registry.auth == "bearer" else "basic"
    client = oras.client.OrasClient(hostname=registry.host, insecure=True, auth_backend=kind)
    if registry.user:
        client.auth.set_basic_auth(*registry.user)
    found = client.pull(f"{registry.host}/{REPOSITORY}:1", outdir=str(tmp_path / "oras"))
    blobs = desk.layout / "blobs" / "sha256"
    assert len(found) == 4  # all but the config
    digests = set()
    for path in map(Path, found):
        data = path.read_bytes()
        digests.add(f"sha256:{hashlib.sha256(data).hexdigest()}")
        assert (blobs / hashlib.sha256(data).hexdigest()).read_bytes() == data
    assert digests < {each.digest for each in sent.moved}
    # The fourth is a layer that another tool added: it has no title.
    names = {Path(each).name for each in found if "sha256:" not in Path(each).name}
    assert names == {"model.onnx", "edgeops.json", "signature.json"}
