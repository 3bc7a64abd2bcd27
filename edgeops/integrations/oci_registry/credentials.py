"""User and password for an OCI registry, as given or as ``docker login`` keeps them.

Of ``config.json`` only ``auths`` is read. Credential helpers (``credsStore``, ``credHelpers``)
are programs; they are not run, and neither are tokens of an interactive login used.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from pathlib import Path

from device_agent.protocol.codec import decode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from edgeops.domain.errors import InvalidInput
from edgeops.integrations.oci_registry.address import DOCKER_HUB

MAX_CONFIG_BYTES = 1024 * 1024
MAX_AUTH = 64 * 1024
HELPERS = ("credsStore", "credHelpers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a registry is told when it asks who we are.

    Attributes:
        username: empty if there is nothing to tell.
        password: never shown.
        hint: why there is nothing, if somebody might wonder.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    hint: str = ""

    def __bool__(self) -> bool:
        """Tell whether there is something to tell."""
        return bool(self.username)

    def basic(self) -> str:
        """Return the header of RFC 7617."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode("ascii")


def given(username: str, password: str) -> Credentials:
    """Return credentials that a person gave.

    Raises:
        InvalidInput: they cannot be sent as they are.
    """
    if not username or ":" in username or not (username + password).isprintable():
        raise InvalidInput(
            "a user name has no colon, and no control characters are in it or in the password",
            next_step="check --username and what comes on standard input",
        )
    return Credentials(username=username, password=password)


def stored(config: Path, host: str) -> Credentials:
    """Return what Docker's ``config.json`` has for a host, if anything.

    Raises:
        InvalidInput: the file is not what Docker writes, or cannot be read.
    """
    try:
        with config.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except FileNotFoundError:
        return Credentials(hint=f"there is no {config}")
    except OSError as error:
        raise _unreadable(config, error.strerror or str(error)) from error
    try:
        return _find(Fields(decode(data, max_bytes=MAX_CONFIG_BYTES), "config"), host, config)
    except (ProtocolError, InvalidInput, ValueError) as error:
        raise _unreadable(config, str(error)) from error


def _find(document: Fields, host: str, config: Path) -> Credentials:
    auths = document.fields("auths") if document.has("auths") else Fields({}, "auths")
    for name in auths.names():
        if _host_of(name) != host:
            continue
        entry = auths.fields(name)
        if entry.has("identitytoken"):
            return Credentials(hint=f"{config} has a login token for {host}, which is not used")
        if entry.has("auth"):
            return _decoded(entry.text("auth", max_length=MAX_AUTH))
    if any(document.has(each) for each in HELPERS):
        return Credentials(hint=f"{config} leaves it to a credential helper, which is not run")
    return Credentials(hint=f"{config} has nothing for {host}")


def _host_of(name: str) -> str:
    """Return the host of an entry: it may be written as ``https://host/v1/``."""
    host = name.removeprefix("https://").removeprefix("http://").partition("/")[0]
    return DOCKER_HUB.get(host, host)


def _decoded(auth: str) -> Credentials:
    try:
        username, colon, password = base64.b64decode(auth, validate=True).decode().partition(":")
    except binascii.Error as error:
        raise ValueError("an auth is not base64") from error
    if not colon:
        raise ValueError("an auth is not USER:PASSWORD")
    return given(username, password)


def _unreadable(config: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"{config} cannot be read: {why}",
        next_step="repair it, or give --username and --password-stdin",
    )
