"""The link of a real agent: brokers that speak only 3.1.1, and wills that come late."""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from device_agent.protocol import topics
from device_agent.protocol.enrolment import Enrolment
from device_agent.protocol.ids import DeviceId
from device_agent.shell.link import LinkLimits
from device_agent.shell.live import LiveModels
from device_agent.shell.loop import AgentLoop, AgentOptions
from edgeops.demo.processes import program
from edgeops.hub.broker import HUB_USERNAME, FoundMosquitto, ManagedMosquitto
from edgeops.service import fleet
from tests.broker_proxy import Manner, Proxy, answers_unsupported, closes, says_nothing
from tests.hub_harness import PROFILE, HubHarness
from tests.mqtt_peers import ACCOUNTS, PASSWORDS, Peer, wait_until
from tests.processes import free_port
from tests.running_site import Site, running_site

DEVICE = "dev-1"
QUICK = LinkLimits(backoff_first_s=0.05, backoff_most_s=0.2, keepalive_s=1)
OPTIONS = AgentOptions(heartbeat_s=1.0, tick_s=0.05, link=QUICK)
IN_3_1_1 = 4
IN_5 = 5


# ---- old brokers


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


def start_agent(site: Site, name: str, port: int) -> None:
    """Start a real agent whose broker is at another port."""
    path = site.enroll(name)
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "broker": f"mqtt://127.0.0.1:{port}"}))
    command = [program("device-agent"), "run", "--state", str(site.folder / name)]
    site.processes.start(name, [*command, "--enrolment", str(path)], site.environment)


def outbox_of(site: Site, name: str) -> int:
    """Ask the device how many items wait in its outbox; return what it said last."""
    site.client().give_command(name, "announce")
    return int(site.client().device(name)["outbox"])


@pytest.mark.parametrize("manner", [answers_unsupported, closes])
def test_an_agent_installs_and_reports_through_a_broker_that_speaks_only_3_1_1(
    site: Site, manner: Manner
) -> None:
    name = f"old-{manner.__name__.replace('_', '-')}"
    with Proxy(site.mqtt_port, manner) as proxy:
        start_agent(site, name, proxy.port)
        site.wait(f"{name} is online", lambda: site.client().device(name)["online"])
        expected = [IN_5, IN_3_1_1] if manner is answers_unsupported else [IN_5, IN_5, IN_3_1_1]
        assert proxy.levels == expected
        site.edgeops(
            *("rollout", "create", "digits:1", "--selector", f"only={name}", "--wait"),
            *("--probation", "min_inferences=0"),
        )
        assert site.active(name) == 1
        site.wait("its events are taken", lambda: outbox_of(site, name) == 0)
        session = site.client().device(name)["session"]
        proxy.manner = None
        proxy.drop()
        site.wait("it comes back", lambda: site.client().device(name)["session"] > session)
        assert proxy.levels == [*expected, IN_5], "the broker was updated, and is asked in 5 first"
        site.processes.kill(name)


# ---- an agent in this process


@dataclass
class Scene:
    """The real hub's handlers behind a real broker, and what they were told."""

    harness: HubHarness
    enrolment: Enrolment
    told: list[dict[str, object]]

    @property
    def presence(self) -> tuple[bool, int]:
        presence = fleet.device(self.harness.context, DEVICE).device.presence
        return presence.online, presence.session

    def listen(self, peer: Peer) -> None:
        """Let the hub take what has come."""
        while True:
            try:
                topic, payload = peer.messages.get_nowait()
            except queue.Empty:
                return
            self.told.append(json.loads(payload))
            self.harness.handlers.handle(topic, payload)

    def states(self, *, online: bool) -> list[object]:
        """Return the sessions of the births (and heartbeats), or of the deaths."""
        return [each["session"] for each in self.told if each.get("online") is online]


@pytest.fixture
def scene() -> Iterator[Scene]:
    with HubHarness() as harness:
        enrolment = fleet.enroll(harness.context, "ana", DEVICE, PROFILE, {})
        yield Scene(harness, replace(enrolment, password=PASSWORDS[DEVICE]), [])


@pytest.fixture
def broker(mosquitto: FoundMosquitto, tmp_path: Path) -> Iterator[ManagedMosquitto]:
    managed = ManagedMosquitto(
        mosquitto.binary, tmp_path / "broker", free_port(), mosquitto.library_path
    )
    managed.set_accounts(ACCOUNTS)
    managed.start()
    yield managed
    managed.stop()


@contextmanager
def running_agent(folder: Path, enrolment: Enrolment, port: int) -> Iterator[AgentLoop]:
    """Run a real agent with a real link in a thread."""
    there = replace(enrolment, broker=f"mqtt://127.0.0.1:{port}")
    loop = AgentLoop(folder, there, LiveModels(), options=OPTIONS)
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield loop
    finally:
        loop.stop()
        thread.join()


def test_a_broker_that_says_nothing_is_given_up_and_asked_in_3_1_1(
    scene: Scene, broker: ManagedMosquitto, tmp_path: Path
) -> None:
    with (
        Peer(broker, HUB_USERNAME) as hub,
        Proxy(broker.port, says_nothing) as proxy,
        running_agent(tmp_path / "state", scene.enrolment, proxy.port),
    ):
        hub.subscribe("edgeops/v1/u/+/+/state")

        def is_online() -> bool:
            scene.listen(hub)
            return scene.presence[0]

        wait_until(is_online, "the agent to come in 3.1.1")
        assert proxy.levels == [IN_5, IN_5, IN_3_1_1]


