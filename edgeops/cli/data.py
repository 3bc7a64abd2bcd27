"""`edgeops data`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgeops.cli.output import ago, errors_shown, output_option, say, show_json, show_table
from edgeops.cli.settings import Settings
from edgeops.domain.errors import InvalidInput


@click.group()
def data() -> None:
    """Keep data sets: versions of labelled rows, named by their content."""


@data.command()
@click.argument("name")
@click.argument("file", required=False, type=click.Path(path_type=Path, dir_okay=False))
@click.option("--samples", metavar="MODEL", help="Take the labelled samples of MODEL instead.")
@output_option
@click.pass_obj
@errors_shown
def add(settings: Settings, name: str, file: Path | None, samples: str | None, output: str) -> None:
    """Add a version of data set NAME from FILE (.npz with x and y), or from samples.

    The same content again gives the version that it was.
    """
    if (file is None) == (samples is None):
        raise InvalidInput("give a FILE, or --samples MODEL", next_step="edgeops data add --help")
    with settings.client() as hub:
        if samples is not None:
            added = hub.add_samples(name, samples)
        else:
            added = hub.add_data(name, _read(file), file.name if file else "")
    if output == "json":
        show_json(added)
        return
    say(f"{added['reference']}: {added['rows']} rows, {added['digest']}")


@data.command("list")
@output_option
@click.pass_obj
@errors_shown
def list_data(settings: Settings, output: str) -> None:
    """List every version of every data set."""
    found = settings.client().data()
    if output == "json":
        show_json(found)
        return
    rows = [
        (
            each["reference"],
            each["rows"],
            "yes" if each["labelled"] else "no",
            _origin(each),
            f"{ago(each['created_s'])} ago",
        )
        for each in found
    ]
    heads = ("DATA SET", "ROWS", "LABELS", "FROM", "ADDED")
    show_table(heads, rows, "no data sets yet: edgeops data add")


@data.command()
@click.argument("reference")
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="Write the rows (.npz) there."
)
@output_option
@click.pass_obj
@errors_shown
def show(settings: Settings, reference: str, out: Path | None, output: str) -> None:
    """Show a version of a data set: NAME:NUMBER, or NAME for the newest."""
    with settings.client() as hub:
        found = hub.data_set(reference)
        if out is not None:
            _write(out, hub.get_blob(found["digest"]))
    if output == "json":
        show_json(found)
        return
    say(f"{found['reference']}  {found['digest']}")
    say(f"{found['rows']} rows, {'with' if found['labelled'] else 'without'} labels")
    say(f"from {_origin(found)}, added {ago(found['created_s'])} ago by {found['created_by']}")


def _origin(each: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(each["origin"].items()))


def _read(file: Path | None) -> bytes:
    try:
        return file.read_bytes() if file is not None else b""
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read: {error.strerror or error}") from error


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise InvalidInput(f"{file} cannot be written: {error.strerror or error}") from error
