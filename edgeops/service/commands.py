"""Commands to devices outside of rollouts: given, signed, and what became of them."""

from __future__ import annotations

from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.ids import DeviceId, parse_device_id
from device_agent.protocol.orders import COMMANDS, Command
from device_agent.protocol.outcomes import CommandOutcome
from edgeops.access import audit
from edgeops.domain.commands import GivenCommand
from edgeops.domain.errors import InvalidInput, NotFound
from edgeops.service.context import Context
from edgeops.store.database import Work
from edgeops.trust.seal import seal_command

LIFE_S = 300.0
"""How long a device may take to begin a command, if nobody says otherwise."""
MAX_LIFE_S = 7 * 24 * 3600.0


def give(
    context: Context, actor: str, name: str, kind: str, *, life_s: float = LIFE_S
) -> tuple[GivenCommand, bytes]:
    """Enter a command; return it, and its signed form to be published.

    Args:
        context: the control plane.
        actor: who gives it.
        name: the device.
        kind: one of ``COMMANDS``.
        life_s: a device does not begin it after so many seconds.

    Raises:
        NotFound: no such device.
        InvalidInput: no such command, or a life that cannot be.
    """
    if kind not in COMMANDS:
        raise InvalidInput(
            f"there is no command {kind[:40]!r}", next_step=f"choose of {', '.join(COMMANDS)}"
        )
    if not 0 < life_s <= MAX_LIFE_S:
        raise InvalidInput(
            f"a command cannot expire in {life_s:g} s",
            next_step=f"choose more than 0, at most {MAX_LIFE_S:.0f} s",
        )
    now_s = context.clock()
    with context.database.begin() as work:
        command = Command(
            device=_known(work, name),
            id=context.chance(16).hex(),
            kind=kind,
            issued_s=now_s,
            expires_s=now_s + life_s,
        )
        given = GivenCommand(command=command, given_by=actor)
        work.commands.add(given)
        audit.record(
            work.audit, now_s, actor, "device.command", command.device, kind=kind, id=command.id
        )
    return given, seal_command(context.director, command)


def answered(context: Context, work: Work, device: DeviceId, outcome: CommandOutcome) -> str:
    """Take what a device says of a command: the first word on it stands.

    Returns:
        What became of it, as a word for the counters: ``taken``, or ``unknown`` for a command
        that is not kept (any more) or was answered before.
    """
    return "taken" if work.commands.answer(device, outcome, context.clock()) else "unknown"


def commands(context: Context, name: str) -> tuple[GivenCommand, ...]:
    """Return the newest commands of a device, newest first.

    Raises:
        NotFound: no such device.
    """
    with context.database.read() as work:
        return work.commands.of(_known(work, name))


def command(context: Context, name: str, command_id: str) -> GivenCommand:
    """Return one command of a device.

    Raises:
        NotFound: no such device, or it has no such command (any more).
    """
    for each in commands(context, name):
        if each.command.id == command_id:
            return each
    raise NotFound(
        f"{name} has no command {command_id[:64]}", next_step=f"edgeops devices commands {name}"
    )


def _known(work: Work, name: str) -> DeviceId:
    try:
        device = parse_device_id(name)
    except ProtocolError as error:
        raise InvalidInput(str(error), next_step=error.next_step) from error
    if work.fleet.get(device) is None:
        raise NotFound(f"there is no device {name}", next_step="edgeops devices list")
    return device
