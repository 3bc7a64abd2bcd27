"""Addresses of OCI registries, challenges, stored passwords, bounds: pure or one small file."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from device_agent.protocol.ids import digest_of
from edgeops.domain.errors import InvalidInput, InvalidPackage
from edgeops.integrations.oci_registry.address import Address, parse_address
from edgeops.integrations.oci_registry.challenge import parse_challenges, wanted_scopes
from edgeops.integrations.oci_registry.credentials import Credentials, given, stored
from edgeops.integrations.oci_registry.limits import RegistryLimits
from edgeops.packaging.oci.manifest import OciManifest
from tests.hostile import hostile_payloads, mutations, on_the_wire

DIGEST = digest_of(b"manifest")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("oci://localhost:5000/kws", Address(host="localhost:5000", repository="kws")),
        ("oci://ghcr.io/a/b_c/d-e:2", Address(host="ghcr.io", repository="a/b_c/d-e", tag="2")),
        ("oci://[::1]:5000/kws:v1.0_x", Address(host="[::1]:5000", repository="kws", tag="v1.0_x")),
        (
            f"oci://r.example/kws@{DIGEST}",
            Address(host="r.example", repository="kws", digest=DIGEST),
        ),
        (
            "oci://docker.io/me/kws:1",
            Address(host="registry-1.docker.io", repository="me/kws", tag="1"),
        ),
    ],
)
def test_an_address_is_read_as_it_is_written(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kws:1",
        "localhost:5000/kws",
        "docker://localhost/kws",
        "OCI://localhost/kws",
        "oci://",
        "oci://localhost",
        "oci://localhost/",
        "oci:///kws",
        "oci://user:password@localhost/kws",
        "oci://local host/kws",
        "oci://localhost:port/kws",
        "oci://localhost:123456/kws",
        "oci://localhost/KWS",
        "oci://localhost/kws/",
        "oci://localhost//kws",
        "oci://localhost/../kws",
        "oci://localhost/kws/../../v2",
        "oci://localhost/a..b",
        "oci://localhost/kws?x=1",
        "oci://localhost/kws#x",
        "oci://localhost/kws:",
        "oci://localhost/kws:a/b",
        "oci://localhost/kws:-a",
        "oci://localhost/kws:1\n",
        "oci://localhost/kws:" + "1" * 129,
        "oci://localhost/kws@",
        "oci://localhost/kws@sha256:abc",
        f"oci://localhost/kws:1@{DIGEST}",
        "oci://localhost/" + "a" * 250,
        "oci://localhost/" + "a-" * 50_000,
    ],
)
def test_what_is_no_address_is_refused_and_not_guessed(text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        parse_address(text)
    assert error.value.next_step
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.8.9.1", True),
        ("[::1]:5000", True),
        ("localhost.example.com", False),
        ("127.0.0.1.example.com", False),
        ("notlocalhost:5000", False),
        ("10.0.0.1", False),
    ],
)
def test_only_this_machine_is_local(host: str, is_local: bool) -> None:
    assert parse_address(f"oci://{host}/kws").is_local is is_local


def test_challenges_are_read_with_their_parameters() -> None:
    headers = [
        'Bearer realm="https://auth.example/token?a=b,c",service=reg, scope="repository:a/b:pull,push"',
        'basic  realm="say \\"hi\\"" , Negotiate, Digest realm=x',
    ]
    found = [(each.scheme, dict(each.parameters)) for each in parse_challenges(headers)]
    assert found == [
        (
            "bearer",
            {
                "realm": "https://auth.example/token?a=b,c",
                "service": "reg",
                "scope": "repository:a/b:pull,push",
            },
        ),
        ("basic", {"realm": 'say "hi"'}),
        ("negotiate", {}),
        ("digest", {"realm": "x"}),
    ]


@pytest.mark.parametrize(
    ("asked", "scopes"),
    [
        ("", ("repository:a/kws:pull,push",)),
        ("repository:a/kws:pull", ("repository:a/kws:pull,push",)),
        (
            "repository:proxy/a/kws:pull registry:catalog:*",
            ("repository:a/kws:pull,push", "repository:proxy/a/kws:pull", "registry:catalog:*"),
        ),
    ],
)
def test_a_token_is_asked_for_what_is_needed_and_what_the_registry_names(
    asked: str, scopes: tuple[str, ...]
) -> None:
    assert wanted_scopes(asked, "a/kws", "pull,push") == scopes


def config(folder: Path, document: Any) -> Path:
    path = folder / "config.json"
    path.write_bytes(document if isinstance(document, bytes) else json.dumps(document).encode())
    return path


def auth(text: str) -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("localhost:5000", "localhost:5000"),
        ("https://reg.example", "reg.example"),
        ("https://reg.example/v2/", "reg.example"),
        ("https://index.docker.io/v1/", "registry-1.docker.io"),
    ],
)
def test_a_password_that_docker_stored_is_found(tmp_path: Path, name: str, host: str) -> None:
    path = config(tmp_path, {"auths": {"other": auth("a:b"), name: auth("ed:pa:ss wörd")}})
    found = stored(path, host)
    assert (found.username, found.password) == ("ed", "pa:ss wörd")
    assert base64.b64decode(found.basic().removeprefix("Basic ")).decode() == "ed:pa:ss wörd"
    assert "pa:ss" not in repr(found)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({}, "has nothing for reg.example"),
        ({"auths": {"reg.example.com": auth("a:b")}}, "has nothing for"),
        ({"auths": {"reg.example": {}}, "credsStore": "desktop"}, "credential helper"),
        ({"auths": {}, "credHelpers": {"reg.example": "x"}}, "credential helper"),
        ({"auths": {"reg.example": {**auth("0:"), "identitytoken": "x"}}}, "login token"),
    ],
)
def test_where_there_is_no_password_the_reason_is_known(
    tmp_path: Path, document: Any, says: str
) -> None:
    found = stored(config(tmp_path, document), "reg.example")
    assert not found
    assert says in found.hint
    assert "there is no" in stored(tmp_path / "nothing.json", "reg.example").hint


@pytest.mark.parametrize(
    "document",
    [
        *hostile_payloads()[:12],
        {"auths": []},
        {"auths": {"reg.example": "x"}},
        {"auths": {"reg.example": {"auth": 7}}},
        {"auths": {"reg.example": {"auth": "%%%"}}},
        {"auths": {"reg.example": auth("no colon")}},
        {"auths": {"reg.example": auth("ed:line\nbreak")}},
        {"auths": {"reg.example": {"auth": base64.b64encode(b"\xff:\xff").decode()}}},
    ],
)
def test_a_damaged_config_is_an_error_that_names_it(tmp_path: Path, document: Any) -> None:
    with pytest.raises(InvalidInput, match=r"config\.json cannot be read"):
        stored(config(tmp_path, document), "reg.example")


@pytest.mark.parametrize("pair", [("", "x"), ("a:b", "x"), ("a", "x\n"), ("a\r", "x"), ("a", "\0")])
def test_a_user_that_cannot_be_sent_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(InvalidInput):
        given(*pair)


def test_nobody_in_particular_is_nothing_to_tell() -> None:
    assert not Credentials()
    assert given("ed", "")


@pytest.mark.parametrize(
    ("attempt", "asked", "pause_s"),
    [
        (1, "", 0.5),
        (2, "", 1.0),
        (3, "", 2.0),
        (9, "", 30.0),
        (1, "7", 7.0),
        (3, "1", 2.0),
        (1, "3600", 30.0),
        (1, "9" * 400, 0.5),
        (1, "-5", 0.5),
        (1, "Fri, 31 Dec 1999 23:59:59 GMT", 0.5),
        (1, "\N{SUPERSCRIPT TWO}", 0.5),
    ],
)
def test_pauses_grow_and_follow_the_registry_within_bounds(
    attempt: int, asked: str, pause_s: float
) -> None:
    assert RegistryLimits().pause_s(attempt, asked) == pause_s


def document() -> dict[str, Any]:
    blob = {"mediaType": "x/y", "digest": DIGEST, "size": 8, "annotations": {"a": "b"}}
    return {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "config": blob,
        "layers": [blob, {**blob, "digest": digest_of(b"other"), "size": 5}],
    }


def test_a_manifest_names_each_of_its_blobs_once() -> None:
    data = json.dumps(document(), indent=3).encode()
    manifest = OciManifest.from_bytes(data)
    assert manifest.digest == digest_of(data)
    assert [each.digest for each in manifest.blobs] == [DIGEST, digest_of(b"other")]
    assert manifest.entry("kws:1").to_document() == {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "artifactType": "application/vnd.cncf.model.manifest.v1+json",
        "digest": digest_of(data),
        "size": len(data),
        "annotations": {"org.opencontainers.image.ref.name": "kws:1"},
    }


def test_no_spoiled_manifest_is_another_error_than_ours() -> None:
    refused = 0
    for spoiled in mutations(document()):
        try:
            OciManifest.from_bytes(on_the_wire(spoiled))
        except InvalidPackage as error:
            refused += 1
            assert error.next_step
    assert refused > 500
