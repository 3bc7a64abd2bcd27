"""Enrolment: what the hub hands to a device once, outside of MQTT."""

from __future__ import annotations

from urllib.parse import urlsplit

from device_agent.protocol.codec import MAX_DOCUMENT_BYTES, decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import SCHEMA_VERSION, Fields
from device_agent.protocol.ids import DeviceId
from device_agent.protocol.values import dataclass

DEFAULT_PORTS = {"mqtt": 1883, "mqtts": 8883}


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What `edgeops devices enroll` hands to a device: identity, broker account, root of trust."""

    device: DeviceId
    profile: str
    broker: str
    username: str
    password: str
    root: bytes

    def to_bytes(self) -> bytes:
        """Return the file's bytes."""
        return encode(
            {
                "schema_version": SCHEMA_VERSION,
                "device": self.device,
                "profile": self.profile,
                "broker": self.broker,
                "username": self.username,
                "password": self.password,
                "root": self.root.decode(),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Enrolment:
        """Read an enrolment file.

        Raises:
            ProtocolError: not one; the message names the field.
        """
        fields = Fields(decode(data), "enrolment")
        fields.check_schema()
        enrolment = cls(
            device=fields.device("device"),
            profile=fields.text("profile", max_length=64),
            broker=fields.text("broker"),
            username=fields.text("username"),
            password=fields.text("password"),
            root=fields.text("root", max_length=MAX_DOCUMENT_BYTES).encode(),
        )
        enrolment.address()
        return enrolment

    def address(self) -> tuple[str, int, bool]:
        """Return the broker's host, port and whether TLS is wanted."""
        return parse_broker(self.broker)


def parse_broker(address: str) -> tuple[str, int, bool]:
    """Return host, port and whether TLS is wanted of ``mqtt://host[:port]`` or ``mqtts://…``.

    Raises:
        ProtocolError: another form.
    """
    try:
        url = urlsplit(address)
        port = url.port
    except ValueError as error:
        raise ProtocolError(f"broker {address!r}: {error}") from error
    if url.scheme not in DEFAULT_PORTS or not url.hostname:
        raise ProtocolError(
            f"broker {address!r} is no broker address",
            next_step="write mqtt://host:1883 or mqtts://host:8883",
        )
    return url.hostname, port or DEFAULT_PORTS[url.scheme], url.scheme == "mqtts"
