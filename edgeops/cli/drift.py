"""`edgeops drift`."""

from __future__ import annotations

import time
from typing import Any

import click

from edgeops.cli.output import ago, errors_shown, output_option, say, show_json, show_table
from edgeops.cli.settings import Settings

STANDING = (
    *("DEVICE", "", "WINDOWS", "EVIDENCE OF DRIFT", "OF HARM"),
    *("ESTIMATED ACCURACY", "LABELLED"),
)
BLIND = (
    "estimated from confidence, without labels: too high where inputs have drifted, and blind to "
    "concept drift (the same inputs coming to mean something else)"
)


@click.group()
def drift() -> None:
    """See whether inputs or predictions have moved from what the package was made for."""


@drift.command()
@click.argument("reference", required=False)
@output_option
@click.pass_obj
@errors_shown
def status(settings: Settings, reference: str | None, output: str) -> None:
    """List alarms; with REFERENCE (NAME:NUMBER) how each device of that version stands.

    NAME alone means the version that most devices serve.

    An alarm comes only from a sequential test with a budget of one false alarm in 1,000
    device-days. PSI and KS are shown as sizes of the effect. Drift is not harm. Accuracy,
    estimated from confidence and by labels, is of each device's newest 24 windows.
    """
    client = settings.client()
    found = client.drift(reference) if reference else client.alarms()
    if output == "json":
        show_json(found)
    elif reference:
        standings = [
            (
                each["device"],
                "ALARM" if each["alarmed"] else "",
                each["windows"],
                f"{each['evidence']:.3g} of {each['threshold']:.3g}",
                f"{each['harm_evidence']:.3g}",
                _share(each["estimated_accuracy"]),
                _labelled(each),
            )
            for each in found
        ]
        show_table(STANDING, standings, "no windows of this version yet, or it has no reference")
        if standings:
            say(BLIND)
    else:
        rows = [_row(each) for each in found]
        heads = ("ALARM", "KIND", "VERSION", "DEVICES", "COHORT", "FEATURES", "SINCE", "STATE")
        show_table(heads, rows, "no alarms")


@drift.command()
@click.argument("alarm")
@output_option
@click.pass_obj
@errors_shown
def show(settings: Settings, alarm: str, output: str) -> None:
    """Show an alarm: devices, cohort, features with the sizes of their effect, since when."""
    each = settings.client().alarm(alarm)
    if output == "json":
        show_json(each)
        return
    say(f"{each['id']}: {each['kind']} of {each['model']}:{each['version']}, since {_at(each)}")
    alone = "one device alone" if len(each["devices"]) == 1 else "no label parts them from others"
    say(f"cohort: {each['cohort'] or alone}")
    show_table(("DEVICE", "EVIDENCE"), sorted(each["devices"].items()))
    rows = [
        (f["name"], f["direction"], f["devices"], f"{f['psi']:.2f}", f"{f['ks']:.2f}")
        for f in each["features"]
    ]
    show_table(("FEATURE", "DIRECTION", "DEVICES", "PSI", "KS"), rows, "no single feature")
    if each["kind"] == "drift":
        say("drift alone is a reason to look, not to retrain: see whether accuracy suffers")


@drift.command()
@click.argument("alarm")
@click.option("--reason", default="", help="Why; kept in the audit.")
@click.pass_obj
@errors_shown
def close(settings: Settings, alarm: str, reason: str) -> None:
    """Close an alarm: somebody has looked into it."""
    settings.client().close_alarm(alarm, reason)
    say(f"closed {alarm}")


def _row(each: dict[str, Any]) -> tuple[object, ...]:
    features = [feature["name"] for feature in each["features"]]
    shown = ", ".join(features[:4]) + (f" and {len(features) - 4} more" if features[4:] else "")
    return (
        each["id"],
        each["kind"],
        f"{each['model']}:{each['version']}",
        len(each["devices"]),
        each["cohort"],
        shown,
        f"{ago(each['since_s'])} ago",
        "open" if each["open"] else "closed",
    )


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.3f}"


def _labelled(each: dict[str, Any]) -> str:
    return f"{_share(each['labelled_accuracy'])} of {each['labelled']}" if each["labelled"] else "-"


def _at(each: dict[str, Any]) -> str:
    moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(each["since_s"]))
    return f"{moment} ({ago(each['since_s'])} ago)"