def test_a_device_whose_old_connection_is_half_open_comes_back_and_was_never_dead(
    scene: Scene, broker: ManagedMosquitto, tmp_path: Path
) -> None:
    with (
        Peer(broker, HUB_USERNAME) as hub,
        Proxy(broker.port) as proxy,
        running_agent(tmp_path / "state", scene.enrolment, proxy.port),
    ):
        hub.subscribe("edgeops/v1/u/+/+/state")

        def is_online(session: int) -> bool:
            scene.listen(hub)
            return scene.presence == (True, session)

        wait_until(lambda: is_online(1), "the first session")
        proxy.half_open()
        wait_until(lambda: is_online(2), "the second session")
        assert set(scene.states(online=False)) <= {1}
        with Peer(broker, HUB_USERNAME) as late:
            late.subscribe("edgeops/v1/u/+/+/state")
            assert json.loads(late.next()[1])["online"] is True, "what a new hub is told first"


@contextmanager
def other_broker(found: FoundMosquitto, folder: Path, bridged_to: int) -> Iterator[int]:
    """Another node of the same broker, as far as devices see: it tells all that it hears."""
    folder.mkdir()
    port = free_port()
    (folder / "bridge.conf").write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nconnection up\n"
        f"address 127.0.0.1:{bridged_to}\ntopic edgeops/v1/u/# out 1\n"
        f"remote_username {HUB_USERNAME}\nremote_password {PASSWORDS[HUB_USERNAME]}\n"
        "notifications false\n"
    )
    libraries = {"LD_LIBRARY_PATH": str(found.library_path or "")}
    command = [str(found.binary), "-c", str(folder / "bridge.conf")]
    with subprocess.Popen(command, env={**os.environ, **libraries}) as process:
        try:
            yield port
        finally:
            process.kill()


def test_a_will_that_comes_after_the_new_birth_does_not_mark_a_live_device_dead(
    scene: Scene, mosquitto: FoundMosquitto, broker: ManagedMosquitto, tmp_path: Path
) -> None:
    """Two nodes without common sessions: the old one notices late, and tells it late."""
    with (
        other_broker(mosquitto, tmp_path / "other", broker.port) as old,
        Peer(broker, HUB_USERNAME) as hub,
        Proxy(old) as proxy,
        running_agent(tmp_path / "state", scene.enrolment, proxy.port) as agent,
    ):
        hub.subscribe("edgeops/v1/u/+/+/state")
        heard: list[tuple[bool, int]] = []

        def hears(*, online: bool, above: int) -> bool:
            scene.listen(hub)
            heard.append(scene.presence)
            return any(int(str(each)) > above for each in scene.states(online=online))

        wait_until(lambda: hears(online=True, above=0), "the first birth, over the bridge")
        first = agent._session
        proxy.target = broker.port
        proxy.half_open()
        wait_until(lambda: hears(online=True, above=first), "the second birth, at the other node")
        heard.clear()
        before = len(scene.told)
        wait_until(lambda: hears(online=False, above=0), "the will of the first connection")
        assert scene.told[before:], "it came after the birth"
        beats = len(scene.states(online=True))
        wait_until(
            lambda: hears(online=True, above=0) and len(scene.states(online=True)) > beats,
            "another heartbeat",
        )
        assert {online for online, _ in heard} == {True}
        assert scene.harness.handlers.counters["dropped.state.stale"] >= 1


def test_what_the_hub_said_while_a_device_was_away_comes_when_it_is_back(
    scene: Scene, broker: ManagedMosquitto, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    with Peer(broker, HUB_USERNAME) as hub:
        with running_agent(state, scene.enrolment, broker.port) as agent:
            wait_until(lambda: agent.counters["link.connected"] > 0, "the agent")
        hub.publish(topics.command(DeviceId(DEVICE)), b"no command")
        with running_agent(state, scene.enrolment, broker.port) as again:
            wait_until(lambda: again.counters["dropped.cmd.malformed"] > 0, "what was said")


def test_a_hub_that_comes_later_is_told_that_a_device_has_died(
    scene: Scene, broker: ManagedMosquitto, tmp_path: Path
) -> None:
    with (
        Proxy(broker.port) as proxy,
        running_agent(tmp_path / "state", scene.enrolment, proxy.port) as agent,
    ):
        wait_until(lambda: agent.counters["link.connected"] > 0, "the agent")
        proxy.target = free_port()  # nobody is there when it comes back
        proxy.drop()

        def is_told() -> bool:
            with Peer(broker, HUB_USERNAME) as hub:
                hub.subscribe("edgeops/v1/u/+/+/state")
                return json.loads(hub.next()[1])["online"] is False

        wait_until(is_told, "the will, retained")


# ---- a session without subscriptions


def test_a_device_hears_though_an_earlier_connection_was_lost_before_it_subscribed(
    scene: Scene, broker: ManagedMosquitto, tmp_path: Path
) -> None:
    """The broker has made the session by then, and says at each connection that it knows it."""
    lost = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, client_id=DEVICE, protocol=mqtt.MQTTProtocolVersion.MQTTv5
    )
    lost.username_pw_set(DEVICE, PASSWORDS[DEVICE])
    expiry = Properties(PacketTypes.CONNECT)
    expiry.SessionExpiryInterval = 3600
    lost.connect("127.0.0.1", broker.port, clean_start=False, properties=expiry)
    lost.loop_start()
    wait_until(lost.is_connected, "a first connection")
    lost.socket().shutdown(socket.SHUT_RDWR)
    lost.loop_stop()
    with (
        Peer(broker, HUB_USERNAME) as hub,
        running_agent(tmp_path / "state", scene.enrolment, broker.port) as agent,
    ):
        wait_until(lambda: agent.counters["link.connected"] > 0, "the agent")

        def hears() -> bool:
            hub.publish(topics.command(DeviceId(DEVICE)), b"no command")
            return agent.counters["dropped.cmd.malformed"] > 0

        wait_until(hears, "the agent to hear what is sent to it")
