"""The calls of the distribution API that packages need.

=========================================  ====================================
call                                       endpoint of the specification
=========================================  ====================================
``has_blob``                               end-2, ``HEAD …/blobs/DIGEST``
``get_blob``                               end-2, ``GET …/blobs/DIGEST``
``put_blob``                               end-4a and end-6, ``POST`` then ``PUT``
``get_manifest``                           end-3, ``GET …/manifests/REFERENCE``
``put_manifest``                           end-7, ``PUT …/manifests/TAG``
``tags``                                   end-8, ``GET …/tags/list``
=========================================  ====================================
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import quote

import httpx

from device_agent.protocol.codec import decode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import Digest, digest_of
from edgeops.domain.errors import NotFound, NotTrusted
from edgeops.integrations.oci_registry.errors import RegistryRefused
from edgeops.integrations.oci_registry.session import Ask, Session
from edgeops.packaging.oci.manifest import OciManifest, pieces
from edgeops.packaging.oci.words import OCI_MANIFEST, Descriptor

MAX_TAGS = 4096
"""On one page of a list."""
PROGRESS_BYTES = 32 * 1024 * 1024
"""Larger blobs say how far they are, each time that so much more is done."""
_NEXT = re.compile(r'\s*<([^>]*)>\s*;.*\brel="?next\b', re.IGNORECASE)


def has_blob(session: Session, blob: Descriptor) -> bool:
    """Tell whether the registry has a blob in this repository."""
    ask = Ask(method="HEAD", url=_blob_url(session, blob), expected=(200, 404), follows=True)
    return session.patiently(
        lambda: session.once(ask, lambda response: response.status_code == 200)
    )


def put_blob(session: Session, blob: Descriptor, path: Path) -> None:
    """Upload a file as a blob; the registry checks its digest.

    Raises:
        EdgeopsError: see ``Session.once``.
    """
    begin = Ask(method="POST", url=session.url("blobs/uploads/"), expected=(202,))

    def upload() -> None:
        # Anew for each try: an upload that broke off is not gone on with.
        where = session.once(begin, session.named)
        ask = Ask(
            method="PUT",
            url=f"{where}{'&' if '?' in where else '?'}digest={quote(blob.digest, safe='')}",
            expected=(201,),
            headers={
                "content-length": str(blob.size_bytes),
                "content-type": "application/octet-stream",
            },
            body=lambda: _told(session, blob, pieces(path)),
        )
        session.once(ask, lambda response: response.status_code)

    session.patiently(upload)


def get_blob(session: Session, blob: Descriptor, path: Path) -> None:
    """Download a blob into a file, which is complete and checked afterwards, or not there.

    Raises:
        NotFound: the registry has none.
        NotTrusted: it sends something else.
        OSError: the disk said no.
    """
    ask = Ask(method="GET", url=_blob_url(session, blob), expected=(200,), follows=True)
    try:
        session.patiently(
            lambda: session.once(ask, lambda response: _save(session, response, blob, path))
        )
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def get_manifest(session: Session, reference: str) -> OciManifest:
    """Return the manifest that a tag or a digest names.

    Raises:
        NotFound: there is none.
        NotTrusted: it does not have the digest that it was asked for by.
        InvalidPackage: it is something else.
    """
    ask = Ask(
        method="GET",
        url=session.url(f"manifests/{reference}"),
        expected=(200,),
        headers={"accept": OCI_MANIFEST},
        follows=True,
    )
    data = session.patiently(lambda: session.once(ask, session.body))
    if reference.startswith("sha256:") and digest_of(data) != reference:
        raise _other(session, f"manifest {reference}")
    return OciManifest.from_bytes(data)


def digest_at(session: Session, tag: str) -> Digest | None:
    """Return the digest of what a tag names, whatever it is; None if it names nothing."""
    ask = Ask(
        method="GET",
        url=session.url(f"manifests/{tag}"),
        expected=(200, 404),
        headers={"accept": f"{OCI_MANIFEST}, */*"},
        follows=True,
    )

    def digest(response: httpx.Response) -> Digest | None:
        return digest_of(session.body(response)) if response.status_code == 200 else None

    return session.patiently(lambda: session.once(ask, digest))


def put_manifest(session: Session, manifest: OciManifest, tag: str) -> None:
    """Give a package its tag; what the manifest points to must be there already.

    Raises:
        NotTrusted: the registry keeps it under another digest than it has.
    """
    ask = Ask(
        method="PUT",
        url=session.url(f"manifests/{tag}"),
        expected=(201,),
        headers={"content-type": OCI_MANIFEST, "content-length": str(len(manifest.data))},
        body=lambda: (manifest.data,),
    )

    def kept(response: httpx.Response) -> str:
        return str(response.headers.get("docker-content-digest", manifest.digest))

    if session.patiently(lambda: session.once(ask, kept)) != manifest.digest:
        raise _other(session, f"manifest {manifest.digest}")


def newest(session: Session) -> str:
    """Return the tag of the highest version number.

    Raises:
        NotFound: no tag of the repository is a number.
    """
    numbers = [int(tag) for tag in tags(session) if re.fullmatch(r"[1-9][0-9]{0,9}", tag)]
    if not numbers:
        raise NotFound(
            f"no version number is among the tags of {session.address}",
            next_step="name a tag or a digest",
        )
    return str(max(numbers))


def tags(session: Session) -> Iterator[str]:
    """Yield the tags of the repository, page by page.

    Raises:
        RegistryRefused: this is no list, or it does not end.
    """
    url: str | None = session.url("tags/list")
    for _ in range(session.limits.max_pages):
        if url is None:
            return
        found, url = session.patiently(partial(_page, session, url))
        yield from found
    if url is not None:
        raise RegistryRefused(
            f"the tags of {session.address} do not end", next_step="name a tag or a digest"
        )


def _page(session: Session, url: str) -> tuple[tuple[str, ...], str | None]:
    """Return a page of tags, and where the next one is."""

    def read(response: httpx.Response) -> tuple[tuple[str, ...], str | None]:
        document = decode(session.body(response), max_bytes=session.limits.max_body_bytes)
        fields = Fields(document, "list of tags")
        found = fields.texts("tags", max_items=MAX_TAGS) if fields.has("tags") else ()
        link = _NEXT.match(response.headers.get("link", ""))
        return found, session.joined(response, link[1]) if link else None

    try:
        return session.once(Ask(method="GET", url=url, expected=(200,), follows=True), read)
    except ProtocolError as error:
        raise RegistryRefused(f"{session.address} has no list of tags: {error}") from error


def _save(session: Session, response: httpx.Response, blob: Descriptor, path: Path) -> None:
    length = response.headers.get("content-length", str(blob.size_bytes))
    if length != str(blob.size_bytes):
        raise _other(session, f"blob {blob.digest} of {blob.size_bytes} bytes (it says {length})")
    found = hashlib.sha256()
    with path.open("wb") as file:
        for piece in _told(session, blob, session.stream(response, blob.size_bytes)):
            found.update(piece)
            file.write(piece)
        is_whole = file.tell() == blob.size_bytes
    if not is_whole or f"sha256:{found.hexdigest()}" != blob.digest:
        raise _other(session, f"blob {blob.digest}")


def _told(session: Session, blob: Descriptor, data: Iterator[bytes]) -> Iterator[bytes]:
    """Pass a blob on, and say how far it is if it is large."""
    done, told = 0, 0
    for piece in data:
        yield piece
        done += len(piece)
        if done - told >= PROGRESS_BYTES and done < blob.size_bytes:
            told = done
            session.say(f"  {done * 100 // blob.size_bytes} % of {blob.digest[:19]}…")


def _blob_url(session: Session, blob: Descriptor) -> str:
    return session.url(f"blobs/{blob.digest}")


def _other(session: Session, what: str) -> NotTrusted:
    return NotTrusted(
        f"the registry {session.address.host} has something else than the {what}",
        next_step="push the package again, or use another registry",
    )
