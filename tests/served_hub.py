"""The HTTP API over a hub of the test, without a socket: clients and commands speak to it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import httpx
from click.testing import CliRunner, Result
from fastapi import FastAPI

from edgeops.api.app import create_app
from edgeops.cli.settings import Settings
from edgeops.client import Client
from edgeops.domain.access import Role
from edgeops.hub.process import Hub
from edgeops.service import access
from edgeops.transport.memory import MemoryBroker, MemoryTransport
from tests.hub_harness import HubHarness, TinyPackage

ROLES = list(Role)


class InProcess(httpx.BaseTransport):
    """An application behind a client that does not know of event loops."""

    def __init__(self, app: FastAPI) -> None:
        self._asgi = httpx.ASGITransport(app=app)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run_coroutine_threadsafe(self._answer(request), self._loop).result(30)

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        response = await self._asgi.handle_async_request(request)
        body = b"" if request.method == "HEAD" else await response.aread()  # as a server does
        return httpx.Response(response.status_code, headers=response.headers, content=body)

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@dataclass
class Served:
    """An API over a hub, and clients of it."""

    harness: HubHarness
    hub: Hub
    app: FastAPI
    http: httpx.Client
    transport: InProcess
    broker: MemoryBroker
    texts: dict[str, str]

    def client(self, role: str = "admin", *, token: str | None = None) -> Client:
        return Client(
            "http://hub.test",
            token=self.texts[role] if token is None else token,
            transport=self.transport,
        )

    def send(
        self, method: str, path: str, *, role: str | None = "admin", **options: Any
    ) -> httpx.Response:
        headers = {"authorization": f"Bearer {self.texts[role]}"} if role else {}
        return self.http.request(method, path, headers=headers, **options)

    def publish(self, package: TinyPackage, role: str = "admin") -> dict[str, Any]:
        client = self.client(role)
        for digest, data in {**package.blobs, package.digest: package.data}.items():
            client.put_blob(digest, data)
        return client.publish(package.digest, package.signature)

    def run(self, command: click.Command, *arguments: str, role: str = "admin") -> Result:
        """Run a command against this hub."""
        settings = ClientGiven(client=self.client(role))
        return CliRunner().invoke(command, arguments, obj=settings, catch_exceptions=False)


class ClientGiven(Settings):  # its dataclass is frozen and has slots
    """Settings of a command whose hub is in this process."""

    def __init__(self, client: Client) -> None:
        super().__init__(home=Path(), hub=None, token=None)
        object.__setattr__(self, "_client", client)

    def client(self) -> Client:
        return self._client


@contextmanager
def served_hub() -> Iterator[Served]:
    with HubHarness() as harness:
        broker = MemoryBroker()
        transport = MemoryTransport(broker)
        asyncio.run(transport.connect(("edgeops/v1/none",)))
        hub = Hub(harness.context, transport)
        texts = {
            role: access.create_token(harness.context, "test", role, role, None)[1]
            for role in ROLES
        }
        app = create_app(hub)
        bridge = InProcess(app)
        http = httpx.Client(base_url="http://hub.test", transport=bridge)
        yield Served(harness, hub, app, http, bridge, broker, texts)
        bridge.stop()
