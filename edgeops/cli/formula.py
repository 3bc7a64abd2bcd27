"""What is done to a row, and how sure a model must be, each in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SHOWN_CHANNELS = 4


def formula(preprocessing: Mapping[str, Any]) -> str:
    """Return what is done to a row, in one line.

    Args:
        preprocessing: the document of it.
    """
    value = f"{_step(preprocessing)} * {preprocessing['scale']:g}"
    if preprocessing["mean"]:
        value += f" - [{short(preprocessing['mean'])}]"
    if preprocessing["std"]:
        value = f"({value}) / [{short(preprocessing['std'])}]"
    shape = f", shape {list(preprocessing['shape'])}" if preprocessing["shape"] else ""
    return f"{value}{shape}, {preprocessing['layout']}"


def short(numbers: Sequence[float]) -> str:
    """Return the first few of many numbers, and how many more there are."""
    shown = [f"{each:g}" for each in numbers[:SHOWN_CHANNELS]]
    more = len(numbers) - len(shown)
    return ", ".join(shown) + (f", … ({more} more)" if more else "")


def _step(preprocessing: Mapping[str, Any]) -> str:
    """Return what the row becomes before it is scaled."""
    image, audio = preprocessing.get("image"), preprocessing.get("audio")
    tabular = preprocessing.get("tabular")
    if image:
        size = f"{image['method']} {image['resize']}" if image["resize"] else "image"
        return f"{size} {image['channels']}"
    if audio:
        kind = f"{audio['coefficients']} MFCCs" if audio["coefficients"] else "log-mel"
        return (
            f"{kind} of {audio['mel_bins']} {audio['mel_scale']} bins, frames of "
            f"{audio['frame_length']} each {audio['frame_step']} at {audio['sample_rate_hz']:g} Hz"
        )
    return f"{len(tabular['features'])} features" if tabular else "row"
