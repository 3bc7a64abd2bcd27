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
LINUX = "linux"
MCU = "mcu"
RUNTIMES_OF_CLASS = {
    LINUX: tuple(each for each in RUNTIMES if each != "tflm"),
    MCU: ("tflm",),
}
CLASSES = tuple(RUNTIMES_OF_CLASS)
MAX_SOURCES = 32
MAX_RAM_MIB = 16 * 1024 * 1024
MAX_MCU_KIB = 64 * 1024

_KEYS = frozenset(
    ("schema", "id", "name", "class", "core", "arch", "ram_mib", "runtimes", "sources", "budget")
)
_BUDGET_KEYS = {
    LINUX: frozenset(("memory_mib", "latency_ms_p95")),
    MCU: frozenset(("arena_kib", "flash_kib", "latency_ms_p95")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One class of board.

    Attributes:
        id: its name in manifests and on devices; also the name of its file.
        name: its name for people.
        device_class: ``linux``: runs the agent; ``mcu``: a microcontroller, runs firmware that
            holds the model.
        core: name of the CPU core as compilers and QEMU know it, e.g. ``cortex-a53``.
        arch: machine name as ``uname -m`` says it; the instruction set of a microcontroller.
        ram_mib: memory of the smallest board of the class, None if it differs widely and for
            microcontrollers.
        runtimes: what it can run, the preferred one first.
        budget: what one model may cost there.
        arena_kib: memory that a model's tensors may take, of a microcontroller.
        flash_kib: flash that a model may take, of a microcontroller.
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
    arena_kib: int | None = None
    flash_kib: int | None = None


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
            str(error),
            next_step="compare it with firmware_profiles/x86-64-generic.toml, or with "
            "nucleo-l4r5zi.toml for a microcontroller",
        ) from error


def _parse(document: Mapping[str, Any]) -> Profile:
    fields = Fields(dict(document), "profile")
    _check_keys(fields, _KEYS)
    if fields.text("schema") != SCHEMA:
        raise ProtocolError(f"profile.schema is not {SCHEMA}")
    device_class = fields.text("class")
    if device_class not in CLASSES:
        raise ProtocolError(f"profile.class is not one of {', '.join(CLASSES)}")
    sources = fields.texts("sources", max_items=MAX_SOURCES)
    if not sources or not all(source.strip() for source in sources):
        raise ProtocolError("profile.sources does not say where the figures come from")
    budget = fields.fields("budget")
    _check_keys(budget, _BUDGET_KEYS[device_class])
    is_mcu = device_class == MCU
    if is_mcu and "ram_mib" in fields.names():
        raise ProtocolError("profile.ram_mib is for class linux; class mcu has budget.arena_kib")
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
        runtimes=_runtimes(fields, device_class),
        budget=Budget.from_fields(budget),
        sources=sources,
        arena_kib=budget.integer("arena_kib", minimum=1, maximum=MAX_MCU_KIB) if is_mcu else None,
        flash_kib=budget.integer("flash_kib", minimum=1, maximum=MAX_MCU_KIB) if is_mcu else None,
    )


def _runtimes(fields: Fields, device_class: str) -> tuple[str, ...]:
    known = RUNTIMES_OF_CLASS[device_class]
    named = fields.texts("runtimes", max_items=len(RUNTIMES))
    if not named or len(set(named)) < len(named) or not set(named) <= set(known):
        raise ProtocolError(
            f"profile.runtimes are not some of {', '.join(known)}, each once (class {device_class})"
        )
    return named


def _check_keys(fields: Fields, known: frozenset[str]) -> None:
    unknown = sorted(set(fields.names()) - known)
    if unknown:
        raise ProtocolError(f"{fields.path} has an unknown key {unknown[0][:40]!r}")
