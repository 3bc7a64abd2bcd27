"""`edgeops devices command`, `commands` and `announce`."""

from __future__ import annotations

import sys
from typing import Any

import click

from edgeops.cli.output import (
    EXIT_FAILED,
    EXIT_OK,
    EXIT_TIMEOUT,
    ago,
    errors_shown,
    output_option,
    plain,
    say,
    show_json,
    show_table,
)
from edgeops.cli.settings import Settings

KINDS = ("announce", "collect-logs", "restart", "self-test")


@click.command()
@click.argument("name")
@click.argument("kind", type=click.Choice(KINDS))
@click.option("--wait", is_flag=True, help="Wait for the outcome; exit code 1 if it is not done.")
@click.option(
    "--timeout",
    default=120.0,
    show_default=True,
    help="Seconds to wait at most; exit code 5 after that.",
)
@click.option(
    "--expires", default=300.0, show_default=True, help="Seconds in which the device may begin it."
)
@output_option
@click.pass_obj
@errors_shown
def command(
    settings: Settings,
    /,
    name: str,
    kind: str,
    wait: bool,
    timeout: float,
    expires: float,
    output: str,
) -> None:
    """Command device NAME: announce, collect-logs, restart or self-test; at most once.

    The device tells the outcome also after a lost connection or a restart: see it later with
    edgeops devices commands NAME.
    """
    hub = settings.client()
    given = hub.give_command(name, kind.replace("-", "_"), expires_in_s=expires)
    if not wait:
        show_json(given) if output == "json" else click.echo(given["id"])
        return
    say(f"asked {name}")
    try:
        shown = hub.wait_for_command(name, given["id"], timeout_s=timeout)
    except TimeoutError as error:
        say(f"error: {error}")
        say(f"next:  it may still come: edgeops devices commands {name} {given['id']}")
        sys.exit(EXIT_TIMEOUT)
    show_json(shown) if output == "json" else _show(shown)
    sys.exit(EXIT_OK if shown["state"] == "done" else EXIT_FAILED)


@click.command("commands")
@click.argument("name")
@click.argument("command_id", metavar="[COMMAND]", required=False)
@output_option
@click.pass_obj
@errors_shown
def list_commands(settings: Settings, name: str, command_id: str | None, output: str) -> None:
    """List the newest commands of device NAME, or show one COMMAND with everything it told."""
    hub = settings.client()
    if command_id is not None:
        shown = hub.command(name, command_id)
        show_json(shown) if output == "json" else _show(shown)
        return
    found = hub.commands(name)
    if output == "json":
        show_json(found)
        return
    rows = [
        (
            each["id"],
            each["kind"].replace("_", "-"),
            each["state"],
            f"{ago(each['issued_s'])} ago",
            each["given_by"],
            each["detail"],
        )
        for each in found
    ]
    columns = ("COMMAND", "KIND", "STATE", "GIVEN", "BY", "DETAIL")
    show_table(columns, rows, f"no commands yet: edgeops devices command {name} self-test")


@click.command()
@click.argument("name")
@click.pass_obj
@errors_shown
def announce(settings: Settings, name: str) -> None:
    """Have device NAME publish its state now: devices command NAME announce."""
    settings.client().give_command(name, "announce")
    say(f"asked {name}")


def _show(each: dict[str, Any]) -> None:
    detail = f": {each['detail']}" if each["detail"] else ""
    say(f"{each['device']} {each['kind'].replace('_', '-')} {each['state']}{detail}")
    for line in each["log"] or ():
        click.echo(plain(line))
    if each["models"]:
        rows = [
            (
                m["model"],
                m["version"],
                m["reason"] or "passed",
                _numbers(m["evidence"]),
                m["detail"],
            )
            for m in each["models"]
        ]
        show_table(("MODEL", "VERSION", "SELF-TEST", "MEASURED", "DETAIL"), rows)


def _numbers(evidence: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3g}" for name, value in sorted(evidence.items()))
