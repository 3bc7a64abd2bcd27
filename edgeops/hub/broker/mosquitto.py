"""Mosquitto as a child process: its configuration, accounts and access rules are written here.

Valid for 2.0.11 (Debian 12) up to 2.1, which still takes the options that it calls deprecated.
"""

import re
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edgeops.domain.fleet import HUB_ACCOUNT
from edgeops.hub.broker.child import TetheredChild
from edgeops.hub.broker.errors import BrokerAccountRefused
from edgeops.hub.broker.port import mqtt_url, require_free
from edgeops.hub.broker.private_file import make_private_folder, write_private
from edgeops.trust.passwords import is_password_hash

HUB_USERNAME: Final = HUB_ACCOUNT

# A payload of edgeops has at most 60 KiB. A larger packet than this ends its sender's connection
# before it is read into memory (MQTT 5: CONNACK announces the limit, DISCONNECT 0x95 says why).
# Not `message_size_limit`: its PUBACK carries a reason that MQTT 5 forbids there, and paho fails.
MAX_PACKET_BYTES: Final = 256 * 1024
# What may wait for one client, in memory. The count is unlimited: with a bounded count 2.0
# drops acknowledged QoS 1 messages of a connected subscriber, at the default in every burst.
# The price: 2.0.11 compares its queue with this 0 and so ends a connection that published what
# the access rules forbid, after its PUBACK "not authorized"; 2.1 only drops the message.
MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024
MAX_INFLIGHT_MESSAGES: Final = 1000
# What a power cut may cost. The control plane republishes when the broker has lost its state.
AUTOSAVE_INTERVAL_S: Final = 10
START_TIMEOUT_S: Final = 15.0

# A device id: what `%u` in an access rule may become. No wildcard, no slash, no `$`.
_USERNAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LOOPBACK_OF: Final = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104


def config_text(home: Path, port: int, bind: str = "127.0.0.1") -> str:
    """The mosquitto.conf of a broker that keeps everything in `home`."""
    return f"""\
# Written by edgeops at each start of the hub; changes made here are lost.
listener {port} {bind}
# As root Mosquitto would become another user: it could no longer read these files, and the
# kernel would forget that it must end together with the hub. Ignored for ordinary users.
user root

allow_anonymous false
password_file {home / "passwords"}
acl_file {home / "acl"}

max_queued_messages 0
max_queued_bytes {MAX_QUEUED_BYTES}
max_inflight_messages {MAX_INFLIGHT_MESSAGES}
max_packet_size {MAX_PACKET_BYTES}

persistence true
persistence_location {home}/
autosave_interval {AUTOSAVE_INTERVAL_S}

log_dest file {home / "mosquitto.log"}
log_type error
log_type warning
log_type notice
log_timestamp_format %Y-%m-%dT%H:%M:%S
connection_messages true
"""


def acl_text() -> str:
    """The access rules: the hub may do everything of ours, a device only what is its own.

    A `pattern` holds for every user, the hub too: for it these add nothing. Mosquitto grants
    any SUBSCRIBE and applies the rules to each message instead.
    """
    return f"""\
# Written by edgeops at each start of the hub; changes made here are lost.
user {HUB_USERNAME}
topic readwrite edgeops/v1/#

# %u is the username, which is the device id. The client id is free.
pattern read edgeops/v1/d/%u/#
pattern read edgeops/v1/blob/#
pattern read edgeops/v1/trust/#
pattern read edgeops/v1/hub/#
pattern write edgeops/v1/u/+/%u/#
"""


def password_text(accounts: Mapping[str, str]) -> str:
    """The password file for these accounts (username to hash), sorted by username.

    Raises:
        BrokerAccountRefused: a username or hash of the wrong form.
    """
    for username, password_hash in accounts.items():
        if _USERNAME.fullmatch(username) is None:
            raise BrokerAccountRefused(
                f"{username!r} cannot be a broker username",
                next_step="use 1 to 64 letters, digits, dots, dashes or underscores",
            )
        if not is_password_hash(password_hash):
            raise BrokerAccountRefused(
                f"the password of {username!r} is not hashed",
                next_step="hash it with edgeops.hub.broker.hash_password",
            )
    return "".join(f"{name}:{accounts[name]}\n" for name in sorted(accounts))


class ManagedMosquitto:
    """A Mosquitto that lives in `home` and ends with this process.

    Retained messages, sessions and accounts in `home` survive restarts. Fulfils `Broker`.
    """

    def __init__(
        self,
        binary: Path,
        home: Path,
        port: int,
        library_path: Path | None = None,
        *,
        bind: str = "127.0.0.1",
        start_timeout_s: float = START_TIMEOUT_S,
    ) -> None:
        """Prepares, starts and writes nothing.

        Args:
            binary: the program.
            home: a folder of its own; created with mode 0700.
            port: TCP port to listen on.
            library_path: folder of the shared libraries that the system lacks.
            bind: address to listen on. There is no TLS: beyond loopback, only on a network
                where nobody listens in.
            start_timeout_s: how long the broker may take until it answers.
        """
        self.kind: str = "mosquitto"
        self.host: str = _LOOPBACK_OF.get(bind, bind)
        self.port = port
        self.url: str = mqtt_url(self.host, port)
        self.limits: str | None = None
        self.supports_accounts: bool = True
        self._home = home.absolute()
        self._bind = bind
        self._start_timeout_s = start_timeout_s
        self._environment = {"LD_LIBRARY_PATH": str(library_path)} if library_path else {}
        self._child = TetheredChild(
            [str(binary.absolute()), "-c", str(self._home / "mosquitto.conf")],
            pid_file=self._home / "mosquitto.pid",
            log_file=self._home / "mosquitto.log",
        )

    def start(self) -> None:
        """Starts the broker; see `Broker.start`."""
        if self._child.is_alive():
            return
        make_private_folder(self._home)
        self._child.end_stale()
        require_free(self._bind, self.port)
        write_private(self._home / "mosquitto.conf", config_text(self._home, self.port, self._bind))
        write_private(self._home / "acl", acl_text())
        if not (self._home / "passwords").exists():
            write_private(self._home / "passwords", "")
        self._child.start(self._environment)
        self._wait_for_answer("start")

    def stop(self) -> None:
        """Ends the broker, which saves its state; see `Broker.stop`."""
        self._child.stop()

    def is_alive(self) -> bool:
        """Whether the broker's process runs."""
        return self._child.is_alive()

    def set_accounts(self, accounts: Mapping[str, str]) -> None:
        """Replaces all accounts; see `Broker.set_accounts`.

        Connected clients stay connected, except those whose account is gone or has another
        password now.
        """
        text = password_text(accounts)
        make_private_folder(self._home)
        write_private(self._home / "passwords", text)
        if self._child.is_alive():
            self._child.signal(signal.SIGHUP)
            # The signal is handled between accepting a connection and reading its CONNECT, so
            # an answer to a connection made after the signal proves that the file was read.
            self._wait_for_answer("reload")

    def _wait_for_answer(self, act: str) -> None:
        self._child.wait_for_answer(self.host, self.port, act=act, timeout_s=self._start_timeout_s)
