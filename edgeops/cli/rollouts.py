"""`edgeops rollout`."""

from __future__ import annotations

import sys
from typing import Any

import click
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from edgeops.cli.output import (
    EXIT_FAILED,
    EXIT_ROLLED_BACK,
    EXIT_TIMEOUT,
    ago,
    console,
    errors_shown,
    output_option,
    say,
    show_json,
    show_table,
)
from edgeops.cli.settings import Settings
from edgeops.domain.errors import InvalidInput

STATE_STYLES = {
    "committed": "green",
    "completed": "green",
    "failed": "red",
    "rolled_back": "red",
    "timed_out": "red",
    "reverting": "yellow",
    "reverted": "yellow",
    "working": "cyan",
    "waiting": "dim",
    "untouched": "dim",
}


@click.group()
def rollout() -> None:
    """Bring a version to devices in waves; stop and take back what harms."""


@rollout.command()
@click.argument("version")
@click.option("--selector", required=True, help="Which devices: site=oslo, profile=…, or all.")
@click.option("--canary", default=1, show_default=True, help="Devices in the first wave.")
@click.option("--steps", default="50%,100%", show_default=True, help="Share after each next wave.")
@click.option("--max-failures", default=0, show_default=True, help="Failures that are tolerated.")
@click.option(
    "--on-failure",
    type=click.Choice(["rollback", "pause"]),
    default="rollback",
    show_default=True,
    help="What more failures than that lead to.",
)
@click.option("--device-timeout", default=1800.0, show_default=True, help="Seconds for a device.")
@click.option("--bake", default=0.0, show_default=True, help="Seconds between waves.")
@click.option(
    "--probation",
    "probation",
    multiple=True,
    metavar="RULE=VALUE",
    help="Override a probation rule, e.g. min_inferences=50; may be repeated.",
)
@click.option(
    "--window",
    metavar="[DAYS ]HH:MM-HH:MM",
    help="Activate only then, in each device's own time zone: 02:00-04:00, sat,sun 22:00-04:00.",
)
@click.option(
    "--hold", is_flag=True, help="Download only; activate with: edgeops rollout activate."
)
@click.option("--wait", is_flag=True, help="Wait for the end; exit code 4 if it rolled back.")
@click.option("--timeout", type=float, help="Seconds to wait at most; exit code 5 after that.")
@output_option
@click.pass_obj
@errors_shown
def create(settings: Settings, /, version: str, output: str, **given: Any) -> None:
    """Roll out VERSION (NAME:NUMBER or NAME@ALIAS) to the devices of a selector."""
    begun = settings.client().create_rollout(
        version,
        selector=given["selector"],
        canary=given["canary"],
        steps=_steps(given["steps"]),
        max_failures=given["max_failures"],
        on_failure=given["on_failure"],
        device_timeout_s=given["device_timeout"],
        download_timeout_s=given["device_timeout"],
        bake_s=given["bake"],
        probation=_probation(given["probation"]),
        window=_window(given["window"]),
        hold=given["hold"],
    )
    if not given["wait"]:
        show_json(begun) if output == "json" else click.echo(begun["id"])
        return
    say(f"rollout {begun['id']}: {begun['reference']} to {len(begun['members'])} devices")
    _follow(settings, begun["id"], given["timeout"], output)


@rollout.command("list")
@output_option
@click.pass_obj
@errors_shown
def list_rollouts(settings: Settings, output: str) -> None:
    """List rollouts."""
    found = settings.client().rollouts()
    if output == "json":
        show_json(found)
        return
    rows = [
        (
            each["id"],
            each["reference"],
            each["state"],
            f"{sum(m['state'] == 'committed' for m in each['members'])}/{len(each['members'])}",
            ago(each["created_s"]) + " ago",
            each["why"],
        )
        for each in found
    ]
    columns = ("ROLLOUT", "VERSION", "STATE", "COMMITTED", "BEGUN", "WHY")
    show_table(columns, rows, "no rollouts yet: edgeops rollout create NAME:VERSION --selector …")


@rollout.command()
@click.argument("rollout_id", metavar="ROLLOUT")
@output_option
@click.pass_obj
@errors_shown
def show(settings: Settings, rollout_id: str, output: str) -> None:
    """Show a rollout and each device's part in it."""
    found = settings.client().rollout(rollout_id)
    show_json(found) if output == "json" else console.print(_view(found))


@rollout.command()
@click.argument("rollout_id", metavar="ROLLOUT")
@click.option("--timeout", type=float, help="Seconds to watch at most; exit code 5 after that.")
@output_option
@click.pass_obj
@errors_shown
def watch(settings: Settings, rollout_id: str, timeout: float | None, output: str) -> None:
    """Watch a rollout live until it has ended; exit code 4 if it rolled back."""
    _follow(settings, rollout_id, timeout, output)


