"""`edgeops retrain`."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import click

from edgeops.cli.output import ago, errors_shown, output_option, say, show_json, show_table
from edgeops.cli.settings import Settings
from edgeops.client import Client
from edgeops.domain.errors import Conflict, EdgeopsError, GateFailed, HubUnreachable, NotFound
from edgeops.domain.retraining import MAX_DROP, MIN_SAMPLES

MIN_MEMORY_MIB = 64
WATCH_S = 2.0
"""Pause between two looks for a request."""


@click.group()
def retrain() -> None:
    """Ask for a better model when the one that serves does harm."""


@retrain.command()
@click.argument("model")
@click.option("--data", multiple=True, help="Data set to train on; may be repeated.")
@click.option("--evaluation", help="Data set that the parent was evaluated on.")
@click.option("--auto/--no-auto", default=None, help="Whether an alarm of harm asks by itself.")
@click.option("--min-samples", type=int, help=f"Labelled samples it takes.  [{MIN_SAMPLES}]")
@click.option(
    "--rollout",
    metavar="SELECTOR",
    help="Roll a better version out to these devices at once; 'none' for no rollout.",
)
@click.option(
    "--max-drop",
    type=float,
    help="Accuracy that may be lost on the evaluation rows (upper end of the interval).  "
    f"[{MAX_DROP}]",
)
@output_option
@click.pass_obj
@errors_shown
def policy(settings: Settings, /, model: str, output: str, **given: Any) -> None:
    """Set what is given of MODEL's policy, or show it.

    A first policy needs --evaluation. What is not given stays as it is.
    """
    client = settings.client()
    changes = {key: value for key, value in given.items() if value not in (None, ())}
    found = _changed(client, model, changes) if changes else client.retrain_policy(model)
    if output == "json":
        show_json(found)
        return
    say(f"{found['model']}: trains on {', '.join(found['data']) or 'samples alone'}")
    say(f"evaluated on {found['evaluation']}, may lose less than {found['max_drop']:g} there")
    when = "an alarm of harm asks by itself" if found["auto"] else "a person asks"
    if found["rollout"]:
        say(f"a better version is rolled out to {found['rollout']['selector']}")
    say(f"{when}, with {found['min_samples']} labelled samples or more")


@retrain.command()
@click.argument("model")
@click.option("--alarm", default="", help="The alarm that is the reason.  [default: the newest]")
@output_option
@click.pass_obj
@errors_shown
def request(settings: Settings, model: str, alarm: str, output: str) -> None:
    """Ask for a retraining of MODEL: its data are frozen now."""
    made = settings.client().request_retraining(model, alarm)
    if output == "json":
        show_json(made)
        return
    _say_request(made)


@retrain.command()
@click.argument("retraining", required=False)
@click.option(
    "--script",
    required=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="The training script; its contract is in docs/retraining.md.",
)
@click.option("--watch", is_flag=True, help="Go on with whatever is asked for, until Ctrl-C.")
@click.option(
    "--timeout",
    type=click.FloatRange(min=1.0),
    default=3600.0,
    show_default=True,
    help="Seconds for the script.",
)
@click.option(
    "--memory",
    type=click.IntRange(min=MIN_MEMORY_MIB),
    default=8192,
    show_default=True,
    help="MiB for the script.",
)
@click.option("--seed", default=0, show_default=True, help="Given to the script.")
@click.option(
    "--keys", type=click.Path(path_type=Path, file_okay=False), help="Key folder with targets.key."
)
@output_option
@click.pass_obj
@errors_shown
def run(
    settings: Settings,
    /,
    retraining: str | None,
    script: Path,
    watch: bool,
    output: str,
    **given: Any,
) -> None:
    """Train what is asked for: RETRAINING, or the oldest request.

    Packages what the script made like its parent, compares both on rows that neither was trained
    on, and publishes the better one as MODEL@candidate. Exit code 3 if it is not better. Stopped
    with Ctrl-C or SIGTERM it gives the retraining back; while the hub is away it waits.
    """
    from edgeops.retraining.script import TrainingLimits
    from edgeops.service.worker import WorkerOptions, work

    if watch and retraining is not None:
        raise click.UsageError("--watch takes whatever is asked for: leave RETRAINING out")
    signal.signal(signal.SIGTERM, _interrupt)
    options = WorkerOptions(
        script=script,
        keys=given["keys"] or settings.keys,
        cache=settings.home / "cache",
        folder=settings.home / "retrainings",
        limits=TrainingLimits(timeout_s=given["timeout"], memory_mib=given["memory"]),
        seed=given["seed"],
    )
    client = settings.client()
    if not watch:
        asked = _next(client, retraining)
        if asked is None:
            raise NotFound("nothing is asked for", next_step="edgeops retrain request MODEL")
        ended = work(client, asked, options, say)
        _show_ended(ended, output)
        _exit_for(ended)
        return
    told = ""
    while True:
        try:
            if (asked := _next(client, None)) is not None:
                _show_ended(work(client, asked, options, say), output)
            told = ""
        except (HubUnreachable, Conflict) as error:  # away, or another worker was first
            if str(error) != told:
                say(f"{error}; going on")
            told = str(error)
        time.sleep(WATCH_S)


@retrain.command("list")
@output_option
@click.pass_obj
@errors_shown
def list_retrainings(settings: Settings, output: str) -> None:
    """List retrainings."""
    found = settings.client().retrainings()
    if output == "json":
        show_json(found)
        return
    rows = [
        (
            each["id"],
            f"{each['model']}:{each['parent']}",
            each["alarm"],
            each["state"],
            f"{each['model']}:{each['child']}" if each["child"] else "",
            f"{ago(each['updated_s'])} ago",
            each["why"],
        )
        for each in found
    ]
    heads = ("ID", "PARENT", "ALARM", "STATE", "CHILD", "MOVED", "WHY")
    show_table(heads, rows, "no retrainings yet: edgeops retrain request")


@retrain.command()
@click.argument("retraining")
@output_option
@click.pass_obj
@errors_shown
def show(settings: Settings, retraining: str, output: str) -> None:
    """Show a retraining: its data, and champion against challenger."""
    found = settings.client().retraining(retraining)
    if output == "json":
        show_json(found)
        return
    _say_request(found)
    say(f"state: {found['state']}" + (f" ({found['why']})" if found["why"] else ""))
    rows = [
        (
            each["name"],
            each["runtime"],
            each["rows"],
            f"{each['champion']:.3f}",
            f"{each['challenger']:.3f}",
            f"{each['gain_low']:+.3f} to {each['gain_high']:+.3f}",
        )
        for each in found["contests"]
    ]
    heads = ("ROWS", "RUNTIME", "", "CHAMPION", "CHALLENGER", "GAIN (95 %)")
    show_table(heads, rows, "champion and challenger have not been compared")


def _changed(client: Client, model: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Set a policy: what is there, with the changes."""
    try:
        known = client.retrain_policy(model)
        known.pop("model")
    except NotFound:
        known = {"data": []}
    if "rollout" in changes:
        selector = changes["rollout"]
        changes["rollout"] = None if selector == "none" else {"selector": selector}
    wanted = {**known, **changes}
    if not wanted.get("evaluation"):
        raise click.UsageError("a first policy needs --evaluation: the rows that judge")
    return client.set_retrain_policy(model, wanted)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _next(client: Client, wanted: str | None) -> dict[str, Any] | None:
    if wanted is not None:
        return client.retraining(wanted)
    waiting = [each for each in client.retrainings() if each["state"] == "requested"]
    return waiting[0] if waiting else None


def _show_ended(ended: dict[str, Any], output: str) -> None:
    if output == "json":
        show_json(ended)
        return
    child = f": {ended['model']}:{ended['child']}" if ended["child"] else ""
    say(f"{ended['id']} {ended['state']}{child}" + (f" ({ended['why']})" if ended["why"] else ""))


def _exit_for(ended: dict[str, Any]) -> None:
    if ended["state"] == "rejected":
        raise GateFailed(
            f"{ended['id']} was rejected: {ended['why']}",
            next_step="more samples, or a better training script",
        )
    if ended["state"] == "failed":
        raise EdgeopsError(
            f"{ended['id']} failed: {ended['why']}",
            next_step=f"then ask again: edgeops retrain request {ended['model']}",
        )


def _say_request(each: dict[str, Any]) -> None:
    why = f" for alarm {each['alarm']}" if each["alarm"] else ""
    say(f"{each['id']}: {each['model']}:{each['parent']}{why}, asked by {each['created_by']}")
    say(f"trains on {', '.join(each['train'])}")
    say(f"judged on {each['evaluation']} and {each['drifted']}")
