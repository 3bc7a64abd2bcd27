"""Preprocessing as data: how a row of the application becomes what the model takes.

It is part of the signed manifest, so that evaluation and device do exactly the same. What it
means, in float32 and in this order::

    r = the row as the application gives it, reshaped to ``shape`` (C order; as it is without)
    x = what one of ``image``, ``audio`` or ``tabular`` makes of r; r itself without
    y = (x * scale - mean) / std     mean and std: one number, or one per channel (last axis of x)
    z = y transposed by ``layout``

and z is then fitted to the model's input, as a row without preprocessing is.
"""

from __future__ import annotations

import math
from typing import Protocol

from device_agent.protocol.audio import AudioStep
from device_agent.protocol.codec import encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.image import ImageStep
from device_agent.protocol.tabular import TabularStep
from device_agent.protocol.values import dataclass

FIRST_AGENT = "0.2.0"
"""The first agent that applies it: older ones would ignore the field and feed raw rows."""
FIRST_AGENT_OF_STEP = {"image": "0.2.0", "audio": "0.2.0", "tabular": "0.2.0"}
"""The same for the steps that came later: an agent that does not know one would leave it out."""
MAX_DOCUMENT_BYTES = 32 * 1024
"""Of all of it, as canonical JSON: it must reach the self-test's child through a pipe."""
AS_IS = "as-is"
HWC_TO_CHW = "hwc-to-chw"
LAYOUTS = (AS_IS, HWC_TO_CHW)
MAX_CHANNELS = 512
MAX_SHAPE_RANK = 8
MAX_ELEMENTS = 1 << 26
MAX_MAGNITUDE = 1e12
MIN_MAGNITUDE = 1e-12
"""Of ``scale`` and ``std``: in between nothing becomes zero or infinite in float32."""


class Step(Protocol):
    """What is done to one kind of row, before it is scaled."""

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of what it makes of a row of ``shape``."""

    def check(self, path: str, shape: tuple[int, ...]) -> None:
        """Raise a ``ProtocolError`` for rows of a shape that it does not take."""

    def to_document(self) -> dict[str, object]:
        """Return the JSON form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """What is done to each row; the formula is in the module's docstring.

    Attributes:
        scale: factor, not 0.
        mean: what is taken away after scaling: nothing, one number, or one per channel.
        std: divisor after that, above 0: nothing, one number, or one per channel.
        shape: the row's shape, without a batch dimension; empty takes each row as it comes.
        layout: ``as-is``, or ``hwc-to-chw`` for height, width, channels to a model that takes
            channels first.
        image: what is done to an image before scaling, see ``protocol.image``.
        audio: what is done to a window of samples, see ``protocol.audio``.
        tabular: what is done to each feature of a table's row, see ``protocol.tabular``.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    shape: tuple[int, ...] = ()
    layout: str = AS_IS
    image: ImageStep | None = None
    audio: AudioStep | None = None
    tabular: TabularStep | None = None

    @property
    def steps(self) -> dict[str, Step]:
        """The step of a kind of row, by the name of its field; at most one in a valid document."""
        every = {"image": self.image, "audio": self.audio, "tabular": self.tabular}
        return {name: step for name, step in every.items() if step is not None}

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape of a row as the application gives it; empty where any will do."""
        if self.tabular is not None and not self.shape:
            return (len(self.tabular.features),)
        return self.shape

    @property
    def made_shape(self) -> tuple[int, ...]:
        """Shape of what is scaled; empty where it is that of the row."""
        for step in self.steps.values():
            return step.output_shape(self.row_shape)
        return self.shape

    @property
    def filled(self) -> tuple[bool, ...]:
        """For each element of a row whether it may be missing (NaN); empty: none may."""
        return self.tabular.filled if self.tabular is not None else ()

    @property
    def first_agents(self) -> dict[str, str]:
        """The first agent that applies it, and each of its steps, by the path of the field."""
        steps = {f"preprocessing.{name}": FIRST_AGENT_OF_STEP[name] for name in self.steps}
        return {"preprocessing": FIRST_AGENT, **steps}

    def to_document(self) -> dict[str, object]:
        """Return the JSON form, with every field, and the step of a kind of row if there is one."""
        steps = {name: step.to_document() for name, step in self.steps.items()}
        return {
            **steps,
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
            layout=fields.word("layout", LAYOUTS) if "layout" in given else AS_IS,
            image=fields.optional("image", ImageStep.from_fields),
            audio=fields.optional("audio", AudioStep.from_fields),
            tabular=fields.optional("tabular", TabularStep.from_fields),
        )
        _check_steps(fields.path, read)
        for name, values in (("mean", read.mean), ("std", read.std)):
            _check_length(f"{fields.path}.{name}", len(values), read.made_shape)
        _check_layout(f"{fields.path}.layout", read)
        size_bytes = len(encode(read.to_document()))
        if size_bytes > MAX_DOCUMENT_BYTES:
            raise ProtocolError(
                f"{fields.path} takes {size_bytes} bytes, {MAX_DOCUMENT_BYTES} are allowed"
            )
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


def _check_steps(path: str, read: Preprocessing) -> None:
    if len(read.steps) > 1:
        raise ProtocolError(f"{path} has {' and '.join(read.steps)}, a row is only one of them")
    for name, step in read.steps.items():
        step.check(f"{path}.{name}", read.row_shape)


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
    if read.layout == HWC_TO_CHW and len(read.made_shape) != 3:
        raise ProtocolError(
            f"{path} {HWC_TO_CHW} needs a shape of height, width, channels, "
            f"given: {list(read.made_shape)}"
        )
