"""`edgeops keys`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeops.cli.output import errors_shown, say
from edgeops.cli.settings import Settings


@click.group()
def keys() -> None:
    """Make and look at signing keys."""


@keys.command()
@click.option(
    "--keys",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder.  [default: HOME/keys]",
)
@click.pass_obj
@errors_shown
def init(settings: Settings, folder: Path | None) -> None:
    """Make the root, targets and director keys, and the root of trust.

    targets.key signs packages: keep it with those who package. director.key signs what devices
    are told to run: the hub needs it. root.key changes the other two: keep it offline.
    """
    from edgeops.trust.keys import KeyFolder

    where = folder or settings.keys
    made = KeyFolder(where)
    made.init()
    say(f"made root.key, targets.key, director.key and root.json in {where}")
    say("keep root.key offline; the hub needs only director.key and root.json")
