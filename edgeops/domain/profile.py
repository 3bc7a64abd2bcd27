"""Profiles: classes of board, and what each can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.manifest import RUNTIMES, Budget, parse_profile_id
from edgeops.domain.errors import InvalidInput

SCHEMA = "edgeops.profile/v1"
CLASSES = ("linux",)
MAX_SOURCES = 32
MAX_RAM_MIB = 16 * 1024 * 1024

_KEYS = frozenset(
    ("schema", "id", "name", "class", "core", "arch", "ram_mib", "runtimes", "sources", "budget")
)
_BUDGET_KEYS = frozenset(("memory_mib", "latency_ms_p95"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One class of board.

    Attributes:
        id: its name in manifests and on devices; also the name of its file.
        name: its name for people.
        device_class: ``linux``: runs the agent.
        core: name of the CPU core as compilers and QEMU know it, e.g. ``cortex-a53``.
        arch: machine name as ``uname -m`` says it.
        ram_mib: memory of the smallest board of the class, None if it differs widely.
        runtimes: what it can run, the preferred one first.
        budget: what one model may cost there.
        sources: where the figures come from.
    """

    id: str
    name: str
    device_class: str
    core: str
    arch: str
    ram_mib: int | None
    runtimes: tuple[str, ...]
    budget: Budget
    sources: tuple[str, ...]


def parse_profile(document: Mapping[str, Any]) -> Profile:
    """Read a profile as its TOML file gives it.

    Strict: an unknown key is refused (a misspelt one would silently not count), and so is a
    profile that does not say where its figures come from.

    Raises:
        InvalidInput: the message names the key.
    """
    try:
        return _parse(document)
    except ProtocolError as error:
        raise InvalidInput(
            str(error), next_step="compare it with firmware_profiles/x86-64-generic.toml"
        ) from error


def _parse(document: Mapping[str, Any]) -> Profile:
    fields = Fields(dict(document), "profile")
    _check_keys(fields, _KEYS)
    if fields.text("schema") != SCHEMA:
        raise ProtocolError(f"profile.schema is not {SCHEMA}")
    device_class = fields.text("class")
    if device_class not in CLASSES:
        raise ProtocolError(f"profile.class is not one of {', '.join(CLASSES)}")
    runtimes = fields.texts("runtimes", max_items=len(RUNTIMES))
    if not runtimes or len(set(runtimes)) < len(runtimes) or not set(runtimes) <= set(RUNTIMES):
        raise ProtocolError(f"profile.runtimes are not some of {', '.join(RUNTIMES)}, each once")
    sources = fields.texts("sources", max_items=MAX_SOURCES)
    if not sources or not all(source.strip() for source in sources):
        raise ProtocolError("profile.sources does not say where the figures come from")
    budget = fields.fields("budget")
    _check_keys(budget, _BUDGET_KEYS)
    return Profile(
        id=parse_profile_id(fields.text("id")),
        name=fields.text("name", max_length=80),
        device_class=device_class,
        core=fields.text("core", max_length=40),
        arch=fields.text("arch", max_length=40),
        ram_mib=(
            fields.integer("ram_mib", minimum=1, maximum=MAX_RAM_MIB)
            if fields.has("ram_mib")
            else None
        ),
        runtimes=runtimes,
        budget=Budget.from_fields(budget),
        sources=sources,
    )


def _check_keys(fields: Fields, known: frozenset[str]) -> None:
    unknown = sorted(set(fields.names()) - known)
    if unknown:
        raise ProtocolError(f"{fields.path} has an unknown key {unknown[0][:40]!r}")
