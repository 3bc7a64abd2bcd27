"""Thresholds as people write them: numbers joined by commas."""

from __future__ import annotations

from edgeops.domain.errors import InvalidInput


def parse_thresholds(text: str) -> tuple[float, ...]:
    """Read ``0.6`` (of every class) or ``0.5,0.8,0.5`` (of each, in the order of the scores).

    Raises:
        InvalidInput: something else than numbers of 0 to 1.
    """
    thresholds = []
    for part in text.split(","):
        try:
            value = float(part)
        except ValueError:
            value = -1.0
        if not 0.0 <= value <= 1.0:
            raise InvalidInput(
                f"threshold {part.strip()[:40]!r} is no number of 0 to 1",
                next_step="for example --thresholds 0.6, or one for each class: 0.5,0.8,0.5",
            )
        thresholds.append(value)
    return tuple(thresholds)
