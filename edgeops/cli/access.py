"""`edgeops token` and `edgeops audit`."""

from __future__ import annotations

import json
import sys
import time

import click

from edgeops.cli.output import (
    EXIT_NOT_TRUSTED,
    ago,
    errors_shown,
    output_option,
    say,
    show_json,
    show_table,
)
from edgeops.cli.settings import Settings


@click.group()
def token() -> None:
    """Make, list and revoke tokens of the hub."""


@token.command("create")
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(["viewer", "operator", "publisher", "admin"]),
    required=True,
    help="viewer reads, operator rolls out, publisher publishes, admin does everything.",
)
@click.option("--days", type=float, help="How long it is good.  [default: until revoked]")
@click.pass_obj
@errors_shown
def create_token(settings: Settings, name: str, role: str, days: float | None) -> None:
    """Make a token; its text is printed once and kept nowhere."""
    made = settings.client().create_token(name, role, days)
    say(f"token {made['id']} for {name} ({role}); this is its only copy:")
    click.echo(made["token"])


@token.command("list")
@output_option
@click.pass_obj
@errors_shown
def list_tokens(settings: Settings, output: str) -> None:
    """List tokens, never their texts."""
    found = settings.client().tokens()
    if output == "json":
        show_json(found)
        return
    rows = [(t["id"], t["name"], t["role"], ago(t["created_s"]) + " ago") for t in found]
    show_table(("ID", "NAME", "ROLE", "MADE"), rows)


@token.command("revoke")
@click.argument("token_id")
@click.pass_obj
@errors_shown
def revoke_token(settings: Settings, token_id: str) -> None:
    """End a token at once."""
    settings.client().revoke_token(token_id)
    say(f"revoked {token_id}")


@click.group()
def audit() -> None:
    """Read and verify the audit: every act, in one chain of hashes."""


@audit.command("list")
@click.option("--after", default=0, help="Only entries after this number.")
@click.option("--limit", default=50, show_default=True, help="Entries at most.")
@output_option
@click.pass_obj
@errors_shown
def list_audit(settings: Settings, after: int, limit: int, output: str) -> None:
    """List audit entries in order."""
    found = settings.client().audit(after=after, limit=limit)
    if output == "json":
        show_json(found)
        return
    rows = [
        (
            each["sequence"],
            time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(each["at_s"])),
            each["actor"],
            each["act"],
            each["subject"],
            json.dumps(each["detail"], sort_keys=True, ensure_ascii=False)
            if each["detail"]
            else "",
        )
        for each in found
    ]
    show_table(("#", "AT (UTC)", "WHO", "ACT", "SUBJECT", "DETAIL"), rows, "no entries")


@audit.command("verify")
@output_option
@click.pass_obj
@errors_shown
def verify_audit(settings: Settings, output: str) -> None:
    """Walk the whole chain; exit code 6 if it was edited."""
    report = settings.client().verify_audit()
    if output == "json":
        show_json(report)
    else:
        click.echo(("ok: " if report["ok"] else "BROKEN: ") + report["why"])
        click.echo(f"head: {report['head']}  (note it elsewhere now and then)")
    if not report["ok"]:
        sys.exit(EXIT_NOT_TRUSTED)
