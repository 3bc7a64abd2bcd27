"""The gate on fit: a microcontroller's flash and memory are as large as they are.

Elsewhere a model that wants more makes the system slower. Here it does not start, or overwrites
what is not its own. So there is no waiver: the profile's figures may be changed by its owner.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgeops.domain.errors import GateFailed, InvalidModel
from edgeops.domain.profile import MCU, Profile
from edgeops.packaging.arena import Arena, measure_arena
from edgeops.packaging.engines import Engine
from edgeops.packaging.model_file import ModelFile
from edgeops.packaging.variants import PlannedVariant

FIT_GATE = "fit"
LINEAGE = "arena."
"""Beginning of the lineage keys under which arenas are kept."""

_KIB = 1024
_SMALLER = "make the model smaller (--recipe int8, fewer channels), or leave the profile out"


def pass_fit_gate(
    planned: Sequence[PlannedVariant],
    files: Mapping[str, ModelFile],
    engines: Mapping[str, Engine],
    progress: Callable[[str], None],
) -> dict[str, Arena]:
    """Return what each artifact for microcontrollers needs of an arena, by runtime.

    Args:
        planned: the variants; those for other boards are passed over.
        files: the artifacts by format.
        engines: what runs them, by runtime.
        progress: told the figures.

    Raises:
        GateFailed: too large for the flash or for the memory of a profile, or TFLM does not run
            it; the message says by how much, or what it does not have.
        InvalidModel: no whole file, or one that crashes or hangs.
    """
    arenas: dict[str, Arena] = {}
    for each in planned:
        boards = [profile for profile in each.profiles if profile.device_class == MCU]
        if not boards:
            continue
        file = files[each.format]
        for board in boards:
            _check(file.name, "flash", len(file.data), board.flash_kib, board)
        if each.runtime not in arenas:
            arenas[each.runtime] = _measured(file, engines[each.runtime])
            progress(f"arena {arenas[each.runtime]} on {engines[each.runtime].name}")
        for board in boards:
            size_bytes = arenas[each.runtime].size_bytes
            _check(file.name, "arena", size_bytes, board.arena_kib, board)
    return arenas


def arena_lineage(arenas: Mapping[str, Arena]) -> dict[str, str]:
    """Return what a manifest's lineage says of arenas."""
    return {f"{LINEAGE}{runtime}": str(arena) for runtime, arena in arenas.items()}


def _measured(file: ModelFile, engine: Engine) -> Arena:
    try:
        return measure_arena(file.data, engine)
    except GateFailed as error:
        raise GateFailed(
            f"gate {FIT_GATE!r}: {file.name}: {error}", next_step=error.next_step
        ) from error
    except InvalidModel as error:
        raise InvalidModel(f"{file.name}: {error}", next_step=error.next_step) from error


def _check(name: str, what: str, needed: int, allowed_kib: int | None, board: Profile) -> None:
    """Hold one figure, in bytes, against the profile's.

    Raises:
        GateFailed: it is larger.
    """
    allowed = (allowed_kib or 0) * _KIB
    if needed > allowed:
        raise GateFailed(
            f"gate {FIT_GATE!r}: {name} needs {needed} bytes of {what}, {needed - allowed} more "
            f"than the {allowed_kib} KiB that {board.id} gives a model",
            next_step=_SMALLER,
        )
