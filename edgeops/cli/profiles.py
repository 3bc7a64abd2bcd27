"""`edgeops profiles`."""

from __future__ import annotations

import dataclasses

import click

from edgeops.cli.output import errors_shown, output_option, show_json, show_table


@click.group()
def profiles() -> None:
    """Look at board classes and what they can run."""


@profiles.command("list")
@output_option
@errors_shown
def list_profiles(output: str) -> None:
    """List profiles."""
    from edgeops.packaging.profiles import load_profiles

    found = load_profiles()
    if output == "json":
        show_json([dataclasses.asdict(each) for each in found.values()])
        return
    rows = [(each.id, each.name, ", ".join(each.runtimes)) for each in found.values()]
    show_table(("PROFILE", "BOARD", "RUNTIMES"), rows)


@profiles.command("show")
@click.argument("profile")
@errors_shown
def show_profile(profile: str) -> None:
    """Show a profile as JSON, with the sources of its figures."""
    from edgeops.packaging.profiles import find_profiles, load_profiles

    show_json(dataclasses.asdict(find_profiles([profile], load_profiles())[0]))
