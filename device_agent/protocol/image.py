"""Images as data: how a row of height, width and channels becomes what the model takes.

In float32 and in this order::

    resized to ``resize``    half-pixel centres: output i looks at (i + 0.5) * in / out - 0.5
    channels by ``channels``

``bilinear`` weighs the two nearest pixels of each axis, edges repeated, also when an image is
made smaller: nothing is smoothed first. That is TensorFlow's ``resize`` (``half_pixel_centers``),
PyTorch's ``interpolate`` (``align_corners=False``), ONNX's ``Resize`` (``half_pixel``) and
OpenCV's ``INTER_LINEAR``; Pillow's differs when it makes images smaller, because it smooths.
``nearest`` takes the pixel in which the point lies, floor((i + 0.5) * in / out), as Pillow,
TensorFlow and PyTorch's ``nearest-exact`` do; OpenCV's and PyTorch's ``nearest`` are half a pixel
off.
"""

from __future__ import annotations

import math

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.values import dataclass

BILINEAR = "bilinear"
NEAREST = "nearest"
METHODS = (BILINEAR, NEAREST)
AS_IS = "as-is"
RGB_TO_BGR = "rgb-to-bgr"
RGB_TO_GREY = "rgb-to-grey"
BGR_TO_GREY = "bgr-to-grey"
CHANNELS = (AS_IS, RGB_TO_BGR, RGB_TO_GREY, BGR_TO_GREY)
GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Of red, green and blue: ITU-R BT.601, as Pillow's ``L`` and OpenCV's ``COLOR_RGB2GRAY``."""
COLOURS = 3
IMAGE_RANK = 3
MAX_SIDE = 4096
MAX_RESIZED_ELEMENTS = 1 << 22
"""16 MiB in float32; the work takes a few times as much for a moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageStep:
    """What is done to an image; the module's docstring says how.

    Attributes:
        resize: height and width; empty leaves the size as it is.
        method: ``bilinear`` or ``nearest``.
        channels: ``as-is``; ``rgb-to-bgr``, which reverses three channels; ``rgb-to-grey`` or
            ``bgr-to-grey``, which leave one.
    """

    resize: tuple[int, ...] = ()
    method: str = BILINEAR
    channels: str = AS_IS

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return height, width and channels of what it makes of an image of ``shape``."""
        height, width = self.resize or shape[:2]
        return (height, width, 1 if self.channels in (RGB_TO_GREY, BGR_TO_GREY) else shape[2])

    def to_document(self) -> dict[str, object]:
        """Return the JSON form, with every field."""
        return {"resize": list(self.resize), "method": self.method, "channels": self.channels}

    @classmethod
    def from_fields(cls, fields: Fields) -> ImageStep:
        """Read the JSON form; what is left out has its default.

        Raises:
            ProtocolError: a wrong type or range, or an unknown word; the message names the field.
        """
        given = set(fields.names())
        return cls(
            resize=_sides(fields) if "resize" in given else (),
            method=fields.word("method", METHODS) if "method" in given else BILINEAR,
            channels=fields.word("channels", CHANNELS) if "channels" in given else AS_IS,
        )

    def check(self, path: str, shape: tuple[int, ...]) -> None:
        """Refuse rows of ``shape`` that are no images, or too large ones to make.

        Raises:
            ProtocolError: which field, and why.
        """
        if len(shape) != IMAGE_RANK:
            raise ProtocolError(
                f"{path} needs a shape of height, width, channels, given: {list(shape)}",
                next_step='for example "shape": [480, 640, 3]',
            )
        if self.channels != AS_IS and shape[2] != COLOURS:
            raise ProtocolError(
                f"{path}.channels {self.channels} needs 3 channels, the shape {list(shape)} has "
                f"{shape[2]}"
            )
        # Before the channels are made fewer: so many numbers are held.
        elements = math.prod((*self.resize, shape[2]))
        if self.resize and elements > MAX_RESIZED_ELEMENTS:
            raise ProtocolError(
                f"{path}.resize {list(self.resize)} makes {elements} elements, "
                f"{MAX_RESIZED_ELEMENTS} are allowed"
            )


def _sides(fields: Fields) -> tuple[int, ...]:
    sides = fields.integers("resize", max_items=2, minimum=1)
    if len(sides) == 1 or max(sides, default=0) > MAX_SIDE:
        raise ProtocolError(
            f"{fields.path}.resize is {list(sides)}, not [height, width] of up to {MAX_SIDE}"
        )
    return sides
