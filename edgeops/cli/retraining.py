"""`edgeops retrain`."""

from __future__ import annotations

from typing import Any

import click

from edgeops.cli.output import ago, errors_shown, output_option, say, show_json, show_table
from edgeops.cli.settings import Settings
from edgeops.domain.retraining import MAX_DROP, MIN_SAMPLES


@click.group()
def retrain() -> None:
    """Ask for a better model when the one that serves does harm."""


@retrain.command()
@click.argument("model")
@click.option("--data", multiple=True, help="Data set to train on; may be repeated.")
@click.option("--evaluation", help="Data set that the parent was evaluated on.")
@click.option("--auto", is_flag=True, help="An alarm of harm asks by itself.")
@click.option(
    "--min-samples", default=MIN_SAMPLES, show_default=True, help="Labelled samples it takes."
)
@click.option(
    "--max-drop",
    default=MAX_DROP,
    show_default=True,
    help="Accuracy that may be lost on the evaluation rows (upper end of the interval).",
)
@output_option
@click.pass_obj
@errors_shown
def policy(
    settings: Settings,
    /,
    model: str,
    data: tuple[str, ...],
    evaluation: str | None,
    output: str,
    **given: Any,
) -> None:
    """Set MODEL's policy with --data and --evaluation, or show it without them."""
    client = settings.client()
    if evaluation is None and not data:
        found = client.retrain_policy(model)
    else:
        wanted = {"data": list(data), "evaluation": evaluation or "", **given}
        found = client.set_retrain_policy(model, wanted)
    if output == "json":
        show_json(found)
        return
    say(f"{found['model']}: trains on {', '.join(found['data']) or 'samples alone'}")
    say(f"evaluated on {found['evaluation']}, may lose less than {found['max_drop']:g} there")
    when = "an alarm of harm asks by itself" if found["auto"] else "a person asks"
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


def _say_request(each: dict[str, Any]) -> None:
    why = f" for alarm {each['alarm']}" if each["alarm"] else ""
    say(f"{each['id']}: {each['model']}:{each['parent']}{why}, asked by {each['created_by']}")
    say(f"trains on {', '.join(each['train'])}")
    say(f"judged on {each['evaluation']} and {each['drifted']}")
