"""Preprocessing as data: how a row of the application becomes what the model takes.

It is part of the signed manifest, so that evaluation and device do exactly the same. What it
means, in float32 and in this order::

    x = the row as the application gives it, reshaped to ``shape`` (C order; as it is without)
    y = (x * scale - mean) / std     mean and std: one number, or one per channel (last axis)
    z = y transposed by ``layout``

and z is then fitted to the model's input, as a row without preprocessing is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields

FIRST_AGENT = "0.2.0"
"""The first agent that applies it: older ones would ignore the field and feed raw rows."""
AS_IS = "as-is"
HWC_TO_CHW = "hwc-to-chw"
LAYOUTS = (AS_IS, HWC_TO_CHW)
MAX_CHANNELS = 512
MAX_SHAPE_RANK = 8
MAX_ELEMENTS = 1 << 26
MAX_MAGNITUDE = 1e12
MIN_MAGNITUDE = 1e-12
"""Of ``scale`` and ``std``: in between nothing becomes zero or infinite in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """What is done to each row; the formula is in the module's docstring.

    Attributes:
        scale: factor, not 0.
        mean: what is taken away after scaling: nothing, one number, or one per channel.
        std: divisor after that, above 0: nothing, one number, or one per channel.
        shape: the row's shape, without a batch dimension; empty takes each row as it comes.
        layout: ``as-is``, or ``hwc-to-chw`` for rows of height, width, channels to a model
            that takes channels first.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    shape: tuple[int, ...] = ()
    layout: str = AS_IS

    def to_document(self) -> dict[str, object]:
        """Return the JSON form, with every field."""
        return {
            "scale": float(self.scale),
            "mean": [float(each) for each in self.mean],
            "std": [float(each) for each in self.std],
            "shape": list(self.shape),
            "layout": self.layout,
        }

    @classmethod
    def from_fields(cls, fields: Fields) -> Preprocessing:
        """Read the JSON form; what is left out has its default.

        Raises:
            ProtocolError: a wrong type, range or length, or an unknown layout; the message
                names the field.
        """
        given = set(fields.names())
        read = cls(
            scale=_factor(fields) if "scale" in given else 1.0,
            mean=_numbers(fields, "mean", minimum=-MAX_MAGNITUDE) if "mean" in given else (),
            std=_numbers(fields, "std", minimum=MIN_MAGNITUDE) if "std" in given else (),
            shape=_shape(fields) if "shape" in given else (),
            layout=fields.text("layout", max_length=64) if "layout" in given else AS_IS,
        )
        for name, values in (("mean", read.mean), ("std", read.std)):
            _check_length(f"{fields.path}.{name}", len(values), read.shape)
        _check_layout(f"{fields.path}.layout", read)
        return read


def _factor(fields: Fields) -> float:
    scale = fields.number("scale", minimum=-MAX_MAGNITUDE, maximum=MAX_MAGNITUDE)
    if abs(scale) < MIN_MAGNITUDE:
        raise ProtocolError(f"{fields.path}.scale is {scale}, too close to 0")
    return scale


def _numbers(fields: Fields, key: str, *, minimum: float) -> tuple[float, ...]:
    values = fields.numbers(key, max_items=MAX_CHANNELS)
    for value in values:
        if not minimum <= value <= MAX_MAGNITUDE:
            raise ProtocolError(
                f"{fields.path}.{key} has {value}, not in {minimum:g}..{MAX_MAGNITUDE:g}"
            )
    return values


def _shape(fields: Fields) -> tuple[int, ...]:
    shape = fields.integers("shape", max_items=MAX_SHAPE_RANK, minimum=1)
    if math.prod(shape) > MAX_ELEMENTS:
        raise ProtocolError(f"{fields.path}.shape has more than {MAX_ELEMENTS} elements")
    return shape


def _check_length(path: str, length: int, shape: tuple[int, ...]) -> None:
    if length < 2:
        return
    if not shape:
        raise ProtocolError(
            f"{path} has {length} numbers, but no shape says what the channels are",
            next_step="give shape, the last number of which is the number of channels",
        )
    if length != shape[-1]:
        raise ProtocolError(f"{path} has {length} numbers, the shape {list(shape)} another count")


def _check_layout(path: str, read: Preprocessing) -> None:
    if read.layout not in LAYOUTS:
        raise ProtocolError(f"{path} is {read.layout[:40]!r}, not one of {', '.join(LAYOUTS)}")
    if read.layout == HWC_TO_CHW and len(read.shape) != 3:
        raise ProtocolError(
            f"{path} {HWC_TO_CHW} needs a shape of height, width, channels, "
            f"given: {list(read.shape)}"
        )
