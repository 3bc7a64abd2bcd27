"""Inputs of the models: 100 rows that calibrate, and others that judge, the same for every tool."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quantizers.figures import with_figure
from benchmarks.quantizers.signals import (
    keyword_features,
    machine,
    machine_features,
    speech,
)

CALIBRATION_ROWS = 100
SEED = 2026

BLOCK_BYTES, SHOWN_BYTES, PADDING = 4096, 1024, 256
"""How Magika reads a file: of the first and the last block the first and the last bytes."""
MAX_FILES_OF_A_KIND = 60
MIN_FILES_OF_A_KIND = 12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Rows of one model.

    Attributes:
        what: what they are, for people.
        calibration: ``[100, ...]``.
        evaluation: ``[n, ...]``, none of which is in ``calibration``.
        labels: of ``evaluation``, names of classes; None if nobody knows.
    """

    what: str
    calibration: NDArray[Any]
    evaluation: NDArray[Any]
    labels: tuple[str, ...] | None = None


def drawn(what: str, count: int, draw: Callable[[np.random.Generator], Any]) -> Rows:
    """Return rows that are drawn one by one, in float32."""
    chance = np.random.default_rng(SEED)
    x = np.stack([draw(chance) for _ in range(CALIBRATION_ROWS + count)]).astype(np.float32)
    return Rows(what=what, calibration=x[:CALIBRATION_ROWS], evaluation=x[CALIBRATION_ROWS:])


def photographs(side: int, scale: float, count: int) -> Rows:
    """Return square crops of scikit-learn's two photographs, ``[n, side, side, 3]``.

    Calibration rows are of the left halves, evaluation rows of the right halves.
    """
    from sklearn.datasets import load_sample_images

    images = [np.asarray(each, np.float32) for each in load_sample_images().images]
    chance = np.random.default_rng(SEED)

    def crop(half: int) -> NDArray[Any]:
        image = images[int(chance.integers(len(images)))]
        middle = image.shape[1] // 2
        image = image[:, :middle] if half == 0 else image[:, middle:]
        size = side * int(chance.integers(1, min(image.shape[:2]) // side + 1))
        top, left = (int(chance.integers(most - size + 1)) for most in image.shape[:2])
        part = image[top : top + size, left : left + size]
        part = part.reshape(side, size // side, side, size // side, 3).mean((1, 3))
        return part[:, :: int(chance.choice([-1, 1]))] * scale

    made = [
        np.stack([crop(half) for _ in range(n)]) for half, n in ((0, CALIBRATION_ROWS), (1, count))
    ]
    what = f"crops of scikit-learn's sample photographs, {side} x {side}, 0 to {255 * scale:g}"
    return Rows(what=what, calibration=made[0], evaluation=made[1])


def people(count: int) -> Rows:
    """Return photographs ``[n, 96, 96, 3]`` of 0 to 1, every second with a figure drawn into it."""
    found, chance = photographs(96, 1 / 255, count), np.random.default_rng(SEED)

    def drawn_into(x: NDArray[Any]) -> NDArray[Any]:
        return np.stack([with_figure(row, chance) if at % 2 else row for at, row in enumerate(x)])

    return Rows(
        what=f"{found.what}, a person drawn into every second",
        calibration=drawn_into(found.calibration),
        evaluation=drawn_into(found.evaluation),
    )


def keywords(count: int) -> Rows:
    """Return MFCCs of synthesised speech, ``[n, 49, 10, 1]``."""
    return drawn(
        "MFCCs of synthesised speech", count, lambda chance: keyword_features(speech(chance))
    )


def machines(count: int) -> Rows:
    """Return log-mel frames of a synthesised motor, ``[n, 640]``."""
    what = "log-mel frames of a synthesised motor"
    return drawn(what, count, lambda chance: machine_features(machine(chance)))


def files(count: int) -> Rows:
    """Return the bytes of files of this machine as Magika reads them, int32 ``[n, 2048]``.

    They are labelled by their extension, where that says what a file is.
    """
    chance = np.random.default_rng(SEED)
    found: dict[str, list[NDArray[np.int32]]] = {}
    seen: set[bytes] = set()
    for path in _walk():
        label = EXTENSIONS.get(path.suffix.lower())
        if label is None or len(found.setdefault(label, [])) >= MAX_FILES_OF_A_KIND:
            continue
        row = file_features(path)
        if row is not None and row.tobytes() not in seen:
            seen.add(row.tobytes())
            found[label].append(row)
    kinds = {label: rows for label, rows in found.items() if len(rows) >= MIN_FILES_OF_A_KIND}
    pairs = [(row, label) for label, rows in sorted(kinds.items()) for row in rows]
    order = chance.permutation(len(pairs))[: CALIBRATION_ROWS + count]
    x = np.stack([pairs[at][0] for at in order])
    return Rows(
        what=f"files of this machine of {len(kinds)} kinds, labelled by extension",
        calibration=x[:CALIBRATION_ROWS],
        evaluation=x[CALIBRATION_ROWS:],
        labels=tuple(pairs[at][1] for at in order[CALIBRATION_ROWS:]),
    )


_SAME = (
    "c css csv gif html ini lua pdf png svg toml ttf wav xml zip npy npz java sql vim tcl awk po"
)
_OTHERS = """
py=python js=javascript ts=typescript json=json h=c md=markdown rst=rst sh=shell pl=perl pm=perl
rb=ruby so=elf o=elf pyc=pythonbytecode yml=yaml yaml=yaml gz=gzip exe=pebin jpg=jpeg cpp=cpp
hpp=cpp cmake=cmake m4=m4 bat=batch ps1=powershell bz2=bzip xz=xz tar=tar deb=deb jar=jar
"""
EXTENSIONS = {
    f".{extension}": name or extension
    for extension, _, name in (each.partition("=") for each in f"{_SAME} {_OTHERS}".split())
}
"""Magika's name of a kind by the extension that says it."""


def _walk() -> Iterator[Path]:
    for top in (sys.base_prefix, sys.prefix, "/usr/lib", "/usr/share", "/usr/include"):
        for folder, inner, names in os.walk(top):
            inner.sort()
            for name in sorted(names):
                yield Path(folder) / name


def file_features(path: Path) -> NDArray[np.int32] | None:
    """Return what Magika takes of a file, int32 ``[2048]``; None if it is nearly empty."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            begin = file.read(BLOCK_BYTES).lstrip()
            file.seek(max(0, size - BLOCK_BYTES))
            end = file.read(BLOCK_BYTES).rstrip()
    except OSError:
        return None
    if size < 64 or not begin or not end:
        return None
    row = np.full(2 * SHOWN_BYTES, PADDING, np.int32)
    begin, end = begin[:SHOWN_BYTES], end[-SHOWN_BYTES:]
    row[: len(begin)] = np.frombuffer(begin, np.uint8)
    row[len(row) - len(end) :] = np.frombuffer(end, np.uint8)
    return row
