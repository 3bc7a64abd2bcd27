"""How both adapters word what they refuse."""

from __future__ import annotations

from collections.abc import Sequence

from device_agent.protocol.errors import BadInput
from device_agent.protocol.manifest import TensorSpec

MAX_CAUSE = 300


def one_line(error: BaseException) -> str:
    """Return a foreign error's text on one line, at most ``MAX_CAUSE`` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MAX_CAUSE else text[: MAX_CAUSE - 1] + "…"


def wrong_count(specs: Sequence[TensorSpec], given: Sequence[object]) -> BadInput:
    """Return the error for a wrong number of input arrays."""
    names = ", ".join(spec.name for spec in specs)
    return BadInput(f"{len(given)} arrays given, the model has {len(specs)} inputs: {names}")
