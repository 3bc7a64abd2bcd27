"""The broker's TCP port: is it free, who has it, does a broker answer on it."""

import errno
import socket
from pathlib import Path

from edgeops.hub.broker.errors import BrokerPortInUse, BrokerStartFailed

# An MQTT 5 CONNECT with an empty client id and no username. Any CONNACK will do: with accounts
# it is "not authorized", and it proves that the broker's main loop runs, which an accepted
# connection does not (the kernel accepts before the broker reads).
_CONNECT = bytes.fromhex("100d00044d5154540502000a000000")
_CONNACK = 0x20
_TRY_TIMEOUT_S = 2.0


def mqtt_url(host: str, port: int) -> str:
    """`mqtt://HOST:PORT`, with the brackets that an IPv6 address needs."""
    return f"mqtt://[{host}]:{port}" if ":" in host else f"mqtt://{host}:{port}"


def require_free(bind: str, port: int) -> None:
    """Checks that the port can be listened on.

    Raises:
        BrokerPortInUse: another program listens on it.
        BrokerStartFailed: the address is not ours, or the port is reserved.
    """
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the brokers do: connections of an earlier broker may still be in TIME_WAIT.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise BrokerPortInUse(
                    f"port {port} on {bind} is in use by {_listener_name(port)}",
                    next_step="stop that program, or choose another port with --mqtt-port",
                ) from error
            raise BrokerStartFailed(
                f"cannot listen on {bind} port {port}: {error.strerror}",
                next_step="choose another port with --mqtt-port",
            ) from error


def answers(host: str, port: int) -> bool:
    """Whether an MQTT 5 broker answers a CONNECT, be it with a refusal."""
    try:
        with socket.create_connection((host, port), timeout=_TRY_TIMEOUT_S) as connection:
            connection.sendall(_CONNECT)
            reply = connection.recv(1)
    except OSError:
        return False
    return reply == bytes([_CONNACK])


def _listener_name(port: int) -> str:
    """The program that listens on a port, as far as /proc lets us see."""
    sockets = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()) in sockets for link in (process / "fd").iterdir()):
                return f"{(process / 'comm').read_text().strip()} (process {process.name})"
        except OSError:
            continue  # It ended meanwhile, or belongs to another user.
    return "another program"


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        try:
            rows = [line.split() for line in table.read_text().splitlines()[1:]]
        except OSError:
            continue
        # Columns of proc_net_tcp(5): 1 local address in hex, 3 state (0A: listening), 9 inode.
        inodes |= {r[9] for r in rows if r[3] == "0A" and int(r[1].rpartition(":")[2], 16) == port}
    return inodes
