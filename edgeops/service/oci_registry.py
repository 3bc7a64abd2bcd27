"""Packages to and from OCI registries; needs no hub.

Neither the registry nor the folder is believed: a package is whole and as it was signed before
the first byte of it is sent, and before the folder shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from device_agent.protocol.ids import Digest
from edgeops.domain.errors import Conflict, InvalidInput, InvalidPackage, NotFound, NotTrusted
from edgeops.integrations.oci_registry import distribution
from edgeops.integrations.oci_registry.address import Address
from edgeops.integrations.oci_registry.credentials import Credentials
from edgeops.integrations.oci_registry.errors import RegistryRefused
from edgeops.integrations.oci_registry.limits import RegistryLimits
from edgeops.integrations.oci_registry.session import Session
from edgeops.packaging.oci.files import blob_path
from edgeops.packaging.oci.layout import read_layout, read_oci_manifest
from edgeops.packaging.oci.manifest import OciManifest, check_file
from edgeops.packaging.oci.staging import Staging, staged
from edgeops.packaging.oci.words import Descriptor
from edgeops.packaging.package import Package
from edgeops.packaging.verify import verify_package
from edgeops.trust.keys import KeyFolder, verify_signature

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach an OCI registry.

    Attributes:
        credentials: told when it asks.
        plain_http: speak HTTP also with another machine.
        limits: bounds.
    """

    credentials: Credentials = field(default_factory=Credentials)
    plain_http: bool = False
    limits: RegistryLimits = field(default_factory=RegistryLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """What a push or a pull did.

    Attributes:
        package: the package, as it was checked.
        address: where it is in the registry, by tag or digest.
        digest: digest of its OCI manifest.
        moved: the blobs that travelled; the others were there.
        kept: the blobs that were there.
        is_signature_checked: False if there is no root of trust here.
        is_new: False if a pull found the package in the folder.
    """

    package: Package
    address: Address
    digest: Digest
    moved: tuple[Descriptor, ...]
    kept: tuple[Descriptor, ...]
    is_signature_checked: bool
    is_new: bool = True

    @property
    def pinned(self) -> str:
        """The address that always means these bytes."""
        where = Address(
            host=self.address.host, repository=self.address.repository, digest=self.digest
        )
        return str(where)


def push(
    reference: str, folder: Path, address: Address, keys: Path, access: Access, say: Say
) -> Transfer:
    """Push a package from a layout to an OCI registry.

    Blobs that the registry lacks go first, the manifest with its tag last: whoever pulls sees
    the package whole or not at all. The bytes are those of the layout, whatever layers there
    are. A tag that is a version number is never moved.

    Args:
        reference: ``kws:1``.
        folder: the layout.
        address: with a tag, or without: then the tag is the version's number.
        keys: key folder, whose root of trust the signature is checked against, if it is there.
        access: how to reach the registry.
        say: takes lines for people.

    Raises:
        NotTrusted: the package was altered, or no key of the root signed it.
        Conflict: the version's number is the tag of something else there.
        EdgeopsError: see ``packaging.oci.layout`` and ``integrations.oci_registry``.
    """
    package = read_layout(folder, reference)
    manifest = read_oci_manifest(folder, reference)
    for blob in manifest.blobs:
        check_file(blob_path(folder, blob.digest), blob)
    is_checked = _is_trusted(package, keys, say)
    number = str(package.manifest.version)
    tag = _tag(address, number)
    address = Address(host=address.host, repository=address.repository, tag=tag)
    moved: list[Descriptor] = []
    with _session(address, "pull,push", access, say) as session:
        if tag == number:
            _refuse_another(distribution.digest_at(session, tag), manifest, address)
        for blob in manifest.blobs:
            if not distribution.has_blob(session, blob):
                say(f"pushing {blob.digest[:19]}… ({blob.size_bytes} bytes)")
                distribution.put_blob(session, blob, blob_path(folder, blob.digest))
                moved.append(blob)
        distribution.put_manifest(session, manifest, tag)
    return Transfer(
        package=package,
        address=address,
        digest=manifest.digest,
        moved=tuple(moved),
        kept=tuple(each for each in manifest.blobs if each not in moved),
        is_signature_checked=is_checked,
    )


def pull(address: Address, folder: Path, keys: Path, access: Access, say: Say) -> Transfer:
    """Pull a package from an OCI registry into a layout, which is made if it is missing.

    Nothing of it is in the folder before all of it is, checked. A version that is there never
    changes. An address without tag and digest means the highest version number.

    Raises:
        NotTrusted: bytes are not what was asked for, or not what a key of the root signed.
        Conflict: the folder has another package of that name.
        EdgeopsError: see ``packaging.oci.staging`` and ``integrations.oci_registry``.
    """
    moved: list[Descriptor] = []
    with _session(address, "pull", access, say) as session:
        which = address.digest or address.tag or distribution.newest(session)
        if address.digest is None:
            address = Address(host=address.host, repository=address.repository, tag=which)
        manifest = distribution.get_manifest(session, which)
        size_bytes = sum(each.size_bytes for each in manifest.blobs)
        if size_bytes > access.limits.max_package_bytes:
            raise RegistryRefused(f"{address} is of {size_bytes} bytes, which is too large")
        with staged(folder) as staging, _said_of(address, staging):
            missing = [each for each in manifest.blobs if not staging.has(each)]
            staging.make_room(sum(each.size_bytes for each in missing))
            for blob in missing:
                say(f"pulling {blob.digest[:19]}… ({blob.size_bytes} bytes)")
                distribution.get_blob(session, blob, staging.path_of(blob))
                moved.append(blob)
            package = staging.read(manifest)
            is_checked = _is_trusted(package, keys, say)
            is_new = staging.keep(manifest, package)
    return Transfer(
        package=package,
        address=address,
        digest=manifest.digest,
        moved=tuple(moved),
        kept=tuple(each for each in manifest.blobs if each not in moved),
        is_signature_checked=is_checked,
        is_new=is_new,
    )


def _tag(address: Address, number: str) -> str:
    """Return the tag that a version gets.

    Raises:
        InvalidInput: a digest, or the number of another version: that is its name.
    """
    if address.digest is not None:
        raise InvalidInput("a push needs a tag, not a digest", next_step="leave the digest out")
    if address.tag is not None and address.tag.isdigit() and address.tag != number:
        raise InvalidInput(
            f"the tag {address.tag} is the name of another version than {number}",
            next_step="leave the tag out, or give one that is no number",
        )
    return address.tag or number


def _session(address: Address, actions: str, access: Access, say: Say) -> Session:
    return Session(
        address,
        actions=actions,
        credentials=access.credentials,
        plain_http=access.plain_http,
        limits=access.limits,
        say=say,
    )


def _is_trusted(package: Package, keys: Path, say: Say) -> bool:
    """Check the signature, if there is something to check it against.

    Raises:
        NotTrusted: there is, and it does not fit.
    """
    try:
        root = KeyFolder(keys).root()
    except NotFound:
        say(f"the signature of {package.reference} was NOT checked: no root of trust in {keys}")
        return False
    verify_package(package, root.keys_of("targets"), verify_signature)
    return True


def _refuse_another(there: Digest | None, manifest: OciManifest, address: Address) -> None:
    if there is not None and there != manifest.digest:
        raise Conflict(
            f"{address} is another package ({there[:19]}…); a version never changes",
            next_step="package it with the next number, or give another tag",
        )


@contextmanager
def _said_of(address: Address, staging: Staging) -> Iterator[None]:
    """Name the address, not the folder that a package waits in, in what is wrong with it."""
    try:
        yield
    except (InvalidPackage, NotTrusted) as error:
        cause = str(error).replace(str(staging.path), str(address))
        raise type(error)(cause, next_step=error.next_step) from error
