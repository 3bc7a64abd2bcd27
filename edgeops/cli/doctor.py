"""`edgeops doctor`."""

from __future__ import annotations

import dataclasses
import sys
import time

import click

from edgeops import __version__
from edgeops.cli.output import (
    EXIT_FAILED,
    errors_shown,
    output_option,
    show_json,
    show_table,
)
from edgeops.cli.settings import Settings
from edgeops.domain.errors import EdgeopsError
from edgeops.service.examination import Finding, examine

MAX_CLOCK_OFFSET_S = 30.0


@click.command()
@output_option
@click.pass_obj
@errors_shown
def doctor(settings: Settings, output: str) -> None:
    """Look at everything edgeops needs; say what is wrong and what to do.

    Python, versions, runtimes, keys, disk; and, if a hub is known: hub, token, clock, broker
    and devices. Exit code 1 if something is wrong.
    """
    findings = [*examine(settings.home, settings.keys), *_broker_here(), *_hub(settings)]
    if output == "json":
        show_json([dataclasses.asdict(each) for each in findings])
    else:
        marks = {"ok": "ok", "warning": "WARN", "error": "ERROR"}
        rows = [(marks[f.state], f.subject, f.what, f.next_step) for f in findings]
        show_table(("", "SUBJECT", "FOUND", "WHAT TO DO"), rows)
    if any(each.state == "error" for each in findings):
        sys.exit(EXIT_FAILED)


def _broker_here() -> list[Finding]:
    from edgeops.hub.broker import find_mosquitto

    found = find_mosquitto()
    if found is not None:
        version = ".".join(map(str, found.version))
        return [Finding(subject="mosquitto", state="ok", what=f"{version} ({found.binary})")]
    return [
        Finding(
            subject="mosquitto",
            state="warning",
            what="not found: `edgeops up` would use iotcore, for development only",
            next_step="scripts/fetch_mosquitto, or install Mosquitto, or use --broker",
        )
    ]


def _hub(settings: Settings) -> list[Finding]:
    if settings.hub_url() is None:
        return [
            Finding(
                subject="hub",
                state="warning",
                what="none is known",
                next_step="edgeops up, or --hub URL",
            )
        ]
    try:
        with settings.client() as client:
            seen = client.hub()
            devices = client.devices()
            chain = client.verify_audit()
    except EdgeopsError as error:
        return [Finding(subject="hub", state="error", what=str(error), next_step=error.next_step)]
    return [
        _version(seen["version"]),
        _clock(seen["clock_s"]),
        _broker(seen["broker"]),
        _devices(devices),
        Finding(
            subject="audit",
            state="ok" if chain["ok"] else "error",
            what=chain["why"],
            next_step="" if chain["ok"] else "compare with a copy of the database",
        ),
    ]


def _version(theirs: str) -> Finding:
    same = theirs == __version__
    return Finding(
        subject="hub",
        state="ok" if same else "warning",
        what=f"version {theirs}" + ("" if same else f", this is {__version__}"),
        next_step="" if same else "use the same release on both sides",
    )


def _clock(theirs_s: float) -> Finding:
    offset_s = theirs_s - time.time()
    good = abs(offset_s) <= MAX_CLOCK_OFFSET_S
    return Finding(
        subject="clock",
        state="ok" if good else "warning",
        what=f"{offset_s:+.1f} s between hub and this machine",
        next_step="" if good else "synchronise the clocks (NTP)",
    )


def _broker(broker: dict[str, object]) -> Finding:
    limits = f"; {broker['limits']}" if broker["limits"] else ""
    if broker["connected"]:
        return Finding(
            subject="broker",
            state="warning" if limits else "ok",
            what=f"{broker['kind']} at {broker['url']}{limits}",
            next_step="use Mosquitto outside of development" if limits else "",
        )
    return Finding(
        subject="broker",
        state="error",
        what=f"the hub has no connection: {broker['why']}",
        next_step="check the broker and the hub's account; the hub tries again by itself",
    )


def _devices(devices: list[dict[str, object]]) -> Finding:
    doubles = [str(each["device"]) for each in devices if each["duplicate_identity"]]
    online = sum(bool(each["online"]) for each in devices)
    if doubles:
        return Finding(
            subject="devices",
            state="error",
            what=f"two agents share one identity: {', '.join(doubles)}",
            next_step="a card was cloned: remove and enroll the device again, one file for each",
        )
    away = [str(each["device"]) for each in devices if not each["online"]]
    if away:
        shown = ", ".join(away[:5]) + (" …" if away[5:] else "")
        return Finding(
            subject="devices",
            state="warning",
            what=f"{online} of {len(devices)} devices online; offline: {shown}",
            next_step="edgeops devices show NAME; were they told another broker address?",
        )
    return Finding(subject="devices", state="ok", what=f"{online} of {len(devices)} devices online")
