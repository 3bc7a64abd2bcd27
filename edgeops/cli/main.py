"""The `edgeops` command and its global options."""

from __future__ import annotations

import logging
from pathlib import Path

import click

from device_agent.logs import log_to_stderr
from edgeops import __version__
from edgeops.cli import (
    access,
    data,
    demo,
    devices,
    diff,
    doctor,
    drift,
    hub,
    keys,
    lineage,
    oci_registry,
    packages,
    profiles,
    recipes,
    reports,
    retraining,
    rollouts,
    simulate,
    verify,
)
from edgeops.cli.settings import Settings, default_home


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="edgeops")
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=default_home,
    envvar="EDGEOPS_HOME",
    help="Folder of keys, token and (for `up`) the hub's data.  [default: ~/.edgeops]",
)
@click.option("--hub", envvar="EDGEOPS_HUB", help="Address of the hub, e.g. http://hub:8080.")
@click.option("--token", envvar="EDGEOPS_TOKEN", help="Token of the hub.")
@click.option("-v", "--verbose", count=True, help="Show what happens inside (twice: more).")
@click.pass_context
def main(
    context: click.Context, home: Path, hub: str | None, token: str | None, verbose: int
) -> None:
    """Package, roll out and watch models on edge devices.

    Exit codes: 0 ok, 1 failed, 2 usage, 3 a gate failed, 4 rolled back, 5 timeout,
    6 not trusted.
    """
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    log_to_stderr(levels[min(verbose, 2)])
    context.obj = Settings(home=home.expanduser().absolute(), hub=hub, token=token)


for command in (
    hub.up,
    packages.package,
    packages.publish,
    verify.verify,
    diff.diff,
    oci_registry.push,
    oci_registry.pull,
    packages.models,
    packages.alias,
    rollouts.rollout,
    devices.devices,
    keys.keys,
    access.token,
    access.audit,
    drift.drift,
    data.data,
    retraining.retrain,
    lineage.lineage,
    reports.report,
    profiles.profiles,
    recipes.recipes,
    simulate.simulate,
    doctor.doctor,
    demo.demo,
):
    main.add_command(command)
