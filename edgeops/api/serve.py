"""One process: the hub and its HTTP API, put together and run until a signal comes."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import fcntl
import json
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import uvicorn

from device_agent.protocol.enrolment import parse_broker
from device_agent.protocol.errors import ProtocolError
from edgeops.api.app import create_app
from edgeops.domain.errors import EdgeopsError, InvalidInput, StoreFailed
from edgeops.hub.broker import HUB_USERNAME, Broker, make_broker
from edgeops.hub.process import Hub, HubOptions
from edgeops.hub.steady_clock import SteadyClock
from edgeops.service import access
from edgeops.service.context import Context
from edgeops.store.blobs import FolderBlobStore
from edgeops.store.database import Database
from edgeops.transport.mqtt import MqttTransport
from edgeops.trust.keys import KeyFolder

logger = logging.getLogger(__name__)

BACKLOG = 128
WAITING_S = 3.0
"""After this a person is told what the start waits for."""
TOLD_SETTING = "broker_told"
HUB_PASSWORD_SETTING = "hub_broker_password"  # noqa: S105 - the name of a setting


class HomeInUse(EdgeopsError):
    """Another hub runs on this home folder."""


class PortInUse(EdgeopsError):
    """Another program listens where the API should."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How `edgeops up` runs. ``broker`` None: a managed one on ``mqtt_bind:mqtt_port``."""

    home: Path
    keys: Path
    database: str | None = None
    http_host: str = "127.0.0.1"
    http_port: int = 8080
    broker: str | None = None
    broker_kind: str = "auto"
    mqtt_bind: str = "127.0.0.1"
    mqtt_port: int = 1883
    advertise: str | None = None
    hub: HubOptions = field(default_factory=HubOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a person is told once the hub is up."""

    url: str
    broker: str
    broker_kind: str
    limits: str | None
    token_path: Path
    token_is_new: bool


def serve(
    options: ServeOptions,
    on_ready: Callable[[Served], None],
    on_waiting: Callable[[str], None],
) -> None:
    """Run the hub until SIGINT or SIGTERM; everything it started ends with it.

    Raises:
        EdgeopsError: it cannot start (port in use, no keys, no broker, newer database, …).
    """
    os.umask(0o077)  # database, blobs and logs are for their owner only
    keys = KeyFolder(options.keys)
    director, root, envelope = keys.director(), keys.root(), keys.root_envelope()
    home_lock = _lock(options.home)
    listener = _listen(options.http_host, options.http_port)
    database: Database | None = None
    try:
        database = Database.open(options.database or options.home / "hub.sqlite")
        broker = _managed(options) if options.broker is None else None
        password = _hub_password(database)
        context = Context(
            database=database,
            blobs=FolderBlobStore(options.home / "blobs"),
            director=director,
            root=root,
            root_envelope=envelope,
            broker=options.advertise or _address(options, broker),
            clock=SteadyClock(),
        )
        transport = _transport(options, broker, password)
        token_path, is_new = _first_token(context, options.home)
        hub = Hub(context, transport, broker=broker, hub_password=password, options=options.hub)
        served = Served(
            url=f"http://{_shown(options.http_host)}:{listener.getsockname()[1]}",
            broker=context.broker,
            broker_kind=broker.kind if broker else "external",
            limits=broker.limits if broker else None,
            token_path=token_path,
            token_is_new=is_new,
        )
        if broker is not None:
            broker.start()
        _tell_if_moved(context, on_waiting)
        _write_private(options.home / "hub.json", json.dumps({"url": served.url}))
        asyncio.run(_run(hub, listener, lambda: on_ready(served), on_waiting))
    finally:
        listener.close()
        home_lock.close()
        if database is not None:
            database.close()


async def _run(
    hub: Hub,
    listener: socket.socket,
    ready: Callable[[], None],
    waiting: Callable[[str], None],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    config = uvicorn.Config(
        create_app(hub), log_config=None, lifespan="off", timeout_graceful_shutdown=2
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    working = asyncio.create_task(hub.run())
    serving = asyncio.create_task(_serve_quietly(server, listener))
    announcing = asyncio.create_task(_announce(hub, server, ready, waiting))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({working, serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        announcing.cancel()
        server.should_exit = True
        working.cancel()
        stopped.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await working
        await serving


async def _serve_quietly(server: uvicorn.Server, listener: socket.socket) -> None:
    """Serve without uvicorn's own signal handling: signals are this module's."""
    await server._serve([listener])  # noqa: SLF001 - serve() would replace our handlers


async def _announce(
    hub: Hub,
    server: uvicorn.Server,
    ready: Callable[[], None],
    waiting: Callable[[str], None],
) -> None:
    asked_s = time.monotonic()
    while not (server.started and hub.connected):
        await asyncio.sleep(0.05)
        if time.monotonic() - asked_s > WAITING_S:
            asked_s = math.inf
            waiting(f"waiting for the broker: {hub.why_disconnected}")
    ready()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)  # now: with SO_REUSEADDR a second bind would succeed until then
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"port {port} on {host} is in use",
                next_step="stop what listens there, or choose another with --port",
            ) from error
        raise InvalidInput(
            f"cannot listen on {host}:{port}: {error.strerror}",
            next_step="choose an address of this machine with --host",
        ) from error
    return listener


def _managed(options: ServeOptions) -> Broker:
    return make_broker(
        options.home / "broker",
        options.mqtt_port,
        options.broker_kind,  # type: ignore[arg-type]  # click gives one of the choices
        bind=options.mqtt_bind,
    )


def _address(options: ServeOptions, broker: Broker | None) -> str:
    """Return the broker's address as devices are told it: without the hub's own account."""
    if broker is not None:
        return broker.url
    scheme, separator, rest = (options.broker or "").partition("://")
    return scheme + separator + rest.rpartition("@")[2]


def _transport(options: ServeOptions, broker: Broker | None, password: str) -> MqttTransport:
    if broker is not None:
        return MqttTransport(
            broker.host,
            broker.port,
            client_id=HUB_USERNAME,
            username=HUB_USERNAME,
            password=password,
        )
    address = options.broker or ""
    account, at, rest = address.partition("://")[2].rpartition("@")
    scheme = address.partition("://")[0]
    try:
        host, port, tls = parse_broker(f"{scheme}://{rest}" if at else address)
    except ProtocolError as error:
        raise InvalidInput(str(error), next_step=error.next_step) from error
    username, _, secret = account.partition(":")
    return MqttTransport(
        host,
        port,
        client_id=HUB_USERNAME,
        username=username or None,
        password=secret or None,
        tls=tls,
    )


def _lock(home: Path) -> IO[str]:
    """Take the home folder: two hubs on one database would both act.

    Raises:
        HomeInUse: another hub runs on it.
    """
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = (home / "hub.lock").open("a")
    except OSError as error:
        raise StoreFailed(f"cannot use {home}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise HomeInUse(
            f"another hub runs on {home}", next_step="stop it, or choose another --home"
        ) from error
    return file


def _tell_if_moved(context: Context, tell: Callable[[str], None]) -> None:
    """Say so when enrolled devices were told another broker address than today's."""
    with context.database.begin() as work:
        before = work.settings.get(TOLD_SETTING)
        work.settings.put(TOLD_SETTING, context.broker)
        devices = len(work.fleet.all())
    if before not in (None, context.broker) and devices:
        tell(
            f"warning: {devices} devices were enrolled with the broker {before}, "
            f"not {context.broker}: use the old address, or enroll them again"
        )


def _hub_password(database: Database) -> str:
    with database.begin() as work:
        password = work.settings.get(HUB_PASSWORD_SETTING)
        if password is None:
            password = base64.urlsafe_b64encode(os.urandom(32)).decode().rstrip("=")
            work.settings.put(HUB_PASSWORD_SETTING, password)
        return password


def _first_token(context: Context, home: Path) -> tuple[Path, bool]:
    path = home / "token"
    text = access.first_token(context)
    if text is not None:
        _write_private(path, text + "\n")
    return path, text is not None


def _write_private(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise StoreFailed(f"cannot write {path}: {error.strerror}") from error


def _shown(host: str) -> str:
    if host in ("0.0.0.0", "::"):  # noqa: S104 - shown, not bound
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
