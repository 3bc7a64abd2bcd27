"""What the registry holds: versions of models, and the movable names that point at them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from device_agent.protocol.envelope import Signature
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import Digest, ModelName, parse_model_name
from device_agent.protocol.manifest import MAX_VERSION, Waiver
from edgeops.domain.errors import InvalidInput

_NUMBER = re.compile(r"[1-9][0-9]{0,9}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """A package under a model's name and number; immutable once published.

    ``digest`` and ``size_bytes`` are the manifest's, ``signature`` is a targets key's over the
    manifest's bytes. ``lineage`` says what the version came from (``data``, ``code``, ``run``,
    ``parent``, …); ``created_s`` is in seconds since the epoch.
    """

    model: ModelName
    number: int
    digest: Digest
    size_bytes: int
    signature: Signature
    created_s: float
    created_by: str
    lineage: Mapping[str, str] = field(default_factory=dict)
    waivers: tuple[Waiver, ...] = ()

    @property
    def reference(self) -> str:
        """How people name it: ``kws:2``."""
        return f"{self.model}:{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A movable name for a version; ``revision`` counts its moves, from 1."""

    model: ModelName
    name: str
    number: int
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSummary:
    """A model in the list of all: how many versions, the newest number, the aliases."""

    model: ModelName
    versions: int
    latest: int
    aliases: tuple[Alias, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A version as a person names it: by number, by alias, or (neither) the newest."""

    model: ModelName
    number: int | None = None
    alias: str | None = None


def parse_reference(text: str) -> Reference:
    """Read ``kws:2``, ``kws@production`` or ``kws``.

    Raises:
        InvalidInput: another form, or a name with another alphabet.
    """
    model, at, alias = text.partition("@")
    if at:
        return Reference(model=parse_model(model), alias=parse_alias(alias))
    model, colon, number = text.partition(":")
    if not colon:
        return Reference(model=parse_model(model))
    if not _NUMBER.fullmatch(number) or int(number) > MAX_VERSION:
        raise InvalidInput(
            f"{number[:20]!r} in {text[:80]!r} is no version number",
            next_step="write MODEL:NUMBER, MODEL@ALIAS or MODEL",
        )
    return Reference(model=parse_model(model), number=int(number))


def parse_model(text: str) -> ModelName:
    """Return ``text`` as a model's name, as the protocol allows it.

    Raises:
        InvalidInput: another alphabet or length.
    """
    try:
        return parse_model_name(text)
    except ProtocolError as error:
        raise InvalidInput(str(error), next_step=error.next_step) from error


def parse_alias(text: str) -> str:
    """Return ``text`` as an alias: the alphabet of model names.

    Raises:
        InvalidInput: another alphabet or length.
    """
    try:
        return parse_model_name(text)
    except ProtocolError as error:
        raise InvalidInput(f"{text[:80]!r} is no alias", next_step=error.next_step) from error
