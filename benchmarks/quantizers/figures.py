"""Figures of people, drawn into photographs: no package that is installed has any in its own."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def with_figure(image: Image, chance: np.random.Generator) -> Image:
    """Return an image ``[h, w, 3]`` of 0 to 1 with a head and shoulders drawn into it.

    The detector of MLPerf Tiny takes about three of four for a person.
    """
    height, width = image.shape[:2]
    down, right = np.mgrid[:height, :width] / height
    x, y, size = chance.uniform(0.3, 0.7), chance.uniform(0.2, 0.42), chance.uniform(0.08, 0.17)
    skin = np.array([0.85, 0.62, 0.5]) * chance.uniform(0.5, 1.1)
    head = ((right - x) / (0.8 * size)) ** 2 + ((down - y) / size) ** 2 < 1
    shoulders = ((right - x) / 2) ** 2 + ((down - y - 3.4 * size) / 2.2) ** 2 < size**2
    drawn: list[tuple[Any, Any]] = [
        (shoulders, chance.random(3)),
        (head, np.minimum(1.0, skin)),
        (head & (down < y - 0.4 * size), skin * 0.2),
    ]
    for side in (-1, 1):
        eye = (right - x - side * 0.3 * size) ** 2 + (down - y + 0.1 * size) ** 2
        drawn.append((eye < (0.1 * size) ** 2, np.full(3, 0.05)))
    made = image.copy()
    for where, colour in drawn:
        made[where] = colour
    return made
