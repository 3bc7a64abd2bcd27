"""The agent's loop: one thread drains one queue and looks at its timers.

Whatever comes from the network is counted and dropped if it is malformed, untrusted or not for
this device; nothing that a message holds can end the loop.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from device_agent.core.deployment import Deployment
from device_agent.core.records import ModelRecord
from device_agent.monitor.samples import SampleDesk
from device_agent.protocol import topics
from device_agent.protocol.chunks import decode_chunk
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.enrolment import Enrolment
from device_agent.protocol.errors import NotTrusted, ProtocolError, StorageFailed
from device_agent.protocol.ids import ModelName
from device_agent.protocol.orders import Ack, Desired, Epoch
from device_agent.protocol.reports import instance_of
from device_agent.protocol.topics import DownTopic
from device_agent.shell.command_desk import CommandDesk, make_desk
from device_agent.shell.deployer import make_deployer
from device_agent.shell.desired_file import DesiredFile
from device_agent.shell.doors import Doors
from device_agent.shell.fetch import Fetcher
from device_agent.shell.guard import Guard
from device_agent.shell.identity import Sessions, folder_id
from device_agent.shell.inbox import Inbox
from device_agent.shell.link import Connected, Disconnected, Link, LinkLike, Message
from device_agent.shell.live import LiveModels
from device_agent.shell.options import AgentOptions, host_of
from device_agent.shell.outbox import open_outbox, this_boot
from device_agent.shell.reporter import Reporter
from device_agent.shell.start_log import StartLog
from device_agent.shell.state_report import StateReport
from device_agent.shell.storage import FolderStorage, Storage
from device_agent.shell.trust import Trust

logger = logging.getLogger(__name__)


class AgentLoop:
    """Everything that happens on a device besides inference, in one thread."""

    def __init__(
        self,
        root: Path,
        enrolment: Enrolment,
        live: LiveModels,
        *,
        options: AgentOptions | None = None,
        chance: random.Random | None = None,
        doors: Doors | None = None,
    ) -> None:
        """Open the state folder and bring the models up; ``run`` begins to talk.

        Args:
            root: the state folder.
            enrolment: who this device is, and whom it trusts.
            live: the models that answer.
            options: intervals and bounds.
            chance: for jitter.
            doors: what is outside of it; by default this machine, its disk and its network.

        Raises:
            AgentError: the folder cannot be used, or on the first start the root of the enrolment
                is not trusted.
        """
        doors = doors or Doors()
        self.options = options or AgentOptions()
        self._clock = doors.clock
        self.counters: Counter[str] = Counter()
        self._guarded = Guard(self.counters)
        self.live = live
        self._device = enrolment.device
        self.inbox = Inbox()
        self._session = 0
        self._generation = 0
        self._changed = True
        self._state_due_s = self._window_due_s = 0.0
        self._window_since_s = self._clock.monotonic_s()
        self._storage: Storage = doors.storage or FolderStorage(root)
        self._sessions = Sessions(self._storage)
        folder = folder_id(self._storage, doors.new_id)
        self._stopping = threading.Event()
        self.restart_wanted = threading.Event()
        self._on_turn = doors.on_turn
        chance = chance or random.Random()  # noqa: S311 - jitter, not secrets
        self.samples = SampleDesk(self.options.samples, chance, clock=self._clock.monotonic_s)
        boot = this_boot() if self._clock.boot is None else self._clock.boot
        self._starts = StartLog(self._storage, boot, self._clock.monotonic_s())
        self._trust = Trust(self._storage, enrolment.root)
        self._desired_file = DesiredFile(self._storage, self._trust, self._device)
        self._outbox = open_outbox(root, doors, self.options.outbox)
        self._reporter = Reporter(self._device, self._outbox, self._clock.wall_s)
        self._link: LinkLike = doors.link or self._new_link(enrolment, chance)
        self._fetcher = self._new_fetcher(chance)
        self._host = host_of(self.options, root, enrolment.profile, doors)
        self._deployer = make_deployer(
            self._storage,
            self._host,
            live,
            trust=self._trust,
            fetcher=self._fetcher,
            starts=self._starts,
            report=self._deployment_moved,
        )
        self._state_report = StateReport(
            storage=self._storage,
            host=self._host,
            deployer=self._deployer,
            reporter=self._reporter,
            instance=instance_of(folder, doors.new_id()),
            heartbeat_s=self.options.heartbeat_s,
        )
        self._desk = self._new_desk(doors)
        self._handlers = self._table_of_handlers()
        self._recover()

    # ---- what it is made of

    def _new_link(self, enrolment: Enrolment, chance: random.Random) -> Link:
        return Link(
            enrolment,
            self.inbox,
            will=self.will,
            next_session=self.next_session,
            chance=chance,
            limits=self.options.link,
        )

    def _new_desk(self, doors: Doors) -> CommandDesk:
        return make_desk(
            self._storage,
            self._deployer,
            self.live,
            self._host,
            self._reporter,
            announce=self._publish_state,
            restart=self.restart_wanted.set if self.options.restarts else None,
            log_lines=doors.log_lines,
            counters=self.counters,
        )

    def _table_of_handlers(self) -> Mapping[str, Callable[[DownTopic, bytes], None]]:
        return {
            "desired": self._on_desired,
            "cmd": self._on_command,
            "ack": self._on_ack,
            "blob": self._on_chunk,
            "repair": self._on_chunk,
            "root": self._on_root,
            "epoch": self._on_epoch,
        }

    def _new_fetcher(self, chance: random.Random) -> Fetcher:
        return Fetcher(
            self._device,
            publish=lambda topic, need: self._link.publish(
                topic, encode(need.to_document()), qos=0
            ),
            subscribe=lambda topic: self._link.subscribe([topic], qos=0),
            unsubscribe=lambda topic: self._link.unsubscribe([topic]),
            chance=chance,
            limits=self.options.fetch,
        )

    def run(self) -> None:
        """Connect and work until ``stop``; then say farewell and close everything.

        Raises:
            NotTrusted, ProtocolError: there is no root of trust by which anything could be
                verified. The models that answer go on to.
        """
        try:
            self.begin()
            while not self._stopping.is_set():
                self.turn(self.options.tick_s)
                self._guarded(self._on_turn)
        except BaseException:
            self._release()
            raise
        self.close()

    def begin(self) -> None:
        """Begin to connect, and go on with what was under way. The first part of ``run``."""
        self._guarded(lambda: self._state(0, online=False))
        self._link.start()
        _ = self._trust.root  # without it there is nobody to obey
        self._guarded(self._resume)

    def turn(self, wait_s: float) -> None:
        """Take what came, waiting no longer than this for it, and look at what is due."""
        for item in self.inbox.take(wait_s):
            self._take(item)
        self._on_time()

    @property
    def generation(self) -> int:
        """Generation of the desired state that was accepted last."""
        return self._generation

    @property
    def records(self) -> Mapping[ModelName, ModelRecord]:
        """What the journal says of each model."""
        return self._deployer.records

    @property
    def is_in_safe_mode(self) -> bool:
        """Whether starts that ended badly made the agent load less than it could."""
        return self._deployer.is_in_safe_mode

    @property
    def outbox_depth(self) -> int:
        """How many items wait for the hub."""
        return self._outbox.depth()

    def stop(self) -> None:
        """End ``run`` soon. May be called from any thread or a signal handler."""
        self._stopping.set()
        self.inbox.put(None)

    # ---- the inbox

    def _take(self, item: object) -> None:
        if isinstance(item, Message):
            self._on_message(item)
        elif isinstance(item, Connected):
            self._guarded(lambda: self._on_connected(item))
        elif isinstance(item, Disconnected):
            self.counters["link.disconnected"] += 1
            self._session = 0
            logger.info("link.disconnected", extra={"cause": item.cause})

    def _on_message(self, message: Message) -> None:
        kind = "unknown"
        try:
            topic = topics.parse_down(message.topic, self._device)
            kind = topic.kind
            handler = self._handlers.get(kind)
            if handler is None:
                raise ProtocolError(f"{kind} is not understood by this agent")
            handler(topic, message.payload)
            self.counters[f"received.{kind}"] += 1
        except ProtocolError as error:
            self._dropped(kind, "malformed", error)
        except NotTrusted as error:
            self._dropped(kind, "untrusted", error)
        except StorageFailed as error:
            self._dropped(kind, "storage", error)
        except Exception as error:  # noqa: BLE001 - no message may end the loop
            self._dropped(kind, "defect", error)
            self._guarded.defect(error)

    def _dropped(self, kind: str, why: str, error: Exception) -> None:
        self.counters[f"dropped.{kind}.{why}"] += 1
        self._changed = True
        logger.warning("message.dropped", extra={"kind": kind, "why": why, "cause": str(error)})

    def _on_connected(self, connected: Connected) -> None:
        self._session = connected.session
        # Always: a session that the broker kept need not hold what was asked for (ADR 13).
        self._link.subscribe(topics.device_filters(self._device))
        self._fetcher.reconnected(self._clock.monotonic_s())
        self._outbox.resend_all()
        self._publish_state()
        self.counters["link.connected"] += 1
        logger.info("link.connected", extra={"session": connected.session})

    def _on_desired(self, topic: DownTopic, payload: bytes) -> None:
        desired = self._trust.open_desired(payload, self._device)
        if desired.generation <= self._generation:
            self.counters["desired.not_newer"] += 1
            return
        self._desired_file.keep(payload)
        self._accept(desired)

    def _accept(self, desired: Desired) -> None:
        self._generation = desired.generation
        self._changed = True
        self._deployer.want(desired, self._clock.monotonic_s())

    def _on_command(self, topic: DownTopic, payload: bytes) -> None:
        command = self._trust.open_command(payload, self._device)
        self._desk.take(command, self._clock.wall_s(), self._clock.monotonic_s())

    def _on_ack(self, topic: DownTopic, payload: bytes) -> None:
        ack = Ack.from_document(decode(payload))
        self._outbox.acknowledge(ack.stream, ack.sequence)

    def _on_chunk(self, topic: DownTopic, payload: bytes) -> None:
        chunk = decode_chunk(payload)
        used = topic.blob is not None and self._fetcher.accept(
            topic.blob, chunk, self._clock.monotonic_s()
        )
        self.counters["chunk.used" if used else "chunk.not_used"] += 1

    def _on_root(self, topic: DownTopic, payload: bytes) -> None:
        self._trust.follow(payload)

    def _on_epoch(self, topic: DownTopic, payload: bytes) -> None:
        Epoch.from_document(decode(payload))
        self._outbox.resend_all()
        self._changed = True

    # ---- timers

    def _on_time(self) -> None:
        now_s = self._clock.monotonic_s()
        self._guarded(lambda: self._deployer.tick(now_s))
        self._guarded(lambda: self._fetcher.ask(now_s))
        self._guarded(lambda: self._desk.tick(now_s))
        self._guarded(lambda: self._close_due_windows(now_s))
        self._guarded(self._keep_samples)
        if self._session:
            # The state first and by itself: it is the voice that is left on a broken disk.
            self._guarded(lambda: self._publish_due_state(now_s))
            self._guarded(lambda: self._send_items(now_s))

    def _publish_due_state(self, now_s: float) -> None:
        if self._changed or now_s >= self._state_due_s:
            self._publish_state()

    def _send_items(self, now_s: float) -> None:
        for topic, payload in self._reporter.due(now_s):
            self._link.publish(topic, payload)

    def _close_due_windows(self, now_s: float) -> None:
        if now_s >= self._window_due_s or self._is_window_full():
            self._window_due_s = now_s + self.options.telemetry_interval_s
            self._close_windows()

    def _is_window_full(self) -> bool:
        rows = self.options.telemetry_rows
        return any(live.tally.inferences >= rows for _, live in self.live.items())

    def _keep_samples(self, *, everything: bool = False) -> None:
        self._reporter.samples_chosen(self.samples.take(everything=everything))

    def _close_windows(self) -> None:
        now_s = self._clock.monotonic_s()
        for name, live in self.live.items():
            self._reporter.window_closed(name, live, now_s - self._window_since_s)
            self._deployer.acts.save_counts(name)
        self._window_since_s = now_s

    def _deployment_moved(self, deployment: Deployment, evidence: Mapping[str, float]) -> None:
        self._reporter.deployment_moved(deployment, evidence)
        self._changed = True

    # ---- what is said

    def _publish_state(self) -> None:
        self._changed = False
        self._state_due_s = self._clock.monotonic_s() + self.options.heartbeat_s
        if self._session:
            self._link.publish(*self._state(self._session, online=True), retain=True)

    def next_session(self) -> int:
        """Return the number of the connection that is about to be made."""
        return self._sessions.next()

    def will(self, session: int) -> tuple[str, bytes]:
        """Return topic and payload of what the broker says when that connection is lost."""
        return self._state_report.will(session, self._generation)

    def _state(self, session: int, *, online: bool) -> tuple[str, bytes]:
        return self._state_report.message(session, self._generation, online=online)

    # ---- beginning and end

    def _farewell(self) -> tuple[str, bytes] | None:
        try:
            return self._state(self._session, online=False) if self._session else None
        except StorageFailed:
            return None  # the will says it

    def _recover(self) -> None:
        now_s = self._clock.monotonic_s()
        self._deployer.recover(now_s)
        self._window_due_s = now_s + self.options.telemetry_interval_s

    def _resume(self) -> None:
        self._desk.resume()
        self._deployer.resume(self._clock.monotonic_s())
        desired = self._desired_file.load()
        if desired is not None:
            self._accept(desired)

    def close(self) -> None:
        """Keep everything, say farewell and release what is held. The last part of ``run``."""
        self._release()
        self._guarded(self.live.close)

    def _release(self) -> None:
        for step in (
            self._deployer.stop,
            self._desk.stop,
            self._starts.stopped,
            self._close_windows,
            lambda: self._keep_samples(everything=True),
            lambda: self._fetcher.flush(self._clock.monotonic_s()),
            lambda: self._link.stop(self._farewell()),
            self._outbox.close,
        ):
            self._guarded(step)
