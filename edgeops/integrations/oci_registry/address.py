"""Where a package is in an OCI registry: ``oci://HOST[:PORT]/REPO[:TAG|@sha256:…]``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import Digest, parse_digest
from edgeops.domain.errors import InvalidInput

SCHEME = "oci://"
MAX_REPOSITORY = 255
"""With the host; the specification's advice to registries."""
MAX_PORT = 65535
LOCAL = re.compile(r"localhost|127\.\d{1,3}\.\d{1,3}\.\d{1,3}|\[::1\]", re.ASCII)
DOCKER_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}
"""Names of one registry that is reached under another."""

_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", re.ASCII)
_FORM = "write it as oci://HOST[:PORT]/REPO:TAG, for example oci://localhost:5000/models/kws:1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A repository of an OCI registry, and perhaps one package in it.

    Attributes:
        host: host name and port.
        repository: path of the repository.
        tag: name of a package; None if there is none.
        digest: digest of a package's OCI manifest; None if there is none.
    """

    host: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def is_local(self) -> bool:
        """Whether the registry is on this machine."""
        return LOCAL.fullmatch(re.sub(r":\d+$", "", self.host)) is not None

    def __str__(self) -> str:
        """Return the address as it is written."""
        which = f":{self.tag}" if self.tag else f"@{self.digest}" if self.digest else ""
        return f"{SCHEME}{self.host}/{self.repository}{which}"


def parse_address(text: str) -> Address:
    """Read an address.

    Raises:
        InvalidInput: another form; nothing of it is guessed.
    """
    if not text.startswith(SCHEME):
        raise InvalidInput(f"{text[:120]!r} is no address of an OCI registry", next_step=_FORM)
    host, slash, rest = text.removeprefix(SCHEME).partition("/")
    path, at, digest = rest.partition("@")
    repository, colon, tag = path.partition(":")
    found = _HOST.fullmatch(host)
    if not slash or found is None or not 0 < int(found[1] or 1) <= MAX_PORT:
        raise InvalidInput(f"{text[:120]!r} names no host", next_step=_FORM)
    if not _REPOSITORY.fullmatch(repository) or len(host) + len(repository) >= MAX_REPOSITORY:
        raise InvalidInput(
            f"{repository[:120]!r} is no repository: parts of a-z, 0-9, '.', '_', '-'",
            next_step=_FORM,
        )
    if colon and not _TAG.fullmatch(tag):
        raise InvalidInput(f"{tag[:140]!r} is no tag", next_step=_FORM)
    if colon and at:
        raise InvalidInput("a tag and a digest", next_step="give one of them; a digest pins")
    return Address(
        host=DOCKER_HUB.get(host, host),
        repository=repository,
        tag=tag or None,
        digest=_digest(digest) if at else None,
    )


def _digest(text: str) -> Digest:
    try:
        return parse_digest(text)
    except ProtocolError as error:
        raise InvalidInput(str(error), next_step=error.next_step) from error
