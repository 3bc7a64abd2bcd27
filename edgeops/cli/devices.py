"""`edgeops devices`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from device_agent.protocol.ids import parse_device_id
from edgeops.cli.commands import announce, command, list_commands
from edgeops.cli.output import ago, errors_shown, output_option, say, show_json, show_table, size
from edgeops.cli.settings import Settings
from edgeops.domain.errors import InvalidInput
from edgeops.domain.fleet import parse_labels


@click.group()
def devices() -> None:
    """Enroll, list, name and command devices."""


for _command in (command, list_commands, announce):
    devices.add_command(_command)


@devices.command()
@click.argument("name")
@click.option("--profile", required=True, help="Board class: edgeops profiles list.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="May be repeated.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Enrolment file.  [default: NAME.enrolment.json]",
)
@click.pass_obj
@errors_shown
def enroll(
    settings: Settings, name: str, profile: str, labels: tuple[str, ...], out: Path | None
) -> None:
    """Enroll device NAME and write its enrolment file.

    The file holds the device's password for the broker, which the hub does not keep: bring it
    to the device on a safe way and start there: device-agent run --state DIR --enrolment FILE.
    """
    from edgeops.packaging.profiles import find_profiles, load_profiles

    find_profiles([profile], load_profiles())
    path = out or Path(f"{parse_device_id(name)}.enrolment.json")
    # The file first: a password that cannot be written would be lost, and the name taken.
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise InvalidInput(f"{path} exists", next_step="choose another file with --out") from error
    except OSError as error:
        raise InvalidInput(
            f"cannot write {path}: {error.strerror}", next_step="choose another file with --out"
        ) from error
    try:
        with os.fdopen(descriptor, "w") as file:
            answer = settings.client().enroll(name, profile, parse_labels(labels))
            file.write(answer["enrolment"])
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    say(f"enrolled {name} ({profile}); its enrolment is in {path}")
    say(f"on the device: device-agent run --state STATE --enrolment {path.name}")


@devices.command("list")
@click.option("--selector", default="all", show_default=True, help="E.g. site=oslo,profile!=x.")
@output_option
@click.pass_obj
@errors_shown
def list_devices(settings: Settings, selector: str, output: str) -> None:
    """List devices: presence, versions, and why one is not converged."""
    found = settings.client().devices(selector)
    if output == "json":
        show_json(found)
        return
    rows = [(*_head(each), _versions(each), _why(each)) for each in found]
    columns = ("DEVICE", "PROFILE", "STATE", "SEEN", "MODELS", "NOT CONVERGED BECAUSE")
    show_table(columns, rows, "no devices match: edgeops devices enroll NAME --profile PROFILE")


@devices.command()
@click.argument("name")
@output_option
@click.pass_obj
@errors_shown
def show(settings: Settings, name: str, output: str) -> None:
    """Show a device: desired against reported."""
    each = settings.client().device(name)
    if output == "json":
        show_json(each)
        return
    free = each["disk_free_bytes"]
    facts = [
        ("state", _head(each)[2]),
        ("seen", f"{ago(each['last_seen_s'])} ago, session {each['session']}"),
        ("profile", each["profile"]),
        ("labels", ", ".join(f"{k}={v}" for k, v in sorted(each["labels"].items())) or "none"),
        ("agent", f"{each['agent']} with {', '.join(each['runtimes']) or 'no runtime'}"),
        ("disk", f"{size(free)} free" if free is not None else "unknown"),
        ("outbox", _outbox(each)),
        ("clock", f"{each['clock_offset_s']:+.0f} s against the hub"),
        ("generation", f"{each['reported_generation']} of {each['desired_generation']}"),
    ]
    show_table((each["device"], ""), facts)
    rows = [(m["model"], m["desired"], m["active"], m["why"]) for m in each["models"]]
    show_table(("MODEL", "DESIRED", "ACTIVE", "NOT CONVERGED BECAUSE"), rows, "no models yet")


@devices.command()
@click.argument("name")
@click.argument("labels", nargs=-1, required=True, metavar="KEY=VALUE...")
@click.pass_obj
@errors_shown
def label(settings: Settings, name: str, labels: tuple[str, ...]) -> None:
    """Set labels of device NAME; KEY= removes one."""
    parse_labels(labels)
    changed = settings.client().label(name, list(labels))
    say(f"{name}: " + (", ".join(f"{k}={v}" for k, v in sorted(changed["labels"].items())) or "—"))


@devices.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
@errors_shown
def remove(settings: Settings, name: str, yes: bool) -> None:
    """Forget device NAME: its broker account ends; what it runs, it goes on running."""
    if not yes:
        click.confirm(f"remove {name}?", abort=True)
    settings.client().remove_device(name)
    say(f"removed {name}")


def _head(each: dict[str, Any]) -> tuple[str, str, str, str]:
    state = "online" if each["online"] else "offline"
    if each["duplicate_identity"]:
        state += ", DUPLICATE IDENTITY"
    if each["safe_mode"]:
        state += ", SAFE MODE"
    return each["device"], each["profile"], state, ago(each["last_seen_s"])


def _versions(each: dict[str, Any]) -> str:
    return ", ".join(
        f"{m['model']}:{m['active'] if m['active'] is not None else '—'}" for m in each["models"]
    )


def _outbox(each: dict[str, Any]) -> str:
    gave_way = each["gave_way"] or {}
    words = {
        "merged": "windows added to others",
        "windows": "windows lost",
        "events": "steps dropped",
        "samples": "samples dropped",
    }
    said = [f"{gave_way[name]} {text}" for name, text in words.items() if gave_way.get(name)]
    return ", ".join([f"{each['outbox'] or 0} items wait", *said])


def _why(each: dict[str, Any]) -> str:
    return "; ".join(f"{m['model']}: {m['why']}" for m in each["models"] if not m["converged"])
