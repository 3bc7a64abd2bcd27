"""Finding the package that a person names on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeops.cli.settings import Settings


def read_package(settings: Settings, name: str, ref: str | None = None) -> Any:
    """Return a package: of a layout folder, of the hub if one is known, or of HOME/packages.

    Args:
        settings: say where the hub and the home folder are.
        name: a folder, or ``kws:2``.
        ref: which package of a folder that holds several.

    Raises:
        EdgeopsError: there is none, or it is not whole.
    """
    from edgeops.packaging.layout import read_layout
    from edgeops.service.verification import fetch_package

    if Path(name).is_dir():
        return read_layout(Path(name), ref)
    if settings.hub_url() is None:
        return read_layout(settings.home / "packages", name)
    with settings.client() as hub:
        return fetch_package(hub, name)
