"""`edgeops report`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgeops.cli.output import errors_shown, say, size
from edgeops.cli.package_source import read_package
from edgeops.cli.settings import Settings
from edgeops.domain.errors import InvalidInput

if TYPE_CHECKING:
    from edgeops.reports.facts import ReportFacts
    from edgeops.reports.package_facts import PackageFacts


@click.command()
@click.argument("subject", metavar="MODEL|NAME:VERSION|PATH")
@click.option("--ref", help="Which package of the folder, e.g. kws:2.  [default: the only one]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write, over one of that name.  [default: MODEL-report.html, "
    "MODEL-VERSION-report.html]",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["html", "json", "card"]),
    default="html",
    show_default=True,
    help="A page; or, printed unless --out names a file, its facts, or a package's model card.",
)
@click.pass_obj
@errors_shown
def report(
    settings: Settings, subject: str, ref: str | None, out: Path | None, output: str
) -> None:
    """Write a model's life in the fleet, or a package, as one HTML page that needs nothing else.

    MODEL: quantization, rollouts, drift, accuracy, bytes and lineage, as the hub knows them now.
    Drift and accuracy are drawn from the newest 4,000 windows that the hub keeps.

    NAME:VERSION, from the hub if one is known, else from HOME/packages, or a folder PATH as
    `edgeops package` writes it: gates, before and after quantization, the search for the recipe,
    sensitivity, errors of the scores, memory, operators, the graph, origin.

    A page takes the extra: pip install 'edgeops[reports]'. JSON does not.
    """
    known = _package(settings, subject, ref) if _is_package(subject) else _life(settings, subject)
    if output == "html":
        _write(out or Path(f"{known.name}-report.html"), known.draw())
        return
    text = _as_json(known) if output == "json" else _as_card(known)
    if out is not None:
        _write(out, f"{text.rstrip()}\n")
    else:
        click.echo(text.rstrip())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What a report is of: its facts, its name in a file's name, and how its page is written."""

    facts: ReportFacts | PackageFacts
    name: str
    draw: Callable[[], str]


def _is_package(subject: str) -> bool:
    """Tell a package from a model, which may have a folder of its name beside it."""
    from edgeops.packaging.oci.layout import MARKER_FILE

    path = Path(subject)
    return (
        ":" in subject or "@" in subject or path.name != subject or (path / MARKER_FILE).is_file()
    )


def _life(settings: Settings, model: str) -> _Known:
    from edgeops.reports import render
    from edgeops.reports.exchange import facts_from_document

    facts = facts_from_document(settings.client().report(model))
    return _Known(facts=facts, name=facts.model, draw=lambda: render(facts))


def _package(settings: Settings, package: str, ref: str | None) -> _Known:
    from edgeops.reports import render_package
    from edgeops.service.package_report import gather

    facts = gather(read_package(settings, package, ref), settings.keys)
    name = f"{facts.model}-{facts.number}"
    return _Known(facts=facts, name=name, draw=lambda: render_package(facts))


def _as_json(known: _Known) -> str:
    from edgeops.reports.exchange import to_document

    return json.dumps(to_document(known.facts), indent=2, sort_keys=True, allow_nan=False)


def _as_card(known: _Known) -> str:
    from edgeops.reports.card import model_card
    from edgeops.reports.package_facts import PackageFacts

    if not isinstance(known.facts, PackageFacts):
        raise InvalidInput(
            "a model card is of a package", next_step=f"name a version: {known.name}:1"
        )
    return model_card(known.facts)


def _write(path: Path, text: str) -> None:
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder", next_step="give a file: --out report.html")
    data = text.encode()
    try:
        path.write_bytes(data)
    except OSError as error:
        raise InvalidInput(
            f"cannot write {path}: {error.strerror}", next_step="choose another file with --out"
        ) from error
    click.echo(path)
    say(f"wrote {size(len(data))}")
