"""`edgeops push|pull`: packages to and from OCI registries."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from edgeops.cli.output import errors_shown, output_option, say, show_json, show_table, size
from edgeops.cli.settings import Settings

MAX_PASSWORD = 64 * 1024
F = TypeVar("F", bound=Callable[..., Any])


def access_options(command: F) -> F:
    """Add the options by which a registry and a layout folder are reached."""
    for option in reversed(
        (
            click.option(
                "--layout",
                type=click.Path(path_type=Path, file_okay=False),
                help="OCI image layout folder.  [default: HOME/packages]",
            ),
            click.option(
                "--keys",
                type=click.Path(path_type=Path, file_okay=False),
                help="Key folder with root.json, to check the signature.  [default: HOME/keys]",
            ),
            click.option(
                "--username", help="User of the registry.  [default: of Docker's config.json]"
            ),
            click.option(
                "--password-stdin", is_flag=True, help="Read the password from standard input."
            ),
            click.option(
                "--plain-http", is_flag=True, help="Speak HTTP with a registry elsewhere, too."
            ),
            output_option,
        )
    ):
        command = option(command)
    return command


@click.command()
@click.argument("reference", metavar="NAME:VERSION")
@click.argument("address", metavar="oci://HOST[:PORT]/REPO[:TAG]")
@access_options
@click.pass_obj
@errors_shown
def push(settings: Settings, /, reference: str, address: str, output: str, **given: Any) -> None:
    """Push a package from an OCI layout folder to an OCI registry.

    Sends what the registry lacks, then the manifest. Without TAG it is the version's number,
    which is never moved.
    """
    from edgeops.integrations.oci_registry.address import parse_address
    from edgeops.service import oci_registry

    where = parse_address(address)
    folder = given["layout"] or settings.home / "packages"
    done = oci_registry.push(
        reference, folder, where, given["keys"] or settings.keys, _access(where, given), say
    )
    say(f"pushed {done.package.reference} to {done.address}")
    _show(done, folder, output)


@click.command()
@click.argument("address", metavar="oci://HOST[:PORT]/REPO[:TAG|@sha256:…]")
@access_options
@click.pass_obj
@errors_shown
def pull(settings: Settings, /, address: str, output: str, **given: Any) -> None:
    """Pull a package from an OCI registry into an OCI layout folder.

    Without TAG and digest it is the highest version number. `edgeops publish` then brings it
    to a hub.
    """
    from edgeops.integrations.oci_registry.address import parse_address
    from edgeops.service import oci_registry

    where = parse_address(address)
    folder = given["layout"] or settings.home / "packages"
    done = oci_registry.pull(
        where, folder, given["keys"] or settings.keys, _access(where, given), say
    )
    word = "pulled" if done.is_new else "already there:"
    say(f"{word} {done.package.reference} in {folder}")
    _show(done, folder, output)


def _access(where: Any, given: dict[str, Any]) -> Any:
    from edgeops.integrations.oci_registry import credentials
    from edgeops.service.oci_registry import Access

    username, from_stdin = given["username"], given["password_stdin"]
    if (username is not None) != from_stdin:
        raise click.UsageError("--username and --password-stdin belong together")
    if username is not None:
        password = sys.stdin.readline(MAX_PASSWORD).rstrip("\r\n")
        known = credentials.given(username, password)
    else:
        folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
        known = credentials.stored(folder / "config.json", where.host)
    return Access(credentials=known, plain_http=given["plain_http"])


def _show(done: Any, folder: Path, output: str) -> None:
    moved = {each.digest for each in done.moved}
    blobs = sorted((*done.moved, *done.kept), key=lambda each: str(each.media_type))
    if output == "json":
        show_json(
            {
                "reference": done.package.reference,
                "package": done.package.digest,
                "address": str(done.address),
                "pinned": done.pinned,
                "digest": done.digest,
                "folder": str(folder),
                "signature": "checked" if done.is_signature_checked else "not checked",
                "blobs": [
                    {
                        "digest": each.digest,
                        "media_type": each.media_type,
                        "size_bytes": each.size_bytes,
                        "moved": each.digest in moved,
                    }
                    for each in blobs
                ],
            }
        )
        return
    rows = [
        (
            each.media_type,
            size(each.size_bytes),
            "moved" if each.digest in moved else "was there",
        )
        for each in blobs
    ]
    show_table(("BLOB", "SIZE", ""), rows)
    click.echo(f"{done.package.reference} {done.pinned}")
