"""`edgeops lineage`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from rich.markup import escape
from rich.tree import Tree

from edgeops.cli.output import ago, console, errors_shown, output_option, show_json
from edgeops.cli.settings import Settings


@click.command()
@click.argument("reference")
@output_option
@click.pass_obj
@errors_shown
def lineage(settings: Settings, reference: str, output: str) -> None:
    """Show where a version comes from and where it went: NAME:VERSION, NAME@ALIAS, or NAME.

    What it was made from, with its parents; what was measured of it and what was waived; the
    alarm that it answers; the rollouts that brought it to devices.
    """
    found = settings.client().lineage(reference)
    if output == "json":
        show_json(found)
        return
    tree = Tree(escape(f"{found['reference']}  {found['digest']}"), highlight=False)
    tree.add(escape(_published(found)))
    if found["aliases"]:
        tree.add(escape("aliases: " + ", ".join(found["aliases"])))
    _add(tree, "made from", _keys(found["lineage"]))
    if found["alarm"]:
        tree.add(escape(_alarm(found["alarm"])))
    if found["retraining"]:
        tree.add(escape(f"retraining {found['retraining']}"))
    _add(tree, "variants", [_variant(each) for each in found["variants"]])
    _add(tree, "waived", [f"{each['gate']}: {each['reason']}" for each in found["waivers"]])
    _add(tree, "rollouts", [_rollout(each) for each in found["rollouts"]])
    _add_parents(tree, found)
    console.print(tree)


def _add_parents(tree: Tree, found: Mapping[str, Any]) -> None:
    """Hang each parent below the one that it is the parent of."""
    for each in found["ancestors"]:
        tree = tree.add(escape(f"parent {each['reference']}  {each['digest']}"))
        tree.add(escape(_published(each)))
        for line in _keys(each["lineage"]):
            tree.add(escape(line))
    if found["chain_end"]:
        tree.add(escape(f"parent {found['chain_end']}"))


def _add(tree: Tree, title: str, lines: list[str]) -> None:
    if lines:
        branch = tree.add(title)
        for line in lines:
            branch.add(escape(line))


def _keys(lineage: Mapping[str, str]) -> list[str]:
    return [f"{key}: {value}" for key, value in lineage.items()]


def _published(each: Mapping[str, Any]) -> str:
    return f"published {ago(each['created_s'])} ago by {each['created_by']}"


def _alarm(each: Mapping[str, Any]) -> str:
    if not each["known"]:
        return f"alarm {each['id']}: not on this hub"
    where = f", {each['cohort']}" if each["cohort"] else ""
    return f"alarm {each['id']}: {each['kind']} of {each['reference']} on {each['devices']}{where}"


def _variant(each: Mapping[str, Any]) -> str:
    said = f"{each['runtime']} for {', '.join(each['profiles'])}"
    if each["recipe"] is None:
        return f"{said}: not measured"
    return (
        f"{said}: {each['recipe']}, accuracy {each['accuracy']:.3f}, "
        f"drop {each['drop_low']:+.4f} to {each['drop_high']:+.4f} "
        f"({each['confidence']:.0%}, {each['rows']} rows)"
    )


def _rollout(each: Mapping[str, Any]) -> str:
    why = f" ({each['why']})" if each["why"] and each["state"] != "completed" else ""
    return f"{each['id']}: {each['state']}, {each['committed']} of {each['devices']} committed{why}"