def _steering(trigger: str, doing: str, text: str) -> click.Command:
    @click.command(trigger, help=text)
    @click.argument("rollout_id", metavar="ROLLOUT")
    @click.option("--reason", default="", help="Why; kept in the audit.")
    @click.pass_obj
    @errors_shown
    def command(settings: Settings, rollout_id: str, reason: str) -> None:
        now = settings.client().steer(rollout_id, trigger, reason)
        say(f"{doing} {rollout_id}: it is {now['state']}")

    return command


rollout.add_command(_steering("pause", "paused", "Open no further wave until resumed."))
rollout.add_command(_steering("resume", "resumed", "Go on with a paused rollout."))
rollout.add_command(
    _steering("activate", "activating", "Let devices activate what they staged with --hold.")
)
rollout.add_command(
    _steering("abort", "aborted", "End it: who has committed keeps the version, others go back.")
)
rollout.add_command(
    _steering("rollback", "rolling back", "Take the version back from every device that has it.")
)


def _follow(settings: Settings, rollout_id: str, timeout: float | None, output: str) -> None:
    hub = settings.client()
    try:
        if console.is_terminal and output == "table":
            with Live(console=console, refresh_per_second=4) as live:
                end = hub.wait_for_rollout(
                    rollout_id, timeout_s=timeout, on_change=lambda r: live.update(_view(r))
                )
        else:
            end = hub.wait_for_rollout(
                rollout_id, timeout_s=timeout, on_change=_ChangePrinter(output)
            )
    except TimeoutError as error:
        say(f"error: {error}")
        say(f"next:  it goes on without you: edgeops rollout watch {rollout_id}")
        sys.exit(EXIT_TIMEOUT)
    if output == "json":
        show_json(end)
    else:
        say(f"rollout {rollout_id} {end['state']}" + (f": {end['why']}" if end["why"] else ""))
    if end["state"] == "rolled_back":
        sys.exit(EXIT_ROLLED_BACK)
    if end["state"] == "aborted":
        sys.exit(EXIT_FAILED)


class _ChangePrinter:
    """Prints a line for each change of a device's state, where there is no terminal."""

    def __init__(self, output: str) -> None:
        self._quiet = output == "json"
        self._known: dict[str, str] = {}

    def __call__(self, seen: dict[str, Any]) -> None:
        for member in seen["members"]:
            state = _state(member)
            if self._known.get(member["device"], "waiting") != state and not self._quiet:
                why = f"  {_why(member)}" if _why(member) else ""
                click.echo(f"  wave {member['wave']}  {member['device']:<14} {state}{why}")
            self._known[member["device"]] = state


def _view(seen: dict[str, Any]) -> Table:
    wave = f"wave {seen['wave'] + 1} of {seen['waves']}" if seen["wave"] >= 0 else "not begun"
    title = f"{seen['id']}  {seen['reference']}  {seen['state']}  {wave}"
    table = Table(
        title=title + (f"\n{escape(seen['why'])}" if seen["why"] else ""),
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
    )
    for column in ("WAVE", "DEVICE", "STATE", "BEFORE", "WHY"):
        table.add_column(column, overflow="fold")
    for member in seen["members"]:
        style = STATE_STYLES.get(member["state"], "")
        state = _state(member)
        table.add_row(
            str(member["wave"]),
            member["device"],
            f"[{style}]{state}[/{style}]" if style else state,
            "" if member["previous"] is None else str(member["previous"]),
            escape(_why(member)),
        )
    return table


def _state(member: dict[str, Any]) -> str:
    if member["state"] == "working":
        return str(member["device_state"])
    return str(member["state"])


def _why(member: dict[str, Any]) -> str:
    return ": ".join(said for said in (member["reason"], member["detail"]) if said)


def _steps(text: str) -> list[int]:
    try:
        return [int(part.strip().removesuffix("%")) for part in text.split(",")]
    except ValueError as error:
        raise InvalidInput(
            f"{text!r} are no steps", next_step="for example --steps 10%,50%,100%"
        ) from error


def _window(text: str | None) -> str:
    """Return the window, empty without one. An unset shell variable is no wish to do without."""
    if text is not None and not text.strip():
        raise InvalidInput(
            "the window is empty",
            next_step="give one, e.g. --window 02:00-04:00, or leave --window out: then a version "
            "is activated at any time",
        )
    return text or ""


def _probation(texts: tuple[str, ...]) -> dict[str, float]:
    rules: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            rules[name] = float(value)
        except ValueError as error:
            raise InvalidInput(
                f"{text!r} is no rule", next_step="for example --probation min_inferences=50"
            ) from error
    return rules
