"""Requests to the hub's API: whatever is in them, the answer is one, and no error of the server."""

from __future__ import annotations

import asyncio
import json
from functools import cache
from typing import Any
from urllib.parse import quote

import httpx

from device_agent.protocol.codec import encode
from edgeops.api.app import create_app
from edgeops.domain.access import Role
from edgeops.hub.process import Hub
from edgeops.service import access
from edgeops.transport.memory import MemoryBroker, MemoryTransport
from tests import agent_values as valid
from tests.hub_harness import HubHarness

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
FAILED = 500
_MODEL = {"version": "kws:1", "selector": "site=oslo", "canary": 1, "steps": [10, 100]}
_POLICY = {"data": ["seen:1"], "evaluation": "seen:1", "auto": True, "rollout": {"canary": 1}}
_CONTEST = {"name": "x", "runtime": "litert", "rows": 9, "champion": 0.5, "challenger": 0.6}
_CHALLENGED = {**_CONTEST, "gain_low": 0.0, "gain_high": 0.2}
_FOUND = {"why": "x", "metrics": {"a": 1.5}, "contests": [_CHALLENGED]}
_SIGNED = {"manifest": valid.digest(), "signature": valid.signature().to_document()}
REQUESTS: tuple[tuple[str, list[str], dict[str, str], Any], ...] = (
    ("POST", ["v1", "tokens"], {}, {"name": "ana", "role": "viewer", "days": 3.5}),
    ("DELETE", ["v1", "tokens", "t1"], {}, None),
    ("GET", ["v1", "audit"], {"limit": "3", "after": "1"}, None),
    ("GET", ["v1", "blobs", valid.digest()], {}, None),
    ("PUT", ["v1", "blobs", valid.digest()], {}, "text"),
    ("POST", ["v1", "versions"], {}, _SIGNED),
    ("GET", ["v1", "versions", "kws:1"], {}, None),
    ("GET", ["v1", "versions", "kws@production", "lineage"], {}, None),
    ("PUT", ["v1", "models", "kws", "aliases", "prod"], {}, {"version": 1, "expected_revision": 1}),
    ("POST", ["v1", "devices"], {}, {"name": "cam-9", "profile": "x", "labels": {"site": "oslo"}}),
    ("GET", ["v1", "devices"], {"selector": "site=oslo,camera"}, None),
    ("GET", ["v1", "devices", "cam-1"], {}, None),
    ("PATCH", ["v1", "devices", "cam-1"], {}, {"labels": ["site=oslo", "camera="]}),
    ("POST", ["v1", "devices", "cam-1", "commands"], {}, {"kind": "restart", "expires_in_s": 9.5}),
    ("GET", ["v1", "devices", "cam-1", "commands"], {}, None),
    ("GET", ["v1", "devices", "cam-1", "commands", "c1"], {}, None),
    ("GET", ["v1", "telemetry", "kws"], {"device": "cam-1", "limit": "9"}, None),
    ("GET", ["v1", "alarms"], {"state": "open"}, None),
    ("POST", ["v1", "alarms", "a1", "close"], {}, {"why": "seen"}),
    ("GET", ["v1", "drift", "kws:1"], {}, None),
    ("PUT", ["v1", "data", "seen"], {"file": "rows.npz"}, "text"),
    ("POST", ["v1", "data", "seen"], {}, {"samples": "kws"}),
    ("GET", ["v1", "samples", "kws"], {}, None),
    ("PUT", ["v1", "retrain-policies", "kws"], {}, _POLICY),
    ("POST", ["v1", "retrainings"], {}, {"model": "kws", "alarm": "a1"}),
    ("POST", ["v1", "retrainings", "t1", "finish"], {}, _FOUND),
    ("POST", ["v1", "rollouts"], {}, _MODEL),
    ("GET", ["v1", "rollouts", "r1"], {}, None),
    ("POST", ["v1", "rollouts", "r1", "pause"], {}, {"why": "wait"}),
)


def requests() -> tuple[bytes, ...]:
    """Return requests that the hub takes, or refuses for what it does not have."""
    _application()  # before a worker forks
    return tuple(
        encode({"method": method, "path": path, "query": query, "body": body})
        for method, path, query, body in REQUESTS
    )


@cache
def _application() -> tuple[httpx.ASGITransport, str]:
    harness = HubHarness()
    harness.publish(1)
    harness.online(valid.DEVICE, "cam-2")
    transport = MemoryTransport(MemoryBroker())
    asyncio.run(transport.connect(("edgeops/v1/none",)))
    hub = Hub(harness.context, transport)
    _, token = access.create_token(harness.context, "test", "fuzz", Role.ADMIN, None)
    return httpx.ASGITransport(app=create_app(hub)), token


def ask(data: bytes) -> None:
    """Send a request; raise what the hub raises, or ``RuntimeError`` for an error of its own."""
    try:
        request = _request(json.loads(data))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError, httpx.InvalidURL):
        return  # no request
    response = asyncio.run(_send(request))
    if response.status_code >= FAILED:
        raise RuntimeError(f"{request.method} {request.url.path} gave {response.status_code}")


def _request(document: Any) -> httpx.Request:
    method = document["method"]
    if method not in METHODS:
        raise ValueError(method)
    path = "/".join(quote(str(each), safe="") for each in document["path"])
    query = {str(name): str(value) for name, value in document["query"].items()}
    body = document["body"]
    content = b"" if body is None else json.dumps(body).encode()
    _, token = _application()
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    return httpx.Request(
        method, f"http://hub.test/{path}", params=query, content=content, headers=headers
    )


async def _send(request: httpx.Request) -> httpx.Response:
    transport, _ = _application()
    response = await transport.handle_async_request(request)
    await response.aread()
    return response
