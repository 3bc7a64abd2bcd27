"""Operators as a report words them: a number that stands for them everywhere, and a short name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgeops.reports.package_facts import OperationFacts
from edgeops.reports.wording import drawn

_MAX_PARTS = 64
_MAX_READ = 8192


def short_name(name: str, limit: int = 26) -> str:
    """Return a name that tells operators of one model apart, as far as that goes in a few letters.

    Converters join the names of all that they fused (``net/relu/Relu;net/conv/Conv2D``): of such
    a name the layer that most of its parts name is kept (``conv``).
    """
    parts = [each for each in name[:_MAX_READ].split(";")[:_MAX_PARTS] if each]
    if len(parts) > 1:
        name = _layer(parts) or parts[-1]
    _, _, inner = name.strip("/").partition("/")
    return drawn(inner or name, limit)


def spelled_out(name: str, limit: int) -> str:
    """Return a name part by part, each once, at most ``limit`` characters."""
    parts = dict.fromkeys(name[:_MAX_READ].split(";")[:_MAX_PARTS])
    return drawn("; ".join(each for each in parts if each), limit)


def _layer(parts: list[str]) -> str:
    """Return the longest path above their last words that at least half of the parts share."""
    shared: Counter[str] = Counter()
    for each in parts:
        words = each.split("/")
        shared.update({"/".join(words[:end]) for end in range(1, len(words))})
    held = [path for path, count in shared.items() if 2 * count >= len(parts)]
    return max(held, key=lambda path: (path.count("/"), shared[path], path), default="")


def numbered(operation: OperationFacts, limit: int = 20) -> str:
    """Return the number of an operation and its type: ``3 CONV_2D``."""
    number = str(operation.number)
    return f"{number} {drawn(operation.type, max(4, limit - 1 - len(number)))}"


def connected(operations: Sequence[OperationFacts]) -> list[OperationFacts]:
    """Return the operations that stand in the flow of values: no others, unless there are none.

    Some only unpack constants: they take no value, and what they make counts as a constant.
    """
    taken = {source for each in operations for source in each.takes}
    return [each for each in operations if each.takes or each.number in taken] or list(operations)


def amount(count: float) -> str:
    """Return a large number in the unit that fits: ``2.7 M``."""
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.1f} {unit}"
    return f"{count:,.0f}".replace(",", "\u202f")
