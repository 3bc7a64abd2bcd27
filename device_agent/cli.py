"""`device-agent run|status|infer|install-service`: the agent without an own application."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from device_agent import __version__
from device_agent.logs import log_to_stderr
from device_agent.protocol.errors import AgentError, BadInput, NoModel, NotTrusted
from device_agent.shell.service import DEFAULT_STATE, EXIT_RESTART

if TYPE_CHECKING:
    from device_agent.protocol.manifest import Manifest, Variant
    from device_agent.shell.supervisor import Supervisor

logger = logging.getLogger("device_agent.cli")

EXIT_FAILED = 1
EXIT_NOT_TRUSTED = 6

POLL_S = 0.25
"""Pause between two looks at the agent; the agent's own loop does not wait for them."""


def main(argv: list[str] | None = None) -> int:
    """Run a command; return its exit code (0 ok, 1 failed, 2 usage, 6 not trusted)."""
    arguments = _parser().parse_args(argv)
    log_to_stderr(arguments.log_level.upper())
    try:
        return int(arguments.command(arguments))
    except AgentError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.next_step:
            print(f"next:  {error.next_step}", file=sys.stderr)
        return EXIT_NOT_TRUSTED if isinstance(error, NotTrusted) else EXIT_FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="device-agent", description="Keep one working model of each kind on this device."
    )
    parser.add_argument("--version", action="version", version=__version__)
    parser.add_argument(
        "--log-level", default="warning", choices=["debug", "info", "warning", "error"]
    )
    commands = parser.add_subparsers(required=True, metavar="run|status|infer|install-service")

    run = commands.add_parser("run", help="run the agent until it is told to stop")
    _add_state(run)
    run.add_argument("--enrolment", type=Path, help="enrolment file, needed on the first start")
    run.add_argument(
        "--telemetry-interval",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="longest window of counts (default 60)",
    )
    run.add_argument(
        "--heartbeat",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="longest pause between two reported states (default 30)",
    )
    run.add_argument(
        "--samples",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="let this share of raw input rows go to the hub, for retraining (default: none)",
    )
    run.add_argument(
        "--time-zone",
        default="",
        metavar="ZONE",
        help="zone of maintenance windows, e.g. Europe/Oslo (default: the system's)",
    )
    run.add_argument(
        "--disk-budget",
        type=_mebibytes,
        metavar="MIB",
        help="what the versions of all models together may take (default: what the disk has)",
    )
    run.add_argument(
        "--self-test-memory",
        type=int,
        metavar="MIB",
        help="what a self-test may take (default: half of the machine's, at most 1024)",
    )
    run.set_defaults(command=_run)

    status = commands.add_parser("status", help="what this device holds and does (also offline)")
    _add_state(status)
    status.add_argument("-o", "--output", choices=["text", "json"], default="text")
    status.set_defaults(command=_status)

    infer = commands.add_parser("infer", help="answer rows with the active model, without network")
    _add_state(infer)
    infer.add_argument("--model", required=True)
    infer.add_argument(
        "--input", type=Path, required=True, help=".npy (one row or rows), or .npz with 'x'"
    )
    infer.add_argument("--limit", type=_count, default=10, help="rows at most (default 10)")
    infer.add_argument("-o", "--output", choices=["text", "json"], default="text")
    infer.set_defaults(command=_infer)
    _add_install_service(commands)
    return parser


def _add_install_service(commands: Any) -> None:
    install = commands.add_parser(
        "install-service", help="run the agent as a service of systemd, from now on and after boot"
    )
    install.add_argument(
        "--state", type=Path, default=DEFAULT_STATE, help=f"state folder (default {DEFAULT_STATE})"
    )
    install.add_argument("--enrolment", type=Path, help="enrolment file, needed the first time")
    install.add_argument("--user", help="existing user (default: one that systemd makes)")
    install.add_argument(
        "--dry-run", action="store_true", help="print the unit and what would be done, do nothing"
    )
    install.set_defaults(command=_install_service)


def _mebibytes(text: str) -> int:
    """Read a size in MiB; return bytes."""
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 0 < size < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is no size in MiB, e.g. 200")
    return int(size * 2**20)


def _count(text: str) -> int:
    """Read how many; below zero Python would count from the end."""
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows, e.g. 10")
    return int(text)


def _add_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--state", type=Path, required=True, help="state folder of this device")


def _run(arguments: argparse.Namespace) -> int:
    from device_agent.monitor.samples import SampleOptions
    from device_agent.serving.api import Agent
    from device_agent.shell.options import AgentOptions
    from device_agent.shell.supervisor import Supervisor

    options = AgentOptions(
        restarts=True,
        telemetry_interval_s=arguments.telemetry_interval,
        heartbeat_s=arguments.heartbeat,
        samples=SampleOptions(share=arguments.samples),
        time_zone=arguments.time_zone,
        disk_budget_bytes=arguments.disk_budget,
        self_test_memory_mib=arguments.self_test_memory,
    )
    supervisor = Supervisor.of_this_process()
    caught: list[int] = []  # no lock: a handler may have interrupted who holds it
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda which, _: caught.append(which))
    with Agent.start(
        arguments.state,
        enrolment=arguments.enrolment,
        options=options,
        on_turn=supervisor.alive,
    ) as agent:
        logger.info("agent.started", extra={"version": __version__, "models": agent.models})
        supervisor.ready()
        while not caught and agent.is_running and not agent.restart_wanted:
            supervisor.status(_serving(agent.models))
            time.sleep(POLL_S)
        supervisor.stopping()
        ended_by_itself = not agent.is_running
    if caught:
        return 0
    if ended_by_itself:
        return EXIT_FAILED
    return _start_again(arguments, supervisor)


