"""`edgeops recipes`."""

from __future__ import annotations

from pathlib import Path

import click

from edgeops.cli.output import errors_shown, output_option, show_json, show_table


@click.group()
def recipes() -> None:
    """Look at how artifacts can be made."""


@recipes.command("list")
@output_option
@errors_shown
def list_recipes(output: str) -> None:
    """List the ready recipes."""
    from edgeops.packaging.recipes import RECIPES

    if output == "json":
        show_json([each.to_document() for each in RECIPES.values()])
        return
    rows = [
        (
            each.name,
            f".{each.format}",
            each.precision,
            each.calibration or "",
            each.granularity or "",
            ", ".join(each.operators).replace("*", "all that can be"),
        )
        for each in RECIPES.values()
    ]
    show_table(("RECIPE", "MAKES", "PRECISION", "CALIBRATION", "SCALES", "OPERATORS"), rows)


@recipes.command("show")
@click.argument("recipe")
@errors_shown
def show_recipe(recipe: str) -> None:
    """Show a recipe as JSON: a ready one, or a file of yours, checked.

    Save it, change it, and give it to: edgeops package --recipe FILE.json
    """
    from edgeops.packaging.recipes import parse_recipe, read_recipe

    is_file = recipe.endswith(".json")
    show_json((read_recipe(Path(recipe)) if is_file else parse_recipe(recipe)).to_document())
