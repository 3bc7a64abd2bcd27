"""Where commands find a package: a folder, the hub, or HOME/packages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeops.cli.settings import Settings

if TYPE_CHECKING:
    from edgeops.packaging.package import Package


def read_package(settings: Settings, package: str, ref: str | None) -> Package:
    """Read a package; who signed it is not looked at.

    Args:
        settings: say where the hub and HOME are.
        package: a folder (an OCI layout), or ``NAME:VERSION``: that is taken from the hub if one
            is known, else from HOME/packages.
        ref: which package of the folder; None is the only one.

    Raises:
        NotFound: no such package.
        InvalidPackage, NotTrusted: it is damaged, or a part is missing.
    """
    from edgeops.packaging.oci.layout import read_layout
    from edgeops.service.verification import fetch_package

    if Path(package).is_dir():
        return read_layout(Path(package), ref)
    if settings.hub_url() is None:
        return read_layout(settings.home / "packages", package)
    with settings.client() as hub:
        return fetch_package(hub, package)
