"""What the hub asks of the broker that it runs."""

from collections.abc import Mapping
from typing import Protocol


class Broker(Protocol):
    """A broker that lives and dies with this process.

    Attributes:
        kind: "mosquitto" or "iotcore".
        host: address that clients on this machine connect to.
        port: TCP port.
        url: `mqtt://HOST:PORT`.
        limits: what a user must know about this broker, in one sentence; None if nothing.
        supports_accounts: whether usernames, passwords and access rules are enforced.
    """

    kind: str
    host: str
    port: int
    url: str
    limits: str | None
    supports_accounts: bool

    def start(self) -> None:
        """Starts the broker and returns when it answers MQTT. Does nothing if it already runs.

        Raises:
            BrokerPortInUse: another program listens on the port.
            BrokerHomeInUse: another running hub has its broker in this folder.
            BrokerHomeUnusable: this folder cannot be written.
            BrokerStartFailed: it ended or did not answer in time.
        """

    def stop(self) -> None:
        """Ends the broker, politely first. Does nothing if it does not run."""

    def is_alive(self) -> bool:
        """Whether the broker's process runs."""
        ...

    def set_accounts(self, accounts: Mapping[str, str]) -> None:
        """Makes `accounts` (username to password hash) the only ones that may connect.

        On a running broker it holds from the moment that this returns; it blocks for up to
        a few hundred milliseconds, so an event loop should call it in a thread.

        Raises:
            BrokerAccountRefused: a username or hash of the wrong form; nothing was changed.
            BrokerHomeUnusable: its folder cannot be written.
            BrokerStartFailed: the running broker did not come back from reading them.
        """
