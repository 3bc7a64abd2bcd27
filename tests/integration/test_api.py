"""The HTTP API through the Python client: who may do what, and how errors come back."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from device_agent.protocol.envelope import Signature
from device_agent.protocol.ids import Digest, digest_of
from edgeops import __version__
from edgeops.client import Client, HubUnreachable
from edgeops.domain.access import Role
from edgeops.domain.errors import (
    Conflict,
    EdgeopsError,
    Forbidden,
    InvalidInput,
    NotAuthorized,
    NotFound,
    NotTrusted,
)
from tests.hub_harness import make_keys, tiny_package, window
from tests.served_hub import ROLES, Served, served_hub

MISSING = Digest("sha256:" + "0" * 64)


@pytest.fixture
def served() -> Iterator[Served]:
    with served_hub() as it:
        yield it


def error_of(response: httpx.Response) -> dict[str, str]:
    """Every error has the same body."""
    body = response.json()
    assert list(body) == ["error"]
    assert sorted(body["error"]) == ["cause", "next_step", "type"]
    assert body["error"]["cause"]
    return dict(body["error"])


# ---- who may do what

ROUTES: dict[tuple[str, str], tuple[str, int]] = {
    # (method, path): (least role, status for that role on an empty hub with device d and model m)
    ("GET", "/healthz"): ("nobody", 200),
    ("GET", "/v1/hub"): ("viewer", 200),
    ("GET", "/v1/delivery"): ("viewer", 200),
    ("GET", "/v1/root"): ("viewer", 200),
    ("GET", "/v1/audit"): ("viewer", 200),
    ("GET", "/v1/audit/verify"): ("viewer", 200),
    ("GET", "/v1/tokens"): ("admin", 200),
    ("POST", "/v1/tokens"): ("admin", 422),
    ("DELETE", "/v1/tokens/{token_id}"): ("admin", 404),
    ("PUT", "/v1/blobs/{digest}"): ("publisher", 422),
    ("HEAD", "/v1/blobs/{digest}"): ("viewer", 404),
    ("GET", "/v1/blobs/{digest}"): ("viewer", 404),
    ("POST", "/v1/versions"): ("publisher", 422),
    ("GET", "/v1/versions/{reference}"): ("viewer", 404),
    ("GET", "/v1/versions/{reference}/lineage"): ("viewer", 404),
    ("GET", "/v1/models"): ("viewer", 200),
    ("GET", "/v1/models/{name}"): ("viewer", 404),
    ("GET", "/v1/models/{name}/next"): ("viewer", 200),
    ("GET", "/v1/models/{name}/report"): ("viewer", 404),
    ("PUT", "/v1/models/{name}/aliases/{alias}"): ("publisher", 404),
    ("POST", "/v1/devices"): ("admin", 422),
    ("GET", "/v1/devices"): ("viewer", 200),
    ("GET", "/v1/devices/{name}"): ("viewer", 404),
    ("PATCH", "/v1/devices/{name}"): ("operator", 404),
    ("DELETE", "/v1/devices/{name}"): ("admin", 404),
    ("POST", "/v1/devices/{name}/commands"): ("operator", 404),
    ("GET", "/v1/devices/{name}/commands"): ("viewer", 404),
    ("GET", "/v1/devices/{name}/commands/{command}"): ("viewer", 404),
    ("GET", "/v1/telemetry/{model}"): ("viewer", 200),
    ("GET", "/v1/alarms"): ("viewer", 200),
    ("GET", "/v1/alarms/{alarm}"): ("viewer", 404),
    ("POST", "/v1/alarms/{alarm}/close"): ("operator", 404),
    ("GET", "/v1/drift/{reference}"): ("viewer", 404),
    ("GET", "/v1/data"): ("viewer", 200),
    ("GET", "/v1/data/{reference}"): ("viewer", 404),
    ("PUT", "/v1/data/{name}"): ("operator", 422),
    ("POST", "/v1/data/{name}"): ("operator", 404),
    ("GET", "/v1/samples/{model}"): ("viewer", 200),
    ("PUT", "/v1/retrain-policies/{model}"): ("publisher", 404),
    ("GET", "/v1/retrain-policies/{model}"): ("viewer", 404),
    ("GET", "/v1/retrainings"): ("viewer", 200),
    ("POST", "/v1/retrainings"): ("operator", 404),
    ("GET", "/v1/retrainings/{retraining_id}"): ("viewer", 404),
    ("POST", "/v1/retrainings/{retraining_id}/{step}"): ("publisher", 404),
    ("POST", "/v1/rollouts"): ("operator", 404),
    ("GET", "/v1/rollouts"): ("viewer", 200),
    ("GET", "/v1/rollouts/{rollout}"): ("viewer", 404),
    ("POST", "/v1/rollouts/{rollout}/{trigger}"): ("operator", 404),
}
VALUES = {
    "token_id": "nothing",
    "digest": MISSING,
    "reference": "kws:1",
    "name": "nothing",
    "alias": "prod",
    "model": "kws",
    "rollout": "r9",
    "command": "c9",
    "trigger": "pause",
    "alarm": "a1",
    "retraining_id": "t9",
    "step": "claim",
}
BODIES: dict[tuple[str, str], Any] = {
    ("POST", "/v1/tokens"): {"name": "x y", "role": "viewer"},
    ("POST", "/v1/versions"): {"manifest": "nonsense", "signature": {"keyid": "k", "sig": ""}},
    ("PUT", "/v1/models/{name}/aliases/{alias}"): {"version": 1},
    ("POST", "/v1/devices"): {"name": "a/b", "profile": "p"},
    ("PATCH", "/v1/devices/{name}"): {"labels": ["a=b"]},
    ("POST", "/v1/devices/{name}/commands"): {"kind": "restart"},
    ("POST", "/v1/data/{name}"): {"samples": "kws"},
    ("PUT", "/v1/retrain-policies/{model}"): {"data": [], "evaluation": "held"},
    ("POST", "/v1/retrainings"): {"model": "kws"},
    ("POST", "/v1/retrainings/{retraining_id}/{step}"): {"why": ""},
    ("POST", "/v1/rollouts"): {"version": "kws:1"},
    ("POST", "/v1/rollouts/{rollout}/{trigger}"): {"why": ""},
    ("POST", "/v1/alarms/{alarm}/close"): {"why": "a camera was moved"},
}


def routes_of(app: FastAPI) -> set[tuple[str, str]]:
    return {
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }


def test_the_table_of_routes_and_roles_is_complete(served: Served) -> None:
    assert routes_of(served.app) == set(ROUTES)


@pytest.mark.parametrize("route", sorted(ROUTES), ids=" ".join)
def test_a_route_is_open_from_its_least_role_upwards(
    served: Served, route: tuple[str, str]
) -> None:
    least, expected = ROUTES[route]
    method, path = route
    options = {"json": BODIES[route]} if route in BODIES else {}
    if method == "PUT" and "blobs" in path:
        options = {"content": b"other bytes"}
    for role in (None, *ROLES):
        response = served.send(method, path.format(**VALUES), role=role, **options)
        may = least == "nobody" or (role is not None and role >= Role(least) or role == least)
        if least != "nobody" and role is not None:
            may = ROLES.index(role) >= ROLES.index(Role(least))
        if may:
            assert response.status_code == expected, (role, response.text)
        else:
            assert response.status_code == (401 if role is None else 403), (role, response.text)
            if method != "HEAD":
                error = error_of(response)
                assert error["type"] == ("NotAuthorized" if role is None else "Forbidden")
                assert error["next_step"]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        "Bearer eo_wrong",
        "bearer " + "x" * 5000,
        "eo_token",
        "Bearer a b",
    ],
)
def test_a_token_that_is_none_is_not_authorized(served: Served, header: str) -> None:
    response = served.http.get("/v1/hub", headers={"authorization": header})
    assert response.status_code == 401
    assert error_of(response)["type"] == "NotAuthorized"


def test_a_revoked_token_ends_at_once(served: Served) -> None:
    admin = served.client()
    made = admin.create_token("ci", "publisher")
    ci = served.client(token=made["token"])
    assert ci.models() == []
    admin.revoke_token(made["id"])
    with pytest.raises(NotAuthorized, match="revoked"):
        ci.models()
    with pytest.raises(NotFound):
        admin.revoke_token(made["id"])


def test_an_expired_token_ends_at_its_moment(served: Served) -> None:
    made = served.client().create_token("ci", "viewer", days=1.0)
    ci = served.client(token=made["token"])
    assert ci.hub()
    served.harness.clock.pass_s(86_400)
    with pytest.raises(NotAuthorized, match="expired"):
        ci.hub()


def test_the_text_of_a_token_is_shown_once(served: Served) -> None:
    made = served.client().create_token("ci", "viewer")
    shown = json.dumps([served.client().tokens(), served.client().audit()])
    assert made["token"] not in shown
    assert "hash" not in shown.replace('"hash": "', "", 10_000) or made["token"] not in shown
    with pytest.raises(Conflict):
        served.client().create_token("ci", "viewer")


def test_who_acted_is_the_name_of_the_token(served: Served) -> None:
    served.client("admin").enroll("cam-1", "x86-64-generic")
    served.client("operator").label("cam-1", ["site=oslo"])
    acts = {entry["act"]: entry["actor"] for entry in served.client("viewer").audit()}
    assert acts["device.enroll"] == "admin"
    assert acts["device.label"] == "operator"


# ---- the description


def test_every_route_is_described(served: Served) -> None:
    for path, methods in served.app.openapi()["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert operation["description"].strip().endswith((".", "``.")), (method, path)
            assert operation["tags"], (method, path)


def test_the_description_is_served(served: Served) -> None:
    assert served.http.get("/openapi.json").json()["info"]["version"] == __version__
    assert served.http.get("/docs").status_code == 200


def test_health_says_whether_the_broker_is_connected(served: Served) -> None:
    client = served.client(token="")
    assert client.health() == {"status": "degraded", "version": __version__}
    served.hub.connected = True
    assert client.health()["status"] == "ok"


# ---- input that cannot be


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/tokens", {"name": "ci", "role": "god"}),
        ("/v1/tokens", {"name": "ci"}),
        ("/v1/tokens", {"name": "ci", "role": "viewer", "days": 0}),
        ("/v1/tokens", {"name": "ci", "role": "viewer", "days": -1}),
        ("/v1/tokens", {"name": "c" * 65, "role": "viewer"}),
        ("/v1/devices", {"name": "cam-1"}),
        ("/v1/devices", {"name": 7, "profile": "p"}),
        ("/v1/devices", {"name": "cam-1", "profile": "p", "labels": {"device": "x"}}),
        ("/v1/devices", {"name": "cam-1", "profile": "p", "labels": {"Bad Key": "x"}}),
        ("/v1/devices", {"name": "cam-1", "profile": "p", "labels": ["a=b"]}),
        ("/v1/versions", {"manifest": MISSING, "signature": {"keyid": "k", "sig": "%%%"}}),
        ("/v1/versions", {"manifest": MISSING, "signature": "x"}),
        ("/v1/rollouts", {"version": "kws:0"}),
        ("/v1/rollouts", {"version": "kws:1", "canary": 0}),
        ("/v1/rollouts", {"version": "kws:1", "canary": 1.5}),
        ("/v1/rollouts", {"version": "kws:1", "steps": []}),
        ("/v1/rollouts", {"version": "kws:1", "steps": [50]}),
        ("/v1/rollouts", {"version": "kws:1", "steps": ["half"]}),
        ("/v1/rollouts", {"version": "kws:1", "max_failures": -1}),
        ("/v1/rollouts", {"version": "kws:1", "on_failure": "shrug"}),
        ("/v1/rollouts", {"version": "kws:1", "device_timeout_s": 0}),
        ("/v1/rollouts", {"version": "kws:1", "device_timeout_s": 1e300}),
        ("/v1/rollouts", {"version": "kws:1", "bake_s": -1}),
        ("/v1/rollouts", {"version": "kws:1", "probation": {"nonsense": 1}}),
        ("/v1/rollouts", {"version": "kws:1", "probation": {"min_inferences": -1}}),
        ("/v1/rollouts", {"version": "kws:1", "probation": {"min_inferences": 1e300}}),
        ("/v1/rollouts/r1/explode", {"why": ""}),
        ("/v1/rollouts/r1/pause", {"why": "x" * 401}),
    ],
)
def test_input_that_cannot_be_is_an_error_with_its_cause(
    served: Served, path: str, body: dict[str, Any]
) -> None:
    response = served.send("POST", path, json=body)
    assert response.status_code == 422
    assert error_of(response)["type"] in ("InvalidInput", "ProtocolError")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b'{"version":"kws:1","device_timeout_s":Infinity}',
        b'{"version":"kws:1","bake_s":Infinity}',
        b'{"version":"kws:1","bake_s":NaN}',
        b'{"version":"kws:1","probation":{"min_inferences":Infinity}}',
        b'{"version":"kws:1","probation":{"timeout_s":NaN}}',
        b'{"version":"kws:1","canary":' + b"9" * 4000 + b"}",
        b'{"version":"kws:1","steps":' + b"[" * 2000 + b"]" * 2000 + b"}",
    ],
)
def test_a_body_that_is_no_document_is_an_error_of_the_same_form(
    served: Served, body: bytes
) -> None:
    served.publish(tiny_package(served.harness.keys, 1))
    served.harness.enroll("cam-1")
    response = served.http.post(
        "/v1/rollouts",
        content=body,
        headers={
            "authorization": f"Bearer {served.texts['admin']}",
            "content-type": "application/json",
        },
    )
    assert response.status_code in (400, 422)
    assert served.client().rollouts() == []


def test_an_endless_life_of_a_token_is_refused(served: Served) -> None:
    response = served.http.post(
        "/v1/tokens",
        content=b'{"name":"ci","role":"viewer","days":Infinity}',
        headers={
            "authorization": f"Bearer {served.texts['admin']}",
            "content-type": "application/json",
        },
    )
    assert response.status_code == 422
    assert len(served.client().tokens()) == len(ROLES)


def test_unknown_fields_are_ignored_as_readers_do(served: Served) -> None:
    body = {"name": "cam-1", "profile": "x86-64-generic", "colour": "red"}
    assert served.send("POST", "/v1/devices", json=body).status_code == 201


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/v1/audit", {"limit": 0}),
        ("/v1/audit", {"limit": 1001}),
        ("/v1/audit", {"after": -1}),
        ("/v1/audit", {"after": "x"}),
        ("/v1/audit", {"after": 2**70}),
        ("/v1/telemetry/kws", {"limit": 1_000_000}),
        ("/v1/telemetry/UPPER", {}),
        ("/v1/telemetry/kws", {"device": "a/b"}),
        ("/v1/devices", {"selector": "no such term"}),
        ("/v1/versions/kws:abc", {}),
        ("/v1/models/UPPER", {}),
        ("/v1/blobs/sha256:short", {}),
    ],
)
def test_a_query_that_cannot_be_is_an_error_with_its_cause(
    served: Served, path: str, params: dict[str, Any]
) -> None:
    response = served.send("GET", path, params=params)
    assert response.status_code == 422
    error_of(response)


def test_a_blob_whose_bytes_are_not_its_digest_is_refused(served: Served) -> None:
    with pytest.raises(InvalidInput, match="are not sha256:") as caught:
        served.client("publisher").put_blob(digest_of(b"one"), b"two")
    assert caught.value.next_step
    assert not served.client().has_blob(digest_of(b"one"))


# ---- the client


def test_the_clients_whole_day(served: Served) -> None:
    client = served.client()
    package = tiny_package(served.harness.keys, 1)
    published = served.publish(package)
    assert (published["reference"], published["created_by"]) == ("kws:1", "admin")
    assert client.has_blob(package.digest)
    assert client.next_number("kws") == 2
    assert client.models()[0]["latest"] == 1
    assert client.set_alias("kws", "prod", 1)["revision"] == 1
    assert client.version("kws@prod")["manifest"]["variants"][0]["runtime"] == "onnxruntime"
    assert "chunks" not in json.dumps(client.version("kws@prod"))
    assert client.model("kws")["aliases"][0]["alias"] == "prod"

    enrolment = json.loads(client.enroll("cam-1", "x86-64-generic", {"site": "oslo"})["enrolment"])
    assert enrolment["device"] == "cam-1"
    assert enrolment["password"] not in json.dumps([client.devices(), client.audit(limit=1000)])
    assert client.label("cam-1", ["site=bergen"])["labels"] == {"site": "bergen"}
    assert client.devices("site=oslo") == []
    assert client.device("cam-1")["online"] is False
    given = client.give_command("cam-1", "self_test")
    assert (given["state"], given["given_by"], given["kind"]) == ("waiting", "admin", "self_test")
    assert client.command("cam-1", given["id"]) == given

    begun = client.create_rollout("kws@prod", canary=1, steps=[100], probation={"timeout_s": 9})
    assert (begun["state"], begun["version"], len(begun["members"])) == ("running", 1, 1)
    assert begun["policy"]["probation"]["timeout_s"] == 9.0
    assert client.steer(begun["id"], "pause", "lunch")["state"] == "paused"
    with pytest.raises(Conflict, match="cannot pause") as caught:
        client.steer(begun["id"], "pause")
    assert caught.value.next_step == "possible now: resume, abort, rollback"
    assert client.steer(begun["id"], "abort")["state"] == "aborted"
    assert client.wait_for_rollout(begun["id"])["state"] == "aborted"
    assert [each["id"] for each in client.rollouts()] == [begun["id"]]

    assert client.telemetry("kws") == []
    assert client.delivery() == {}
    assert client.root()["version"] == 1
    client.remove_device("cam-1")
    assert client.devices() == []
    verified = client.verify_audit()
    assert verified["ok"]
    assert verified["entries"] == len(client.audit(limit=1000))


def test_a_rollout_that_ends_is_watched_to_its_end(served: Served) -> None:
    served.publish(tiny_package(served.harness.keys, 1))
    (cam,) = served.harness.online("cam-1")
    client = served.client()
    begun = client.create_rollout("kws:1")
    states = []
    for seen in client.watch_rollout(begun["id"], interval_s=0.0):
        states.append(seen["members"][0]["state"])
        served.harness.turn([cam])
    assert (states[0], states[-1]) == ("waiting", "committed")


def test_waiting_has_an_end(served: Served) -> None:
    served.publish(tiny_package(served.harness.keys, 1))
    served.harness.enroll("cam-1")
    client = served.client()
    begun = client.create_rollout("kws:1")
    with pytest.raises(TimeoutError, match="running after 0 s"):
        client.wait_for_rollout(begun["id"], timeout_s=0.0)


def test_telemetry_is_shown_with_its_device(served: Served) -> None:
    (cam,) = served.harness.online("cam-1")
    served.harness.take(cam.numbered("telemetry", (window(inferences=5),)))
    (shown,) = served.client("viewer").telemetry("kws", device="cam-1")
    assert (shown["device"], shown["inferences"]) == ("cam-1", 5)


def test_errors_come_back_as_what_they_were(served: Served) -> None:
    client = served.client()
    foreign = tiny_package(make_keys(), 1)
    with pytest.raises(NotTrusted) as caught:
        served.publish(foreign)
    assert "--keys" in caught.value.next_step
    with pytest.raises(NotFound, match="no device cam-9"):
        client.device("cam-9")
    with pytest.raises(NotFound, match="no blob"):
        client.publish(MISSING, Signature(keyid="k", value=b"\0" * 64))
    client.enroll("cam-1", "x86-64-generic")
    with pytest.raises(Conflict):
        client.enroll("cam-1", "x86-64-generic")
    with pytest.raises(Forbidden, match="viewer, which may not operate"):
        served.client("viewer").label("cam-1", ["a=b"])
    with pytest.raises(InvalidInput):
        client.label("cam-1", ["nonsense"])


def test_asking_for_a_blob_with_a_wrong_token_is_not_authorized(served: Served) -> None:
    with pytest.raises(NotAuthorized):
        served.client(token="eo_wrong").has_blob(MISSING)


def test_no_connection_to_the_broker_is_told_with_a_next_step(served: Served) -> None:
    served.client().enroll("cam-1", "x86-64-generic")
    asyncio.run(served.hub._transport.close())
    response = served.send("POST", "/v1/devices/cam-1/commands", json={"kind": "announce"})
    assert response.status_code == 503
    assert error_of(response)["type"] == "TransportLost"
    with pytest.raises(EdgeopsError, match="broker"):
        served.client().give_command("cam-1", "announce")


@pytest.mark.parametrize("url", ["http://[::1", "http://host:port"])
def test_an_address_that_is_none_is_invalid(url: str) -> None:
    with pytest.raises(InvalidInput, match="no address"):
        Client(url)


@pytest.mark.parametrize("token", ["tök", "a\nb", "a\0b"])
def test_a_token_that_no_header_holds_is_invalid(token: str) -> None:
    with pytest.raises(InvalidInput, match="token"):
        Client("http://hub.test", token=token)


@pytest.mark.parametrize(
    "url", ["not a url", "ftp://hub", "", "http://127.0.0.1:1", "http://127.0.0.1:99999999"]
)
def test_where_no_hub_is_the_next_step_says_how_to_get_one(url: str) -> None:
    with Client(url) as client, pytest.raises(HubUnreachable) as caught:
        client.hub()
    assert "edgeops up" in caught.value.next_step


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, text="<html>Bad Gateway</html>"),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(500, json=[]),
        httpx.Response(500, json={"error": "text"}),
        httpx.Response(500, json={"error": {}}),
        httpx.Response(500, text="[" * 100_000),
        httpx.Response(200, text="<html>Welcome to nginx!</html>"),
        httpx.Response(200, text="[" * 100_000),
        httpx.Response(200, json=[]),
        httpx.Response(204),
    ],
)
def test_an_answer_that_is_no_hubs_is_told_as_such(answer: httpx.Response) -> None:
    transport = httpx.MockTransport(lambda _: answer)
    with Client("http://hub.test", transport=transport) as client, pytest.raises(HubUnreachable):
        client.hub()


@pytest.mark.parametrize("answer", [{}, [], "html", {"version": None}, {"version": "3"}])
def test_lists_and_numbers_of_what_is_no_hub_are_told_as_such(answer: object) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
    with Client("http://hub.test", transport=transport) as client:
        with pytest.raises(HubUnreachable, match="not as a hub does"):
            client.next_number("kws")
        if not isinstance(answer, list):
            with pytest.raises(HubUnreachable, match="not as a hub does"):
                client.models()


def test_an_error_type_that_this_client_does_not_know_is_still_an_error() -> None:
    body = {"error": {"type": "FromTheFuture", "cause": "new", "next_step": "update"}}
    transport = httpx.MockTransport(lambda _: httpx.Response(500, json=body))
    with Client("http://hub.test", transport=transport) as client:
        with pytest.raises(EdgeopsError, match="new") as caught:
            client.hub()
    assert type(caught.value) is EdgeopsError
    body["error"]["type"] = "Mapping"
    with Client("http://hub.test", transport=transport) as client:
        with pytest.raises(EdgeopsError, match="new"):
            client.hub()


def test_a_signature_survives_the_way(served: Served) -> None:
    package = tiny_package(served.harness.keys, 1)
    shown = served.publish(package)["signature"]
    assert base64.b64decode(shown["sig"]) == package.signature.value
