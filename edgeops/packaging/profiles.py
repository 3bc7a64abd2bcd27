"""Finding profiles: the user's folder, ``$EDGEOPS_PROFILE_PATH``, then the ones we ship."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import edgeops
from edgeops.domain.errors import InvalidInput, UnknownProfile
from edgeops.domain.profile import Profile, parse_profile

FOLDER = "firmware_profiles"
PATH_VARIABLE = "EDGEOPS_PROFILE_PATH"
MAX_PROFILE_BYTES = 64 * 1024
MAX_DOTS = 200
"""In one line: tomllib takes memory by the square of the parts of a dotted key."""


def search_path() -> tuple[Path, ...]:
    """Return the folders that may hold profiles, the strongest first.

    They are ``./firmware_profiles``, the folders of ``$EDGEOPS_PROFILE_PATH`` (separated as in
    ``$PATH``), and the profiles that edgeops ships.
    """
    named = [Path(each) for each in os.environ.get(PATH_VARIABLE, "").split(os.pathsep) if each]
    return (Path(FOLDER), *named, _shipped())


def load_profiles(folders: Sequence[Path] | None = None) -> dict[str, Profile]:
    """Return every profile by its id; a folder earlier on the path hides later ones.

    Args:
        folders: where to look; ``search_path()`` by default. Missing folders are skipped.

    Raises:
        InvalidInput: a file is no profile, or its id is not its name; the message names it.
    """
    profiles: dict[str, Profile] = {}
    for folder in search_path() if folders is None else folders:
        for file in sorted(folder.glob("*.toml")):
            profiles.setdefault(file.stem, _read(file))
    return dict(sorted(profiles.items()))


def find_profiles(ids: Iterable[str], known: Mapping[str, Profile]) -> tuple[Profile, ...]:
    """Return the profiles of those ids, in their order, each once.

    Raises:
        UnknownProfile: the message names the closest ids, the next step all of them.
    """
    return tuple(_find(each, known) for each in dict.fromkeys(ids))


def _find(profile_id: str, known: Mapping[str, Profile]) -> Profile:
    if profile_id in known:
        return known[profile_id]
    near = get_close_matches(profile_id, known, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise UnknownProfile(
        f"there is no profile {profile_id[:80]!r}{hint}",
        next_step=f"known: {', '.join(known) or 'none'}; more folders: ${PATH_VARIABLE}",
    )


def _shipped() -> Path:
    """Return the wheel's copy, or the repository's folder in an editable install."""
    package = Path(edgeops.__file__).parent
    in_wheel = package / "_firmware_profiles"
    return in_wheel if in_wheel.is_dir() else package.parent / FOLDER


def _read(file: Path) -> Profile:
    try:
        if file.stat().st_size > MAX_PROFILE_BYTES:
            raise InvalidInput(
                f"more than {MAX_PROFILE_BYTES} bytes",
                next_step="a profile is a few lines: see firmware_profiles",
            )
        text = file.read_text(encoding="utf-8")
        if any(line.count(".") > MAX_DOTS for line in text.splitlines()):
            raise InvalidInput(
                f"a line with more than {MAX_DOTS} dots",
                next_step="a profile is a few lines: see firmware_profiles",
            )
        profile = parse_profile(tomllib.loads(text))
    except (OSError, ValueError, RecursionError, InvalidInput) as error:
        raise InvalidInput(
            f"{file} is no profile: {error}", next_step=getattr(error, "next_step", "")
        ) from error
    if profile.id != file.stem:
        raise InvalidInput(
            f"{file} holds the profile {profile.id!r}", next_step=f"rename it to {profile.id}.toml"
        )
    return profile
