"""Thresholds: how sure a model must be before its answer counts.

One number for all classes, or one for each in the order of the scores. A prediction whose
confidence is below the threshold of its class is no class: on the device, and wherever the
package is evaluated.
"""

from __future__ import annotations

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields

FIRST_AGENT = "0.2.0"
"""The first agent that applies them: older ones would answer what nobody is sure of."""
MAX_THRESHOLDS = 512


def read_thresholds(fields: Fields, key: str) -> tuple[float, ...]:
    """Return the thresholds under ``key``, each 0 to 1.

    Raises:
        ProtocolError: too many, or one that is no number of that range.
    """
    thresholds = fields.numbers(key, max_items=MAX_THRESHOLDS)
    for value in thresholds:
        if not 0.0 <= value <= 1.0:
            raise ProtocolError(f"{fields.path}.{key} has {value}, not in 0..1")
    return thresholds


def check_thresholds(path: str, thresholds: tuple[float, ...], classes: int | None) -> None:
    """Refuse thresholds of another number than there are classes.

    Args:
        path: how errors name them.
        thresholds: none, one for all classes, or one for each.
        classes: how many there are; None if that is not fixed.

    Raises:
        ProtocolError: more than one, and not one for each class.
    """
    if len(thresholds) > 1 and classes is not None and len(thresholds) != classes:
        raise ProtocolError(
            f"{path} has {len(thresholds)} numbers, the model {classes} classes",
            next_step="give one threshold for all classes, or one for each",
        )


def threshold_of(thresholds: tuple[float, ...], class_index: int) -> float:
    """Return the least confidence at which a class is answered; 0 where none is given."""
    if len(thresholds) == 1:
        return thresholds[0]
    return thresholds[class_index] if 0 <= class_index < len(thresholds) else 0.0
