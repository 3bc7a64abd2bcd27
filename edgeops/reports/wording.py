"""Numbers and names as a report words them."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_THIN = "\u202f"
MINUS = "\u2212"
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of characters that nobody sees: controls, reordering marks, halves of surrogates."""


def percent(share: float, digits: int = 1) -> str:
    """Return a share as per cent: ``93.1 %``."""
    return f"{100 * share:.{digits}f}{_THIN}%".replace("-", MINUS)


def fine_percent(share: float) -> str:
    """Return a share of any size as per cent, with two digits that tell something: ``0.021 %``."""
    if share <= 0.0:
        return percent(0.0, 0)
    return percent(share, next((n for n in range(6) if 100 * share >= 10 ** (1 - n)), 6))


def points(share: float) -> str:
    """Return a difference of shares in percentage points, with its sign: ``+1.2``."""
    said = f"{100 * share:+.1f}"
    return "0.0" if float(said) == 0 else said.replace("-", MINUS)


def size(n_bytes: float) -> str:
    """Return bytes in the unit that fits: ``4.3 KiB``."""
    unit_bytes, unit = unit_of(n_bytes)
    value = n_bytes / unit_bytes
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def unit_of(n_bytes: float) -> tuple[int, str]:
    """Return the unit that fits so many bytes: its bytes and its name."""
    power = 0
    while abs(n_bytes) >= 1024 ** (power + 1) and power < len(_UNITS) - 1:
        power += 1
    return 1024**power, _UNITS[power]


def counted(n: int, one: str, many: str = "") -> str:
    """Return a number with its noun: ``1 device``, ``6 devices``."""
    return f"{n:,} {one if n == 1 else many or one + 's'}".replace(",", _THIN)


def listed(names: Sequence[str], at_most: int = 6) -> str:
    """Return names as prose: ``a, b and c``, or the first few and how many more."""
    if len(names) > at_most:
        return f"{', '.join(names[:at_most])} and {len(names) - at_most} more"
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def worded(code: str) -> str:
    """Return a code name as words: ``rolled_back`` is ``rolled back``."""
    return code.replace("_", " ")


def cohort_name(cohort: str) -> str:
    """Return what a cohort is called; devices that share nothing have no name."""
    return cohort or "no common label"


def visible(text: str) -> str:
    """Return a text in which what nobody sees is shown as a replacement character.

    So a name from outside cannot reorder or hide what stands beside it.
    """
    return "".join("\ufffd" if unicodedata.category(each) in _UNSEEN else each for each in text)


def drawn(text: str, limit: int = 24) -> str:
    """Return a text fit for a drawing: one line, visible characters, at most ``limit``.

    Both ends of a longer one are kept: names often differ in the last letters only.
    """
    if len(text) <= limit:
        return visible(text)
    tail = (limit - 1) // 2
    return visible(f"{text[: limit - 1 - tail]}…{text[-tail:]}")
