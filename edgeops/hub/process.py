"""The hub while it runs: messages in, ticks, desired states and chunks out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from device_agent.protocol import topics
from device_agent.protocol.chunks import encode_chunk
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.orders import Epoch
from edgeops import __version__
from edgeops.delivery.demand import Demand, Sending
from edgeops.delivery.pacing import TokenBucket
from edgeops.domain.errors import EdgeopsError
from edgeops.hub.broker import HUB_USERNAME, Broker, hash_password
from edgeops.hub.handlers import Handlers
from edgeops.service import access, delivery, fleet, inbox, retraining, rollouts
from edgeops.service.context import Context
from edgeops.transport.contract import Incoming, Transport, TransportLost

logger = logging.getLogger(__name__)

FORGET_EVERY_S = 3600.0
EPOCH_SETTING = "epoch"
EPOCH_GIVEN_SETTING = "epoch_given"
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class HubOptions:
    """Intervals and bounds of a running hub."""

    tick_s: float = 0.2
    """Pause between two looks at rollouts and unpublished desired states."""
    bandwidth: float | None = None
    """Bytes per second of chunks, over all blobs; None: no bound."""
    epoch_wait_s: float = 1.0
    """How long after connecting the broker may take to show the retained epoch."""
    reconnect_s: float = 1.0
    """Pause before connecting again."""
    telemetry_days: float = 90.0
    """How long telemetry windows are kept."""
    publish_at_once: int = 200
    """Desired states that one tick publishes."""


class Hub:
    """Keeps the database, the broker and the devices in step until it is stopped."""

    def __init__(
        self,
        context: Context,
        transport: Transport,
        *,
        broker: Broker | None = None,
        hub_password: str = "",
        options: HubOptions | None = None,
    ) -> None:
        """Take the parts. ``broker`` is the managed one, None if it is somebody else's."""
        self.context = context
        self.broker = broker
        self.options = options or HubOptions()
        self.demand = Demand()
        self.handlers = Handlers(context, self.demand)
        self.connected = False
        self.why_disconnected = "not connected yet"
        self._transport = transport
        self._hub_hash = hash_password(hub_password)
        self._accounts_revision = ""
        self._epoch = ""
        self._epoch_seen = asyncio.Event()
        self._demanded = asyncio.Event()
        self._waiting_alarm = ""
        self._forget_at_s = 0.0
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="edgeops-hub")

    async def run(self) -> None:
        """Run until cancelled: connect, work, and connect again whenever that ends."""
        await self._call(access.record_hub, self.context, "hub.start")
        self._epoch = await self._call(self._read_epoch)
        try:
            while True:
                try:
                    await self._one_session()
                except* EdgeopsError as group:
                    self._say_disconnected(str(_first_of(group)))
                self.connected = False
                await asyncio.sleep(self.options.reconnect_s)
        finally:
            self.connected = False
            await self._close()

    async def publish_command(self, device: str, payload: bytes) -> None:
        """Publish a signed command.

        Raises:
            TransportLost: there is no connection to the broker now.
        """
        await self._transport.publish(f"{topics.PREFIX}/d/{device}/cmd", payload)

    # ---- one connection

    async def _one_session(self) -> None:
        await self._ensure_broker()
        await self._transport.connect(topics.hub_filters())
        self._epoch_seen.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._receive())
            group.create_task(self._work())

    def _say_disconnected(self, cause: str) -> None:
        """Log a cause once, however often connecting fails because of it."""
        if cause != self.why_disconnected:
            logger.warning("hub.disconnected", extra={"cause": cause})
        self.why_disconnected = cause

    async def _work(self) -> None:
        await self._greet()
        self.connected = True
        self.why_disconnected = ""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._tick_forever())
            group.create_task(self._send_chunks())

    async def _ensure_broker(self) -> None:
        if self.broker is None:
            return
        if not self.broker.is_alive():
            await asyncio.to_thread(self.broker.start)
            self._accounts_revision = ""
        await self._write_accounts()

    async def _greet(self) -> None:
        """Find out whether the broker kept its state; if not, give it everything again."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._epoch_seen.wait(), self.options.epoch_wait_s)
        root = self.context.root
        await self._transport.publish(
            topics.root(root.version), self.context.root_envelope, retain=True
        )
        if self._epoch_seen.is_set():
            return
        lost = await self._call(self._note_epoch)
        await self._call(partial(fleet.publish_all_again, self.context, lost=lost))
        epoch = Epoch(epoch=self._epoch, hub=__version__)
        await self._transport.publish(topics.epoch(), encode(epoch.to_document()), retain=True)

    async def _receive(self) -> None:
        async for message in self._transport.incoming():
            if message.topic == topics.epoch():
                self._on_epoch(message)
                continue
            answer = await self._call(self.handlers.handle, message.topic, message.payload)
            if self.demand.open_chunks:
                self._demanded.set()
            if answer is not None:
                await self._transport.publish(answer.topic, answer.payload)

    def _on_epoch(self, message: Incoming) -> None:
        try:
            if Epoch.from_document(decode(message.payload)).epoch == self._epoch:
                self._epoch_seen.set()
        except ProtocolError:
            self.handlers.counters["dropped.epoch.malformed"] += 1

    # ---- ticks

    async def _tick_forever(self) -> None:
        while True:
            try:
                await self._call(rollouts.tick, self.context)
                self._say_waiting(await self._call(retraining.tick, self.context))
                await self._call(delivery.record, self.context, self.demand)
                await self._write_accounts()
                await self._publish_desired()
                await self._forget_old_windows()
            except TransportLost:
                raise
            except EdgeopsError as error:
                self.handlers.counters["tick.failed"] += 1
                logger.warning("tick.failed", extra={"cause": str(error)})
            if self.broker is not None and not self.broker.is_alive():
                raise TransportLost("the managed broker has ended")
            await asyncio.sleep(self.options.tick_s)

    def _say_waiting(self, waits: tuple[str, str] | None) -> None:
        """Log once for each alarm why it could not ask for a retraining yet."""
        if waits is not None and waits[0] != self._waiting_alarm:
            self._waiting_alarm = waits[0]
            logger.warning("retraining.not_yet", extra={"alarm": waits[0], "cause": waits[1]})

    async def _forget_old_windows(self) -> None:
        if time.monotonic() < self._forget_at_s:
            return
        self._forget_at_s = time.monotonic() + FORGET_EVERY_S
        days = self.options.telemetry_days
        await self._call(partial(inbox.forget_old_windows, self.context, days=days))

    async def _publish_desired(self) -> None:
        documents = await self._call(
            lambda: fleet.desired_documents(self.context, limit=self.options.publish_at_once)
        )
        for device, generation, payload in documents:
            await self._transport.publish(topics.desired(device), payload, retain=True)
            if not payload:
                await self._transport.publish(topics.up(device, "state"), b"", retain=True)
            await self._call(fleet.desired_published, self.context, device, generation)

    async def _write_accounts(self) -> None:
        """Give the managed broker the accounts of all devices, when they changed."""
        if self.broker is None or not self.broker.supports_accounts:
            return
        if await self._call(fleet.accounts_revision, self.context) == self._accounts_revision:
            return
        revision, hashes = await self._call(fleet.accounts, self.context)
        accounts = {**hashes, HUB_USERNAME: self._hub_hash}
        await asyncio.to_thread(self.broker.set_accounts, accounts)
        self._accounts_revision = revision

    # ---- chunks

    async def _send_chunks(self) -> None:
        bucket = TokenBucket(self.options.bandwidth, time.monotonic())
        while True:
            self._demanded.clear()
            sending, payload = await self._call(self._next_chunk)
            if sending is None:
                await self._demanded.wait()
                continue
            if payload is None:
                continue
            while wait_s := bucket.wait_s(len(payload), time.monotonic()):
                await asyncio.sleep(wait_s)
            await self._transport.publish(sending.topic, payload, qos=0)
            await self._call(self.demand.published, sending, len(payload))

    def _next_chunk(self) -> tuple[Sending | None, bytes | None]:
        """Take the next chunk that is asked for, and its wire form (None: unreadable)."""
        sending = self.demand.next()
        if sending is None:
            return None, None
        try:
            data = self.context.blobs.read(sending.blob.digest, sending.offset, sending.length)
        except EdgeopsError as error:
            self.handlers.counters["chunk.unreadable"] += 1
            logger.warning("chunk.unreadable", extra={"cause": str(error)})
            return sending, None
        return sending, encode_chunk(sending.blob, sending.index, data)

    # ---- beginning and end

    def _read_epoch(self) -> str:
        with self.context.database.begin() as work:
            epoch = work.settings.get(EPOCH_SETTING)
            if epoch is None:
                epoch = self.context.chance(8).hex()
                work.settings.put(EPOCH_SETTING, epoch)
            return epoch

    def _note_epoch(self) -> bool:
        """Note that a broker gets this hub's epoch now; tell whether one had it before."""
        with self.context.database.begin() as work:
            before = work.settings.get(EPOCH_GIVEN_SETTING) is not None
            work.settings.put(EPOCH_GIVEN_SETTING, self._epoch)
            return before

    async def _call(self, function: Callable[..., T], *args: object) -> T:
        """Call what touches the database, in the one thread that does."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, function, *args)

    async def _close(self) -> None:
        with contextlib.suppress(EdgeopsError):
            await self._call(delivery.record, self.context, self.demand)
            await self._call(access.record_hub, self.context, "hub.stop")
        await self._transport.close()
        self._worker.shutdown(wait=True)
        if self.broker is not None:
            self.broker.stop()


def _first_of(error: BaseException) -> BaseException:
    """Return the first error of a group, or of the groups within it: the tasks' own groups."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
