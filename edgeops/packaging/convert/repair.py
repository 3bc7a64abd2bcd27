"""Finding the operators whose quantization breaks the answers, and leaving them out.

A file can be right on one runtime and answer at chance level on another, without an error: by a
fusion that mishandles it, or by operators that an older runtime takes for others. And it can be
wrong on all, if what should not be quantized was. Which operator does it is found by bisection; it
stays in floats, and that is said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeops.packaging.convert.errors import ConversionFailed
from edgeops.packaging.convert.fidelity import relative_error, sqnr_db

MAX_EXCLUDED = 6
MAX_RUNTIME_ERROR = 0.1
"""Relative error between the answers of two engines to the same rows. Rounding alone stays far
below: 8 bits and a dozen layers gave 0.05 at most in trials, the known collapses more than 1."""
MAX_FLOAT_ERROR = 0.398
"""Relative error of the best engine's answers against the float model's (8 dB): beyond, it is not
the same model any more. A file classifier of which every operator was quantized was at 0.48 and
answered a third of the files otherwise; healthy packages of 8 bits stay below 0.25."""
WORSE = 1.5
"""How many times the error against the float model one engine may have over another."""

Names = frozenset[str]
Make = Callable[[Names], bytes]
"""Makes the artifact with the named operators left in floats."""
Differs = Callable[[bytes], str | None]
"""Runs an artifact on every engine; says how they differ, None if they do not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """An artifact on which all engines agree, the operators left in floats for it, and why."""

    data: bytes
    excluded: tuple[str, ...]
    notes: tuple[str, ...]


def settle(recipe: str, operators: Sequence[str], make: Make, differs: Differs) -> Settled:
    """Make an artifact that all engines answer alike; leave out what breaks it.

    Args:
        recipe: its name, for errors.
        operators: names of the operators that the recipe quantizes, in the model's order.
        make: makes the artifact.
        differs: runs it.

    Raises:
        ConversionFailed: more than ``MAX_EXCLUDED`` operators, or half of them, would have to
            be left out, or it is none of them; the message says how engines differ.
    """
    excluded: list[str] = []
    notes: list[str] = []
    while True:
        data = make(frozenset(excluded))
        why = differs(data)
        if why is None:
            return Settled(data=data, excluded=tuple(excluded), notes=tuple(notes))
        left = [name for name in operators if name not in excluded]
        if len(excluded) >= min(MAX_EXCLUDED, len(operators) / 2):
            raise _given_up(recipe, why, f"{len(excluded)} operators were left out in vain")
        culprit = _first_that_breaks(left, excluded, make, differs)
        if culprit is None:
            raise _given_up(recipe, why, "no operator alone explains it")
        excluded.append(culprit)
        notes.append(f"{culprit} stays in floats: quantized, {why}")


def _given_up(recipe: str, why: str, tried: str) -> ConversionFailed:
    return ConversionFailed(
        f"{recipe}: {why}; {tried}",
        next_step="another recipe, or leave that runtime's profiles out",
    )


def _first_that_breaks(
    left: Sequence[str], excluded: Sequence[str], make: Make, differs: Differs
) -> str | None:
    """Return the operator at which a growing quantized beginning of the model starts to differ."""

    def breaks(count: int) -> bool:
        return differs(make(frozenset((*excluded, *left[count:])))) is not None

    if breaks(0):
        return None
    fine, broken = 0, len(left)
    while broken - fine > 1:
        middle = (fine + broken) // 2
        fine, broken = (fine, middle) if breaks(middle) else (middle, broken)
    return left[broken - 1]


NO_REFUSALS: Mapping[str, str] = MappingProxyType({})


def difference(
    answers: Mapping[str, NDArray[Any]],
    expected: NDArray[Any],
    refusals: Mapping[str, str] = NO_REFUSALS,
) -> str | None:
    """Say how an artifact's answers differ from its float model's or among engines, None if not.

    Args:
        answers: by engine, ``[n, ...]``.
        expected: the float model's answers. The nearest engine must be within
            ``MAX_FLOAT_ERROR`` of them.
        refusals: of engines that answered nothing, why.
    """
    best, error = _nearest(answers, expected)
    if np.isfinite(answers[best]).all() and error > MAX_FLOAT_ERROR:
        return f"answers are {sqnr_db(error):.1f} dB from the float model's (SQNR)"
    return disagreement(answers, expected, refusals)


def disagreement(
    answers: Mapping[str, NDArray[Any]],
    expected: NDArray[Any],
    refusals: Mapping[str, str] = NO_REFUSALS,
) -> str | None:
    """Say how engines differ on one artifact, None if they agree.

    They agree if each is within ``MAX_RUNTIME_ERROR`` of the one nearest to the float model, or
    at most ``WORSE`` times as far from the float model.

    Args:
        answers: by engine, ``[n, ...]``.
        expected: the float model's answers.
        refusals: of engines that answered nothing, why.
    """
    best, least = _nearest(answers, expected)
    for engine, given in answers.items():
        if engine in refusals:
            return f"{engine} does not run it ({refusals[engine]})"
        if not np.isfinite(given).all():
            return f"{engine} answers NaN or infinity"
        error = relative_error(given, expected)
        if error <= WORSE * least:
            continue
        if relative_error(given, answers[best]) > MAX_RUNTIME_ERROR:
            return (
                f"{engine} answers something else ({sqnr_db(error):.1f} dB from float) than "
                f"{best} ({sqnr_db(least):.1f} dB)"
            )
    return None


def _nearest(answers: Mapping[str, NDArray[Any]], expected: NDArray[Any]) -> tuple[str, float]:
    """Return the engine whose answers are nearest to those of the float model, and their error."""
    errors = {engine: relative_error(given, expected) for engine, given in answers.items()}
    best = min(errors, key=lambda engine: errors[engine])
    return best, errors[best]
