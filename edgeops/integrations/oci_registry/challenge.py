"""What a registry's ``WWW-Authenticate`` asks for (RFC 9110, 11.6.1; RFC 6750, 3)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MAX_CHALLENGE = 8192

_PIECE = re.compile(
    r"""[\s,]*(?:(?P<key>[\w-]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,"]+))"""
    r"""|(?P<scheme>[\w-]+)(?=[\s,]|$))""",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way to authenticate: a scheme in lower case, and its parameters."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(headers: Sequence[str]) -> tuple[Challenge, ...]:
    """Return what the headers ask for, in their order; what is not understood is left out."""
    found: list[tuple[str, dict[str, str]]] = []
    text = ", ".join(headers)[:MAX_CHALLENGE]
    position = 0
    while piece := _PIECE.match(text, position):
        position = piece.end()
        if piece["scheme"]:
            found.append((piece["scheme"].lower(), {}))
        elif found:
            value = piece["bare"]
            if value is None:
                value = re.sub(r"\\(.)", r"\1", piece["quoted"])
            found[-1][1].setdefault(piece["key"].lower(), value)
    return tuple(Challenge(scheme=scheme, parameters=values) for scheme, values in found)


def wanted_scopes(asked: str, repository: str, actions: str) -> tuple[str, ...]:
    """Return the scopes to ask a token for: our own, and what the registry asked beside it.

    A registry behind another name asks for its own name of the repository.
    """
    own = f"repository:{repository}:{actions}"
    others = [each for each in asked.split(" ") if each]
    return (own, *(each for each in others if not each.startswith(f"repository:{repository}:")))
