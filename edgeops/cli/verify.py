"""`edgeops verify`."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click

from edgeops.cli.output import EXIT_FAILED, errors_shown, output_option, say, show_json, show_table
from edgeops.cli.package_source import read_package
from edgeops.cli.settings import Settings


@click.command()
@click.argument("package", metavar="NAME:VERSION|PATH")
@click.option("--ref", help="Which package of the folder, e.g. kws:2.  [default: the only one]")
@click.option("--rebuild", is_flag=True, help="Make its artifacts again, and compare the bytes.")
@click.option(
    "--keys",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with root.json, which says whom to trust.  [default: HOME/keys]",
)
@output_option
@click.pass_obj
@errors_shown
def verify(
    settings: Settings, package: str, ref: str | None, rebuild: bool, keys: Path | None, output: str
) -> None:
    """Verify a package: signature, every byte, golden answers; with --rebuild, its making.

    A folder is an OCI layout as `edgeops package` writes it. NAME:VERSION is taken from the hub if
    one is known, else from HOME/packages. Exit code 6: not trusted; 1: it is signed, but answers or
    bytes are others than they were.
    """
    from edgeops.service import verification

    found = verification.verify(
        read_package(settings, package, ref),
        keys or settings.keys,
        settings.home / "cache",
        say,
        rebuild=rebuild,
    )
    if output == "json":
        show_json([dataclasses.asdict(each) for each in found])
    else:
        marks = {"ok": "ok", "skipped": "-", "error": "ERROR"}
        rows = [(marks[each.state], each.subject, each.what) for each in found]
        show_table(("", "VERIFIED", "FOUND"), rows)
    if any(each.state == "error" for each in found):
        sys.exit(EXIT_FAILED)
