"""What commands print: tables for people, JSON for programs; errors with their next step."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from device_agent.protocol.errors import AgentError
from device_agent.protocol.errors import NotTrusted as DeviceNotTrusted
from edgeops.domain.errors import EdgeopsError, Forbidden, GateFailed, NotAuthorized, NotTrusted

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_GATE_FAILED = 3
EXIT_ROLLED_BACK = 4
EXIT_TIMEOUT = 5
EXIT_NOT_TRUSTED = 6

WIDTH_ELSEWHERE = 140
"""Columns of a table that goes to a file or a pipe."""

console = Console(
    highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else WIDTH_ELSEWHERE
)
F = TypeVar("F", bound=Callable[..., Any])


def output_option(command: F) -> F:
    """Add ``-o table|json``."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        show_default=True,
        help="What to print.",
    )(command)


def show_json(value: object) -> None:
    """Print a value as JSON on standard output."""
    click.echo(json.dumps(value, indent=2, sort_keys=True))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str = "") -> None:
    """Print rows as a table, or ``empty`` when there are none."""
    if not rows:
        click.echo(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if value is None else escape(plain(str(value))) for value in row))
    console.print(table)


def say(text: str) -> None:
    """Print a line for people on standard error: progress, hints."""
    click.echo(plain(text), err=True)


def plain(text: str) -> str:
    """Return text that a terminal shows and does not obey: scripts and devices wrote some of it."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def ago(at_s: float | None) -> str:
    """Return how long ago a moment (seconds since the epoch) was, e.g. ``5 s``."""
    if at_s is None:
        return "never"
    seconds = max(0.0, time.time() - at_s)
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """Return a number of bytes for people, e.g. ``68.8 KiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return ""


def fail(error: EdgeopsError | AgentError) -> NoReturn:
    """Print cause and next step, and exit with the code of this kind of error."""
    say(f"error: {error}")
    if error.next_step:
        say(f"next:  {error.next_step}")
    sys.exit(exit_code(error))


def exit_code(error: EdgeopsError | AgentError) -> int:
    """Return the exit code of an error: 3 gate failed, 6 not trusted, else 1."""
    if isinstance(error, GateFailed):
        return EXIT_GATE_FAILED
    if isinstance(error, (NotTrusted, NotAuthorized, Forbidden, DeviceNotTrusted)):
        return EXIT_NOT_TRUSTED
    return EXIT_FAILED


def errors_shown(command: F) -> F:
    """Show the errors that a person can act on without a traceback."""

    @wraps(command)
    def wrapped(*args: Any, **options: Any) -> Any:
        try:
            return command(*args, **options)
        except (EdgeopsError, AgentError) as error:
            fail(error)

    return wrapped  # type: ignore[return-value]