def _serving(models: dict[str, int]) -> str:
    known = ", ".join(f"{name}:{version}" for name, version in sorted(models.items()))
    return f"serves {known}" if known else "no model yet: waits for a rollout"


def _start_again(arguments: argparse.Namespace, supervisor: Supervisor) -> int:
    """Carry out a restart: by the service manager, or by becoming a new agent in its place."""
    if supervisor.watches:
        return EXIT_RESTART
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - ourselves
    except OSError as error:
        # The interpreter was removed under us: the agent of before is better than none.
        logger.warning("agent.not_replaced", extra={"cause": str(error)})
        return _run(arguments)


def _install_service(arguments: argparse.Namespace) -> int:
    from device_agent.shell import service_install
    from device_agent.shell.service import UNIT_NAME, ServicePlan, unit_text

    machine, offered = service_install.this_machine(), arguments.enrolment
    plan = ServicePlan(
        program=service_install.default_program(),
        interpreter=Path(sys.executable).resolve(),
        state=arguments.state,
        user=arguments.user,
    )
    plan = service_install.make_plan(plan, offered, machine)
    steps = service_install.steps_of(plan, offered, machine)
    if arguments.dry_run:
        print(unit_text(plan), end="")
        for step in steps:
            print(f"would {step.text}", file=sys.stderr)
        return 0
    service_install.check(plan, machine)
    for step in steps:
        print(step.text, file=sys.stderr)
        step.act()
    print(f"the agent runs: systemctl status {UNIT_NAME}", file=sys.stderr)
    return 0


def _status(arguments: argparse.Namespace) -> int:
    from device_agent.shell.status import read_status

    status = read_status(arguments.state)
    if arguments.output == "json":
        print(json.dumps(status, indent=2))
        return 0
    running = status["process"]
    print(f"device   {status['device']} ({status['profile']}), broker {status['broker']}")
    print(f"agent    {__version__}, " + (f"process {running}" if running else "not running"))
    print(f"outbox   {status['outbox']} items wait for the hub")
    for name, model in status["models"].items():
        print(f"model    {name}: " + _describe(model))
    if not status["models"]:
        print("model    none yet: wait for a rollout to reach this device")
    return 0


def _describe(model: dict[str, Any]) -> str:
    active = model["active"]
    parts = [f"version {active['version']} serves" if active else "no working version"]
    if model["previous"]:
        parts.append(f"version {model['previous']['version']} to fall back to")
    deployment = model["deployment"]
    if deployment:
        step = f"version {deployment['version']} {deployment['state']}"
        if deployment["chunks_total"]:
            step += f" ({deployment['chunks_have']} of {deployment['chunks_total']} chunks)"
        if deployment["reason"]:
            step += f": {deployment['reason']}, {deployment['detail']}"
        parts.append(step)
    return "; ".join(parts)


def _infer(arguments: argparse.Namespace) -> int:
    from device_agent.shell.status import open_models

    rows = _read_rows(arguments.input)
    live = open_models(arguments.state)
    model = live.get(arguments.model)
    if model is None:
        known = ", ".join(name for name, _ in live.items()) or "none"
        raise NoModel(
            f"this device has no working model {arguments.model!r} (it has: {known})",
            next_step=f"device-agent status --state {arguments.state}",
        )
    if getattr(rows, "ndim", 0) == 0:
        raise BadInput(f"{arguments.input} holds a single number, not rows")
    if rows.size == _row_elements(model.manifest, model.variant):
        rows = rows.reshape(1, -1)
    for row in rows[: arguments.limit]:
        answer = live.infer(arguments.model, row)
        label = answer.label if answer.label is not None else answer.class_index
        if label is None and answer.confidence > 0:
            label = "unknown"  # below the package's threshold
        if arguments.output == "json":
            print(
                json.dumps(
                    {
                        "model": arguments.model,
                        "version": answer.version,
                        "class_index": answer.class_index,
                        "label": answer.label,
                        "confidence": round(answer.confidence, 6),
                        "latency_ms": round(answer.latency_ms, 3),
                    }
                )
            )
        else:
            print(
                f"{label}  confidence {answer.confidence:.3f}  {answer.latency_ms:.2f} ms  "
                f"{arguments.model}:{answer.version}"
            )
    live.close()
    return 0


def _row_elements(manifest: Manifest, variant: Variant) -> int:
    """Return how many numbers an application gives for one row."""
    prepared = manifest.preprocessing.row_shape if manifest.preprocessing is not None else ()
    return math.prod(max(1, size) for size in prepared or variant.inputs[0].shape)


def _read_rows(path: Path) -> Any:
    try:
        import numpy as np
    except ImportError as error:
        raise BadInput(
            "numpy is not installed, so no row can be read",
            next_step="pip install 'edgeops-device-agent[litert]' or '[onnxruntime]'",
        ) from error
    try:
        loaded = np.load(path, allow_pickle=False)
        return loaded if isinstance(loaded, np.ndarray) else loaded["x"]
    except Exception as error:  # numpy and zip raise anything for a damaged file
        raise BadInput(
            f"cannot read rows from {path}: {error}",
            next_step="give a .npy array, or a .npz with an array 'x'",
        ) from error


if __name__ == "__main__":
    sys.exit(main())
