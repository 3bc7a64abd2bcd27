"""`edgeops demo`: the guided run."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import tempfile
import time
from pathlib import Path

import click

from edgeops.cli.output import errors_shown, say, show_table


class Stopped(BaseException):
    """Ctrl-C or SIGTERM: not KeyboardInterrupt, which scikit-learn's training would swallow."""


def _stop(*_: object) -> None:
    raise Stopped


@click.command()
@click.option(
    "--devices",
    default=6,
    show_default=True,
    type=click.IntRange(2, 50),
    help="Devices of the fleet.",
)
@click.option(
    "--seed", default=0, show_default=True, help="Draws the data; same seed, same models."
)
@click.option("--quick", is_flag=True, help="Train without TensorFlow; about half the time.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("edgeops-demo.html"),
    show_default=True,
    help="Where to write the report.",
)
@click.option("--keep", is_flag=True, help="Keep the folder of the run.")
@click.option("--broker", help="Use this MQTT broker: mqtt://[user:password@]host.")
@click.option(
    "--broker-kind",
    type=click.Choice(["auto", "mosquitto", "iotcore"]),
    default="auto",
    show_default=True,
    help="Which broker to manage.",
)
@errors_shown
def demo(
    devices: int,
    seed: int,
    quick: bool,
    report: Path,
    keep: bool,
    broker: str | None,
    broker_kind: str,
) -> None:
    """Close the loop in a small fleet, step by step, by public commands.

    Trains a reader of handwritten digits, quantizes it with evidence, starts a hub and devices as
    real processes, rolls out, shifts half of the cameras, waits for the alarms, retrains, rolls
    out again, stops a broken version at its canary; power, hub and broker are cut on the way.
    Every command is printed as it runs. Ends with a report.
    """
    from edgeops.demo.processes import Processes
    from edgeops.demo.run import Demo
    from edgeops.demo.stage import DemoOptions

    if not quick and importlib.util.find_spec("tensorflow") is None:
        say("TensorFlow is not installed (pip install 'edgeops[tensorflow]'): running --quick")
        quick = True

    folder = Path(tempfile.mkdtemp(prefix="edgeops-demo-"))
    started_s = time.monotonic()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        with Processes(folder / "logs") as processes:
            options = DemoOptions(
                folder=folder,
                report=report.absolute(),
                quick=quick,
                devices=devices,
                seed=seed,
                broker=broker,
                broker_kind=broker_kind,
            )
            shown = Demo(options=options, processes=processes, say=click.echo).run()
        click.echo(f"\n── What was shown, in {time.monotonic() - started_s:.0f} s")
        show_table(("WHAT", "EVIDENCE"), [(each.what, each.evidence) for each in shown])
    except Stopped:
        raise click.Abort from None
    finally:
        if keep:
            say(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
