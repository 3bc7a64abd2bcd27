"""The broker inside the `iotcore` package as a child process.

For development where no Mosquitto can be had; `LIMITS` says what it lacks.
"""

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edgeops.hub.broker.child import TetheredChild
from edgeops.hub.broker.errors import BrokerUnavailable
from edgeops.hub.broker.port import mqtt_url, require_free
from edgeops.hub.broker.private_file import make_private_folder, write_private

HOST: Final = "127.0.0.1"
# The package's own default, 20,480, is below one chunk of a model.
MAX_PAYLOAD_BYTES: Final = 256 * 1024
# Also how many retained messages one QoS 0 subscription receives.
MAX_OUTGOING_PACKETS: Final = 10_000
# Fixed inside rumqttd 0.20 whatever its configuration says (measured): further retained
# messages of a QoS 1 subscription are lost.
MAX_RETAINED_QOS1: Final = 100
MAX_CONNECTIONS: Final = 1000
START_TIMEOUT_S: Final = 15.0

LIMITS: Final = (
    "development only: loopback, MQTT 5 alone, no accounts, no access rules, nothing persisted, "
    f"at most {MAX_RETAINED_QOS1} retained messages per QoS 1 subscription "
    f"({MAX_OUTGOING_PACKETS:,} at QoS 0), at most {MAX_CONNECTIONS:,} connections"
)


def config_text(port: int) -> str:
    """The configuration of rumqttd: one listener on loopback.

    A listener of rumqttd speaks one version of MQTT; ours speaks 5.
    """
    return f"""\
# Written by edgeops at each start of the hub; changes made here are lost.
id = 0

[router]
id = 0
max_connections = {MAX_CONNECTIONS}
max_outgoing_packet_count = {MAX_OUTGOING_PACKETS}
max_segment_size = 1048576
max_segment_count = 10

[v5.1]
name = "edgeops"
listen = "{HOST}:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = {MAX_PAYLOAD_BYTES}
max_inflight_count = {MAX_RETAINED_QOS1}
dynamic_filters = true
"""


def is_installed() -> bool:
    """Whether the optional `iotcore` package is there."""
    return importlib.util.find_spec("iotcore") is not None


class ManagedIotcore:
    """An iotcore broker that ends with this process. Fulfils `Broker` within its `limits`."""

    def __init__(self, home: Path, port: int, *, start_timeout_s: float = START_TIMEOUT_S) -> None:
        """Prepares, starts and writes nothing.

        Args:
            home: a folder of its own; created with mode 0700.
            port: TCP port to listen on, at 127.0.0.1.
            start_timeout_s: how long the broker may take until it answers.

        Raises:
            BrokerUnavailable: the package is not installed.
        """
        if not is_installed():
            raise BrokerUnavailable(
                "the optional package iotcore is not installed", next_step="pip install iotcore"
            )
        self.kind: str = "iotcore"
        self.host: str = HOST
        self.port = port
        self.url: str = mqtt_url(HOST, port)
        self.limits: str | None = LIMITS
        self.supports_accounts: bool = False
        self._home = home.absolute()
        self._start_timeout_s = start_timeout_s
        config = str(self._home / "iotcore.toml")
        # The router logs each packet as an error, so everything below "critical" is silenced.
        # -P: no folder named iotcore in the working directory may stand in for the package.
        arguments = ["-P", "-m", "iotcore", "--log-level", "critical", "--config", config]
        self._child = TetheredChild(
            [sys.executable, *arguments],
            pid_file=self._home / "iotcore.pid",
            log_file=self._home / "iotcore.log",
        )

    def start(self) -> None:
        """Starts the broker; see `Broker.start`."""
        if self._child.is_alive():
            return
        make_private_folder(self._home)
        self._child.end_stale()
        require_free(HOST, self.port)
        write_private(self._home / "iotcore.toml", config_text(self.port))
        self._child.start({})
        self._child.wait_for_answer(HOST, self.port, act="start", timeout_s=self._start_timeout_s)

    def stop(self) -> None:
        """Ends the broker; all retained messages and sessions are gone."""
        self._child.stop()

    def is_alive(self) -> bool:
        """Whether the broker's process runs."""
        return self._child.is_alive()

    def set_accounts(self, accounts: Mapping[str, str]) -> None:
        """Does nothing: this broker lets everybody on this machine in (`supports_accounts`)."""
