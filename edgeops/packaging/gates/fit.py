"""The gate on fit: a microcontroller's flash and memory are as large as they are.

Elsewhere a model that wants more makes the system slower. Here it does not start, or overwrites
what is not its own. So nobody can waive it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from functools import partial

from edgeops.domain.errors import GateFailed, InvalidModel
from edgeops.domain.profile import MCU, Profile
from edgeops.packaging.engines import Engine
from edgeops.packaging.files.model_file import ModelFile
from edgeops.packaging.gates.arena import Arena, measure_arena
from edgeops.packaging.gates.verdicts import FIT_GATE, CannotRun, Check, of_artifact
from edgeops.packaging.record.anatomy import Anatomy
from edgeops.packaging.variants import PlannedVariant

LINEAGE = "arena."
"""Beginning of the lineage keys under which arenas are kept."""

MAX_TYPES = 6
"""Types of operators that a verdict names."""
_KIB = 1024
_SMALLER = "make the model smaller (--recipe int8, fewer channels), or leave the profile out"


def arena_checks(
    planned: Sequence[PlannedVariant],
    files: Mapping[str, ModelFile],
    engines: Mapping[str, Engine],
    arenas: MutableMapping[str, Arena],
    anatomies: Mapping[str, Anatomy],
) -> Iterator[Check]:
    """Yield the checks of what each artifact for microcontrollers needs of flash and arena.

    Args:
        planned: the variants; those for other boards are passed over.
        files: the artifacts by format.
        engines: what runs them, by runtime.
        arenas: takes what was measured, by runtime.
        anatomies: of the artifacts, by format.
    """
    for each in planned:
        boards = [profile for profile in each.profiles if profile.device_class == MCU]
        if boards:
            file, engine = files[each.format], engines[each.runtime]
            cost = told_cost(file, anatomies.get(each.format))
            check = partial(_check_boards, file, cost, engine, boards, arenas)
            yield of_artifact(FIT_GATE, each.format, check)


def _check_boards(
    file: ModelFile,
    cost: str,
    engine: Engine,
    boards: Sequence[Profile],
    arenas: MutableMapping[str, Arena],
) -> str:
    """Hold an artifact against all boards.

    Raises:
        CannotRun: too large for the flash or for the memory of a profile, or TFLM does not run
            it; the message says by how much, or what it does not have.
        InvalidModel: no whole file, or one that crashes or hangs.
    """
    for board in boards:
        _check(file.label, "flash", len(file.data), board.flash_kib, board)
    arena = arenas[engine.runtime] = _measured(file, engine)
    for board in boards:
        _check(file.label, "arena", arena.size_bytes, board.arena_kib, board)
    return f"{engine.name}: {cost}; it fits the flash, arena {arena}"


def told_cost(file: ModelFile, anatomy: Anatomy | None) -> str:
    """Return what an artifact costs wherever it runs: bytes, multiplications, operators.

    Args:
        file: the artifact.
        anatomy: what it is made of; None if nothing here reads its format.
    """
    size = f"{len(file.data)} bytes"
    if anatomy is None:
        return size
    counted = sorted(anatomy.operators.items(), key=lambda each: (-each[1], each[0]))
    types = ", ".join(f"{count} {kind}" for kind, count in counted[:MAX_TYPES])
    more = f" and {len(counted) - MAX_TYPES} other types" if len(counted) > MAX_TYPES else ""
    return (
        f"{size}, {anatomy.macs} multiplications a row, {len(anatomy.operations)} operators "
        f"({types}{more}), values of {anatomy.peak_bytes} bytes at least"
    )


def arena_lineage(arenas: Mapping[str, Arena]) -> dict[str, str]:
    """Return what a manifest's lineage says of arenas."""
    return {f"{LINEAGE}{runtime}": str(arena) for runtime, arena in arenas.items()}


def _measured(file: ModelFile, engine: Engine) -> Arena:
    try:
        return measure_arena(file.data, engine)
    except GateFailed as error:
        raise CannotRun(
            f"gate {FIT_GATE!r}: {file.label}: {error}", next_step=error.next_step
        ) from error
    except InvalidModel as error:
        raise InvalidModel(f"{file.label}: {error}", next_step=error.next_step) from error


def _check(name: str, what: str, needed: int, allowed_kib: int | None, board: Profile) -> None:
    """Hold one figure, in bytes, against the profile's.

    Raises:
        CannotRun: it is larger.
    """
    allowed = (allowed_kib or 0) * _KIB
    if needed > allowed:
        raise CannotRun(
            f"gate {FIT_GATE!r}: {name} needs {needed} bytes of {what}, {needed - allowed} more "
            f"than the {allowed_kib} KiB that {board.id} gives a model",
            next_step=_SMALLER,
        )
