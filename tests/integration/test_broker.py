"""The managed brokers, real ones, with real clients, and with hubs that die."""

import os
import random
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.enums import MQTTProtocolVersion

from edgeops.hub.broker import (
    HUB_USERNAME,
    BrokerHomeInUse,
    BrokerHomeUnusable,
    BrokerPortInUse,
    BrokerStartFailed,
    FoundMosquitto,
    ManagedIotcore,
    ManagedMosquitto,
    hash_password,
    make_broker,
)
from edgeops.hub.broker.port import answers
from tests.mqtt_peers import ACCOUNTS, PATIENCE_S, Peer, wait_until
from tests.processes import free_port, process_runs

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def broker(mosquitto: FoundMosquitto, tmp_path: Path) -> Iterator[ManagedMosquitto]:
    managed = ManagedMosquitto(
        mosquitto.binary, tmp_path / "broker", free_port(), mosquitto.library_path
    )
    managed.set_accounts(ACCOUNTS)
    managed.start()
    yield managed
    managed.stop()


@pytest.fixture
def hub(broker: ManagedMosquitto) -> Iterator[Peer]:
    with Peer(broker, HUB_USERNAME) as peer:
        yield peer


def start_a_hub(home: Path, port: int, kind: str) -> tuple[subprocess.Popen[bytes], int]:
    """A process that runs a broker; with the broker's process id."""
    program = f"""
        import signal
        from pathlib import Path
        from edgeops.hub.broker import make_broker
        make_broker(Path({str(home)!r}), {port}, {kind!r}).start()
        print("started", flush=True)
        signal.pause()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, cwd=REPOSITORY
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    return process, int((home / f"{kind}.pid").read_text().split()[0])


def kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_only_the_right_password_is_let_in(broker: ManagedMosquitto) -> None:
    with Peer(broker, "dev-1") as right, Peer(broker, "dev-1", "token-2") as wrong:
        assert right.connected == "Success"
        assert wrong.connected == "Not authorized"


def test_a_device_reads_its_own_topic_and_the_shared_ones_only(
    broker: ManagedMosquitto, hub: Peer
) -> None:
    with Peer(broker, "dev-1") as device:
        device.subscribe("edgeops/v1/#")
        allowed = ["d/dev-1/desired", "blob/b1", "trust/root/1", "hub/epoch"]
        for topic in ["d/dev-2/desired", "d/dev-2/cmd", "u/00/dev-2/state", *allowed]:
            hub.publish(f"edgeops/v1/{topic}", b"x")
        received = [device.next()[0] for _ in allowed]
        assert received == [f"edgeops/v1/{topic}" for topic in allowed]


def test_a_device_writes_its_own_topics_only(broker: ManagedMosquitto, hub: Peer) -> None:
    hub.subscribe("edgeops/v1/#")
    for topic in ["u/00/dev-2/state", "d/dev-1/desired", "blob/b1", "trust/root/1", "hub/epoch"]:
        # A connection for each: up to 2.0 Mosquitto also ends the one that overstepped.
        with Peer(broker, "dev-1") as device:
            assert device.publish(f"edgeops/v1/{topic}", b"spoofed") == "Not authorized"
    with Peer(broker, "dev-1") as device:
        assert device.publish("edgeops/v1/u/7f/dev-1/state", b"mine") == "Success"
    assert hub.next() == ("edgeops/v1/u/7f/dev-1/state", b"mine")
    assert hub.messages.empty()


def test_accounts_set_on_a_running_broker_hold_at_once_and_disturb_nobody(
    broker: ManagedMosquitto, hub: Peer
) -> None:
    for number in range(10):
        name, password = f"new-{number}", f"token-{number}"
        broker.set_accounts({**ACCOUNTS, name: hash_password(password)})
        with Peer(broker, name, password) as device:
            assert device.connected == "Success"
    assert not hub.disconnected.is_set()


def test_an_account_that_is_taken_away_is_disconnected(broker: ManagedMosquitto, hub: Peer) -> None:
    with Peer(broker, "dev-1") as device:
        broker.set_accounts({name: h for name, h in ACCOUNTS.items() if name != "dev-1"})
        assert device.disconnected.wait(PATIENCE_S)
    with Peer(broker, "dev-1") as again:
        assert again.connected == "Not authorized"
    assert not hub.disconnected.is_set()


@pytest.mark.parametrize("qos", [0, 1])
def test_a_burst_reaches_a_subscriber_that_is_slower_than_its_publisher(
    broker: ManagedMosquitto, hub: Peer, qos: int
) -> None:
    hub.subscribe("edgeops/v1/u/#")
    with Peer(broker, "dev-1") as device:
        expected = [str(number).encode() for number in range(5_000)]
        for payload in expected:
            device.send("edgeops/v1/u/00/dev-1/telemetry", payload, qos)
        assert [hub.next()[1] for _ in expected] == expected


@pytest.mark.parametrize("version", [MQTTProtocolVersion.MQTTv5, MQTTProtocolVersion.MQTTv311])
def test_a_chunk_is_passed_on_and_a_hostile_payload_ends_its_senders_connection(
    broker: ManagedMosquitto, hub: Peer, version: MQTTProtocolVersion
) -> None:
    hub.subscribe("edgeops/v1/#")
    topic, chunk = "edgeops/v1/u/00/dev-1/telemetry", b"x" * 60 * 1024
    for size in (257 * 1024, 1024 * 1024):
        with Peer(broker, "dev-1", version=version) as device:
            assert device.publish(topic, chunk) == "Success"
            device.send(topic, b"y" * size, 1)
            assert device.disconnected.wait(PATIENCE_S)
        assert hub.next() == (topic, chunk)
    with Peer(broker, "dev-2") as other:
        other.publish("edgeops/v1/u/00/dev-2/telemetry", b"fine")
    assert hub.next()[1] == b"fine"


def test_retained_messages_and_accounts_survive_a_restart(broker: ManagedMosquitto) -> None:
    with Peer(broker, HUB_USERNAME) as hub:
        hub.publish("edgeops/v1/d/dev-1/desired", b"kept", retain=True)
    broker.stop()
    assert not broker.is_alive()
    broker.start()
    with Peer(broker, "dev-1") as device:
        device.subscribe("edgeops/v1/d/dev-1/#")
        assert device.next() == ("edgeops/v1/d/dev-1/desired", b"kept")


def test_its_files_are_closed_to_other_users(broker: ManagedMosquitto, tmp_path: Path) -> None:
    broker.stop()
    home = tmp_path / "broker"
    assert home.stat().st_mode & 0o077 == 0
    assert {"mosquitto.conf", "passwords", "acl", "mosquitto.log", "mosquitto.db"} <= {
        path.name for path in home.iterdir()
    }
    for path in home.iterdir():
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_broker_started_in_a_thread_lives_on_when_the_thread_ends(
    mosquitto: FoundMosquitto, tmp_path: Path
) -> None:
    managed = ManagedMosquitto(mosquitto.binary, tmp_path, free_port(), mosquitto.library_path)
    starter = threading.Thread(target=managed.start)
    starter.start()
    starter.join()
    managed.set_accounts(ACCOUNTS)
    with Peer(managed, "dev-1") as device:
        assert device.connected == "Success"
    managed.stop()


def test_a_port_that_is_taken_is_an_error_that_says_by_whom(
    mosquitto: FoundMosquitto, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        managed = make_broker(tmp_path, port, "mosquitto")
        with pytest.raises(
            BrokerPortInUse, match=rf"port {port} .*process {os.getpid()}"
        ) as caught:
            managed.start()
    assert "--mqtt-port" in caught.value.next_step
    assert not managed.is_alive()


def test_a_home_that_cannot_be_written_is_an_error_that_names_it(
    mosquitto: FoundMosquitto, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "broker"
    managed = ManagedMosquitto(mosquitto.binary, home, free_port(), mosquitto.library_path)
    with pytest.raises(BrokerHomeUnusable, match=str(home)):
        managed.start()


def test_a_broker_that_does_not_start_is_quoted(mosquitto: FoundMosquitto, tmp_path: Path) -> None:
    managed = ManagedMosquitto(mosquitto.binary, tmp_path, free_port(), mosquitto.library_path)
    (tmp_path / "mosquitto.db").write_bytes(b"this is no database" * 10)
    with pytest.raises(BrokerStartFailed, match="ended at start; its last words: .*persistent"):
        managed.start()


@pytest.mark.parametrize("kind", ["mosquitto", "iotcore"])
def test_a_hub_that_is_killed_takes_its_broker_with_it(
    mosquitto: FoundMosquitto, tmp_path: Path, kind: str
) -> None:
    hub, broker_pid = start_a_hub(tmp_path, free_port(), kind)
    assert process_runs(broker_pid)
    kill(hub)
    wait_until(lambda: not process_runs(broker_pid), "the broker to end with its hub")


def test_a_second_hub_in_the_same_home_is_refused(
    mosquitto: FoundMosquitto, tmp_path: Path
) -> None:
    hub, broker_pid = start_a_hub(tmp_path, free_port(), "mosquitto")
    with pytest.raises(BrokerHomeInUse, match=str(hub.pid)):
        make_broker(tmp_path, free_port(), "mosquitto").start()
    assert process_runs(broker_pid)
    kill(hub)


def test_a_stale_broker_in_the_same_home_is_ended_before_the_start(
    mosquitto: FoundMosquitto, tmp_path: Path
) -> None:
    port = free_port()
    managed = ManagedMosquitto(mosquitto.binary, tmp_path, port, mosquitto.library_path)
    managed.start()
    managed.stop()
    # As after a crash on a system without the parent-death signal.
    libraries = {"LD_LIBRARY_PATH": str(mosquitto.library_path or "")}
    with subprocess.Popen(
        [mosquitto.binary, "-c", tmp_path / "mosquitto.conf"], env={**os.environ, **libraries}
    ) as stale:
        reaper = threading.Thread(target=stale.wait)
        reaper.start()
        wait_until(lambda: answers("127.0.0.1", port), "the stale broker to answer")
        (tmp_path / "mosquitto.pid").write_text(f"{stale.pid} 1")
        managed.start()
        reaper.join(PATIENCE_S)
        assert stale.returncode == 0
        assert managed.is_alive()
    managed.stop()


def test_a_stranger_with_the_stale_brokers_number_is_left_alone(
    mosquitto: FoundMosquitto, tmp_path: Path
) -> None:
    managed = ManagedMosquitto(mosquitto.binary, tmp_path, free_port(), mosquitto.library_path)
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as stranger:
        (tmp_path / "mosquitto.pid").write_text(f"{stranger.pid} 1")
        managed.start()
        assert stranger.poll() is None
        stranger.send_signal(signal.SIGKILL)
    managed.stop()


def test_the_development_broker_takes_a_chunk_keeps_retained_and_says_its_limits(
    tmp_path: Path,
) -> None:
    managed = ManagedIotcore(tmp_path, free_port())
    managed.start()
    managed.set_accounts(ACCOUNTS)
    assert not managed.supports_accounts
    assert managed.limits is not None
    assert managed.limits.startswith("development only")
    with Peer(managed, "dev-1") as device, Peer(managed, HUB_USERNAME) as hub:
        chunk = random.Random(7).randbytes(60 * 1024)
        device.subscribe("edgeops/v1/blob/#")
        hub.publish("edgeops/v1/blob/b1", chunk)
        assert device.next() == ("edgeops/v1/blob/b1", chunk)
        hub.publish("edgeops/v1/d/dev-1/desired", b"kept", retain=True)
        device.subscribe("edgeops/v1/d/dev-1/#")
        assert device.next() == ("edgeops/v1/d/dev-1/desired", b"kept")
    managed.stop()
    assert not managed.is_alive()
