"""Publishing versions, naming them, and finding them again.

The rules:

1. A version is immutable: the same package again changes nothing, another one is refused.
2. Numbers start at 1, and the highest is the newest; gaps are allowed.
3. An alias moves only from where the caller has seen it (optimistic locking by its revision).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from device_agent.protocol.ids import ModelName
from device_agent.protocol.manifest import MAX_VERSION
from edgeops.domain.errors import Conflict, InvalidInput, NotFound
from edgeops.domain.registry import (
    Alias,
    ModelSummary,
    Version,
    parse_alias,
    parse_model,
    parse_reference,
)

MAX_LISTED = 20
"""How many names an error lists: the last ones."""


class VersionStore(Protocol):
    """Where versions are kept; the calls are within one transaction."""

    def add_version(self, version: Version) -> None:
        """Store a version, or raise ``Conflict`` if its number or digest is taken."""

    def versions(self, model: ModelName) -> tuple[Version, ...]:
        """Return the versions of a model, oldest number first."""

    def models(self) -> tuple[ModelSummary, ...]:
        """Return every model, by name."""


class AliasStore(Protocol):
    """Where aliases are kept; the calls are within one transaction."""

    def aliases(self, model: ModelName) -> tuple[Alias, ...]:
        """Return the aliases of a model, by name."""

    def put_alias(self, alias: Alias) -> bool:
        """Store an alias if the stored revision is one less; False if it is not."""


class RegistryStore(VersionStore, AliasStore, Protocol):
    """Both: what finding a version by its alias takes."""


def publish(store: VersionStore, version: Version) -> Version:
    """Enter a version; publishing the same package again returns what is there.

    Raises:
        InvalidInput: a name or number that cannot be.
        Conflict: another package has the number, or the package is there under another
            number; the next step names the next free number.
    """
    model = parse_model(version.model)
    if not 1 <= version.number <= MAX_VERSION:
        raise InvalidInput(
            f"{version.number} is no version number",
            next_step=f"use {next_number(store, model)}, the next free number",
        )
    known = store.versions(model)
    for other in known:
        if other.digest == version.digest and other.number == version.number:
            return other
        if other.digest == version.digest or other.number == version.number:
            raise Conflict(
                f"{version.reference} cannot be published: {other.reference} is {other.digest}",
                next_step=f"package it as version {known[-1].number + 1}, the next free number",
            )
    store.add_version(version)
    return version


def next_number(store: VersionStore, model: str) -> int:
    """Return the number that the next version of a model takes (1 for a new model).

    Raises:
        InvalidInput: no model's name.
    """
    known = store.versions(parse_model(model))
    return known[-1].number + 1 if known else 1


def resolve(store: RegistryStore, reference: str) -> Version:
    """Return the version that ``kws:2``, ``kws@production`` or ``kws`` (the newest) means.

    Raises:
        InvalidInput: another form.
        NotFound: no such model, number or alias; the next step lists what there is.
    """
    meant = parse_reference(reference)
    known = list_versions(store, meant.model)
    if meant.alias is not None:
        aliases = store.aliases(meant.model)
        numbers = [alias.number for alias in aliases if alias.name == meant.alias]
        if not numbers:
            raise NotFound(
                f"{meant.model} has no alias {meant.alias}",
                next_step=_listing("aliases", [alias.name for alias in aliases]),
            )
        return _with_number(known, numbers[0])
    return known[-1] if meant.number is None else _with_number(known, meant.number)


def set_alias(
    store: RegistryStore, model: str, name: str, number: int, expected_revision: int | None
) -> Alias:
    """Point an alias at a version, and return it with its new revision.

    Pointing it where it points already changes nothing, if the revision is as expected.

    Args:
        store: where the alias is kept.
        model: the model's name.
        name: the alias.
        number: of the version that it shall mean.
        expected_revision: the revision that the caller has seen, 0 if there was no such
            alias; ``None`` moves it from wherever it is.

    Raises:
        InvalidInput: no model's name, or no alias.
        NotFound: no such model or version; the next step lists what there is.
        Conflict: the alias has another revision: somebody moved it.
    """
    version = _with_number(list_versions(store, model), number)
    alias_name = parse_alias(name)
    known = [alias for alias in store.aliases(version.model) if alias.name == alias_name]
    revision = known[0].revision if known else 0
    moved = Alias(model=version.model, name=alias_name, number=number, revision=revision + 1)
    if expected_revision in (None, revision):
        if known and known[0].number == number:
            return known[0]
        if store.put_alias(moved):
            return moved
    where = f"{version.model}:{known[0].number}" if known else "not set"
    raise Conflict(
        f"alias {version.model}@{alias_name} was moved by somebody else (it is {where})",
        next_step="read it again, and move it if that is still right",
    )


def list_models(store: VersionStore) -> tuple[ModelSummary, ...]:
    """Return every model with the number of its versions, the newest, and its aliases."""
    return store.models()


def list_versions(store: VersionStore, model: str) -> tuple[Version, ...]:
    """Return the versions of a model (at least one), oldest number first.

    Raises:
        InvalidInput: no model's name.
        NotFound: no such model; the next step lists the models.
    """
    known = store.versions(parse_model(model))
    if not known:
        models = [summary.model for summary in store.models()]
        raise NotFound(f"there is no model {model}", next_step=_listing("models", models))
    return known


def _with_number(known: tuple[Version, ...], number: int) -> Version:
    for version in known:
        if version.number == number:
            return version
    numbers = [str(version.number) for version in known]
    raise NotFound(
        f"there is no version {known[0].model}:{number}", next_step=_listing("versions", numbers)
    )


def _listing(what: str, names: Sequence[str]) -> str:
    """Say what there is instead, in one line of bounded length."""
    if not names:
        return f"there are no {what} yet"
    shown, more = names[-MAX_LISTED:], len(names) - MAX_LISTED
    return f"{what}: {', '.join(shown)}" + (f" and {more} more" if more > 0 else "")
