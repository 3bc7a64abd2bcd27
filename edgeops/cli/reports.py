"""`edgeops report`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeops.cli.output import errors_shown, say, size
from edgeops.cli.settings import Settings
from edgeops.domain.errors import InvalidInput


@click.command()
@click.argument("model")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write, over one of that name.  [default: MODEL-report.html]",
)
@click.pass_obj
@errors_shown
def report(settings: Settings, model: str, out: Path | None) -> None:
    """Write a MODEL's life in the fleet as one HTML page that needs nothing else.

    Quantization, rollouts, drift, accuracy, bytes and lineage, as the hub knows them now. Drift
    and accuracy are drawn from the newest 4,000 windows that the hub keeps. It takes the extra:
    pip install 'edgeops[reports]'.
    """
    from edgeops.reports import render
    from edgeops.reports.exchange import facts_from_document

    facts = facts_from_document(settings.client().report(model))
    path = out or Path(f"{facts.model}-report.html")
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder", next_step="give a file: --out report.html")
    page = render(facts).encode()
    try:
        path.write_bytes(page)
    except OSError as error:
        raise InvalidInput(
            f"cannot write {path}: {error.strerror}", next_step="choose another file with --out"
        ) from error
    click.echo(path)
    say(f"wrote {size(len(page))}")
