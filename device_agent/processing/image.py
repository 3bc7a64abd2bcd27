"""Preparing images: resizing and channels, as ``protocol.image`` says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from device_agent.protocol.image import (
    BGR_TO_GREY,
    GREY_WEIGHTS,
    NEAREST,
    RGB_TO_BGR,
    RGB_TO_GREY,
    ImageStep,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ImageWork:
    """An ``ImageStep`` for images of one shape, with everything that is the same for each."""

    def __init__(self, step: ImageStep, shape: tuple[int, ...]) -> None:
        """Compute which pixels each output pixel is made of.

        Args:
            step: what to do.
            shape: height, width and channels of the images.
        """
        self._resize = _resizing(step, shape) if step.resize else None
        self._channels = step.channels
        self._grey = _grey_weights(step.channels)

    def __call__(self, row: NDArray[Any]) -> NDArray[np.float32]:
        """Return one image made ready.

        Args:
            row: ``[height, width, channels]`` of the shape that this is for, any numbers.

        Returns:
            float32 ``[height, width, channels]``.
        """
        import numpy as np

        made: NDArray[np.float32]
        made = np.asarray(row, np.float32) if self._resize is None else self._resize(row)
        if self._grey is not None:
            first, second, third = self._grey
            grey = made[..., 0:1] * first + made[..., 1:2] * second
            return np.asarray(grey + made[..., 2:3] * third, np.float32)
        return made[..., ::-1] if self._channels == RGB_TO_BGR else made


class _Nearest:
    """Takes one pixel for each."""

    def __init__(self, size: tuple[int, ...], shape: tuple[int, ...]) -> None:
        import numpy as np

        # In integers, so that a point between two pixels falls on the same side everywhere.
        self._rows, self._columns = (
            ((2 * np.arange(count) + 1) * given) // (2 * count)
            for count, given in zip(size, shape[:2], strict=True)
        )

    def __call__(self, row: NDArray[Any]) -> NDArray[np.float32]:
        import numpy as np

        return np.asarray(row[self._rows][:, self._columns], np.float32)


class _Bilinear:
    """Weighs four pixels for each: along the width first, then along the height."""

    def __init__(self, size: tuple[int, ...], shape: tuple[int, ...]) -> None:
        (self._top, self._bottom, down), (self._left, self._right, right) = (
            _neighbours(count, given) for count, given in zip(size, shape[:2], strict=True)
        )
        self._down, self._to_right = down[:, None, None], right[None, :, None]

    def __call__(self, row: NDArray[Any]) -> NDArray[np.float32]:
        top = self._across(row[self._top])
        return top + (self._across(row[self._bottom]) - top) * self._down

    def _across(self, lines: NDArray[Any]) -> NDArray[np.float32]:
        import numpy as np

        left = np.asarray(lines[:, self._left], np.float32)
        right = np.asarray(lines[:, self._right], np.float32)
        return left + (right - left) * self._to_right


def _resizing(step: ImageStep, shape: tuple[int, ...]) -> _Nearest | _Bilinear:
    return (_Nearest if step.method == NEAREST else _Bilinear)(step.resize, shape)


def _neighbours(
    count: int, given: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return for each of ``count`` outputs the two of ``given`` inputs, and the second's weight."""
    import numpy as np

    at = np.maximum((np.arange(count) + 0.5) * (given / count) - 0.5, 0.0)
    first = np.minimum(at.astype(np.intp), given - 1)
    return first, np.minimum(first + 1, given - 1), (at - first).astype(np.float32)


def _grey_weights(channels: str) -> tuple[np.float32, ...] | None:
    import numpy as np

    weights = tuple(np.float32(each) for each in GREY_WEIGHTS)
    return {RGB_TO_GREY: weights, BGR_TO_GREY: weights[::-1]}.get(channels)
