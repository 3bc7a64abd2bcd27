"""How a device reaches its broker: by name, with TLS, or through a proxy that paho asks for."""

from __future__ import annotations

import logging
import os
import random
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import paho.mqtt.client as mqtt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from device_agent.shell.inbox import Inbox
from device_agent.shell.link import Connected, Link, LinkLimits
from edgeops.hub.broker import FoundMosquitto
from tests.device_harness import Hub
from tests.mqtt_peers import wait_until
from tests.processes import free_port

QUICK = LinkLimits(backoff_first_s=0.05, backoff_most_s=0.2)


@contextmanager
def broker_of(found: FoundMosquitto, folder: Path, *more: str) -> Iterator[int]:
    """Run a broker for anyone; ``more`` are lines of its configuration."""
    port, file = free_port(), folder / "broker.conf"
    told = ["user root", f"listener {port} 127.0.0.1", "allow_anonymous true", *more]
    file.write_text("\n".join([*told, ""]))
    libraries = {"LD_LIBRARY_PATH": str(found.library_path or "")}
    command = [str(found.binary), "-c", str(file)]
    with subprocess.Popen(command, env={**os.environ, **libraries}) as process:
        try:
            wait_until(lambda: listens(port), "the broker")
            yield port
        finally:
            process.kill()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running_link(broker: str) -> Iterator[Inbox]:
    inbox = Inbox()
    link = Link(
        Hub().enrolment(broker=broker),
        inbox,
        will=lambda session: ("t", b""),
        next_session=lambda: 1,
        chance=random.Random(1),
        limits=QUICK,
    )
    link.start()
    try:
        yield inbox
    finally:
        link.stop()


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a certificate that vouches for itself, for one name, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "broker.crt", folder / "broker.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


def refused_for(caplog: pytest.LogCaptureFixture, cause: str) -> bool:
    return any(cause in str(record.__dict__.get("cause")) for record in caplog.records)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What the resolver is asked for."""
    hosts: list[object] = []
    resolve = socket.getaddrinfo

    def noted(host: object, *args: object, **named: object) -> object:
        hosts.append(host)
        return resolve(host, *args, **named)

    monkeypatch.setattr(socket, "getaddrinfo", noted)
    return hosts


def test_a_name_in_ascii_is_asked_for_as_it_is(
    mosquitto: FoundMosquitto, tmp_path: Path, asked: list[object]
) -> None:
    with (
        broker_of(mosquitto, tmp_path) as port,
        running_link(f"mqtt://localhost:{port}") as inbox,
    ):
        assert isinstance(inbox.take(10.0)[0], Connected)
    assert set(asked) == {b"localhost"}


def test_where_a_proxy_may_be_asked_for_it_is_left_to_paho(
    mosquitto: FoundMosquitto,
    tmp_path: Path,
    asked: list[object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = SimpleNamespace(HTTP=3, SOCKS4=1, SOCKS5=2, get_default_proxy=lambda: None)
    monkeypatch.setattr(mqtt, "socks", kinds)
    with (
        broker_of(mosquitto, tmp_path) as port,
        running_link(f"mqtt://localhost:{port}") as inbox,
    ):
        assert isinstance(inbox.take(10.0)[0], Connected)
    assert set(asked) == {"localhost"}


def test_another_name_is_one_that_is_not_found(
    caplog: pytest.LogCaptureFixture, asked: list[object]
) -> None:
    caplog.set_level(logging.WARNING)
    with running_link("mqtt://gerät.invalid:1883"):
        wait_until(lambda: "link.unreachable" in caplog.text, "the attempt to fail")
    assert "gerät.invalid" in asked


# paho leaves the socket of a failed handshake to Python, which says so.
@pytest.mark.filterwarnings("ignore:Exception ignored:pytest.PytestUnraisableExceptionWarning")
def test_with_tls_the_broker_must_be_who_it_is_said_to_be(
    mosquitto: FoundMosquitto,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    known, key = certificate(tmp_path, "localhost")
    with broker_of(mosquitto, tmp_path, f"certfile {known}", f"keyfile {key}") as port:
        with running_link(f"mqtts://localhost:{port}"):
            wait_until(lambda: refused_for(caplog, "CERTIFICATE_VERIFY_FAILED"), "a stranger's end")
        monkeypatch.setenv("SSL_CERT_FILE", str(known))
        with running_link(f"mqtts://localhost:{port}") as inbox:
            assert isinstance(inbox.take(10.0)[0], Connected)
        with running_link(f"mqtts://127.0.0.1:{port}"):
            wait_until(lambda: refused_for(caplog, "IP address mismatch"), "another name's end")
