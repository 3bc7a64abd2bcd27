"""`edgeops diff`."""

from __future__ import annotations

import dataclasses

import click

from edgeops.cli.output import errors_shown, output_option, say, show_json, show_table
from edgeops.cli.package_source import read_package
from edgeops.cli.settings import Settings

WIDEST = 60


@click.command()
@click.argument("before", metavar="NAME:VERSION|PATH")
@click.argument("after", metavar="NAME:VERSION|PATH")
@output_option
@click.pass_obj
@errors_shown
def diff(settings: Settings, before: str, after: str, output: str) -> None:
    """Show what differs between two packages: data, recipe, evidence, graph, serving, tools.

    A folder is an OCI layout with one package. NAME:VERSION is taken from the hub if one is known,
    else from HOME/packages. Who signed them is for `edgeops verify` to say.
    """
    from edgeops.packaging.record.compare import compare
    from edgeops.packaging.record.rebuild import record_of
    from edgeops.packaging.verify import check_blobs

    one, other = read_package(settings, before, None), read_package(settings, after, None)
    for each in (one, other):
        check_blobs(each)
    changes = compare(one, other, record_of(one), record_of(other))
    if output == "json":
        show_json([dataclasses.asdict(each) for each in changes])
        return
    rows = [
        (each.section, each.what, _short(each.before) or "-", _short(each.after) or "-")
        for each in changes
    ]
    show_table(("", "WHAT", one.reference, other.reference), rows, "they do not differ")
    if one.digest == other.digest:
        say(f"both are {one.digest}")


def _short(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"
