"""Selectors: a query over labels that gives a cohort.

``site=oslo,profile!=x86-64-generic,camera`` is true for a device whose label ``site`` is
``oslo``, whose profile is another one, and which has a label ``camera``. ``all`` is true for
every device.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from edgeops.domain.errors import InvalidInput
from edgeops.domain.fleet import Device

_TERM = re.compile(r"([a-z0-9][a-z0-9._/-]*)(?:(!=|=)([A-Za-z0-9._-]+))?", re.ASCII)

EVERYTHING = "all"

Term = Callable[[Mapping[str, str]], bool]


def parse(text: str) -> tuple[Term, ...]:
    """Return the terms of a selector; a device must satisfy each.

    Raises:
        InvalidInput: another form.
    """
    if text.strip() == EVERYTHING:
        return ()
    return tuple(_term(part.strip(), text) for part in text.split(","))


def select(selector: str, devices: Iterable[Device]) -> tuple[Device, ...]:
    """Return the devices that a selector gives, by id."""
    terms = parse(selector)
    chosen = [each for each in devices if all(term(each.all_labels) for term in terms)]
    return tuple(sorted(chosen, key=lambda device: device.id))


def _term(part: str, whole: str) -> Term:
    match = _TERM.fullmatch(part)
    if match is None:
        raise InvalidInput(
            f"{part[:80]!r} in the selector {whole[:80]!r} is no term",
            next_step="write key=value, key!=value or key, joined by commas, or 'all'",
        )
    key, operator, value = match.groups()
    if operator is None:
        return lambda labels: key in labels
    if operator == "=":
        return lambda labels: labels.get(key) == value
    return lambda labels: labels.get(key) != value
