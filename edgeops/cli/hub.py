"""`edgeops up`: the hub, its API and its broker in one process."""

from __future__ import annotations

from pathlib import Path

import click

from edgeops.cli.output import errors_shown, say
from edgeops.cli.settings import Settings


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address of the API.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port of the API; 0 takes a free one.",
)
@click.option(
    "--broker", help="Use this MQTT broker instead of a managed one: mqtt[s]://[user:pw@]host."
)
@click.option(
    "--broker-kind",
    type=click.Choice(["auto", "mosquitto", "iotcore"]),
    default="auto",
    show_default=True,
    help="Which broker to manage; iotcore is for development only.",
)
@click.option(
    "--mqtt-bind", default="127.0.0.1", show_default=True, help="Managed broker's address."
)
@click.option(
    "--mqtt-port",
    type=click.IntRange(1, 65535),
    default=1883,
    show_default=True,
    help="Managed broker's port.",
)
@click.option("--advertise", help="Broker address that devices are told, e.g. mqtt://10.0.0.5.")
@click.option("--bandwidth", help="Most bytes a second of model chunks, e.g. 500k, 2M.")
@click.option("--database", help="Database URL instead of the home folder's SQLite file.")
@click.option(
    "--keys",
    type=click.Path(path_type=Path, file_okay=False),
    help="Key folder.  [default: HOME/keys]",
)
@click.pass_obj
@errors_shown
def up(
    settings: Settings,
    host: str,
    port: int,
    broker: str | None,
    broker_kind: str,
    mqtt_bind: str,
    mqtt_port: int,
    advertise: str | None,
    bandwidth: str | None,
    database: str | None,
    keys: Path | None,
) -> None:
    """Run the hub until Ctrl-C: HTTP API, rollouts, and a managed MQTT broker.

    Needs the keys of `edgeops keys init`. The first start makes an admin token and writes it to
    the home folder, readable by its owner only.
    """
    from edgeops.api.serve import Served, ServeOptions, serve
    from edgeops.hub.process import HubOptions

    def ready(served: Served) -> None:
        say(f"hub     {served.url}  (API description: {served.url}/docs)")
        say(f"broker  {served.broker}  ({served.broker_kind})")
        if served.limits:
            say(f"        {served.limits}")
        state = "written to" if served.token_is_new else "in"
        say(f"token   {state} {served.token_path}")
        say("ready")

    serve(
        ServeOptions(
            home=settings.home,
            keys=keys or settings.keys,
            database=database,
            http_host=host,
            http_port=port,
            broker=broker,
            broker_kind=broker_kind,
            mqtt_bind=mqtt_bind,
            mqtt_port=mqtt_port,
            advertise=advertise,
            hub=HubOptions(bandwidth=parse_bandwidth(bandwidth)),
        ),
        ready,
        say,
    )


def parse_bandwidth(text: str | None) -> float | None:
    """Read ``500k`` or ``2M`` as bytes a second.

    Raises:
        click.BadParameter: another form.
    """
    if text is None:
        return None
    units = {"k": 1e3, "M": 1e6, "G": 1e9}
    number, unit = (text[:-1], units[text[-1]]) if text[-1:] in units else (text, 1.0)
    try:
        rate = float(number) * unit
    except ValueError:
        rate = 0.0
    if not 0 < rate < 1e12:
        raise click.BadParameter(f"{text!r} is no rate like 500k or 2M", param_hint="--bandwidth")
    return rate
