"""What runs here and needs no hub: making a package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgeops.packaging.build import build_package
from edgeops.packaging.oci.layout import write_layout
from edgeops.packaging.package import Package
from edgeops.packaging.request import PackageRequest
from edgeops.trust.keys import KeyFolder


def make_package(
    request: PackageRequest, keys: Path, folder: Path, progress: Callable[[str], None]
) -> Package:
    """Evaluate, gate, sign and write a package into an OCI layout folder.

    Raises:
        EdgeopsError: see ``packaging.build`` and ``packaging.oci.layout``; nothing half-written.
    """
    package = build_package(request, KeyFolder(keys).targets(), progress)
    write_layout(package, folder)
    return package
