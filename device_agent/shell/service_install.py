"""Putting the unit in place: each step can be read before it is done.

Nothing is done before everything that can be checked has been: root, systemd and its version, the
enrolment file, and that the service's user can run the program.
"""

from __future__ import annotations

import os
import pwd
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from device_agent.protocol.errors import AgentError, NotEnrolled
from device_agent.protocol.values import dataclass
from device_agent.shell.identity import IDENTITY_PATH, read_enrolment
from device_agent.shell.service import UNIT_NAME, ServicePlan, unit_text

MIN_SYSTEMD = 247
"""LoadCredential=; Debian 11, Ubuntu 22.04 and everything newer have it."""
NOBODY = 65534
COMMAND_TIMEOUT_S = 120.0
NOBODYS = frozenset({"lock", "lost+found"})
"""What may lie in a folder that is as good as empty: of a start that failed, of a new disk."""
BOOTED = Path("/run/systemd/system")
"""There while systemd is the service manager, see sd_booted(3)."""


class CannotInstall(AgentError):
    """The service cannot be installed here, or not by this user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The doors to the machine: where files go, and how programs are run.

    ``run`` takes a command, and the user and group to run it as (None: ourselves); it returns the
    exit code and what the command said.
    """

    run: Callable[[Sequence[str], tuple[int, int] | None], tuple[int, str]]
    root: Path = Path("/")
    user_id: int = 0
    booted: Path = BOOTED

    def path(self, path: Path) -> Path:
        """Return where a path of the machine lies."""
        return self.root / path.relative_to("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is done, and how it is said."""

    text: str
    act: Callable[[], None]


def this_machine() -> Machine:
    """Return the machine that this process runs on."""
    return Machine(run=_run, user_id=os.geteuid())


def default_program() -> Path:
    """Return the console script of the environment that runs this."""
    return Path(sys.executable).with_name("device-agent")


def make_plan(plan: ServicePlan, offered: Path | None, machine: Machine) -> ServicePlan:
    """Return the plan with its enrolment: the offered one, or the one of an installation before.

    Raises:
        NotEnrolled: the offered file cannot be read.
        ProtocolError: it is something else.
    """
    credential = Path(f"/etc/edgeops/{UNIT_NAME.removesuffix('.service')}.enrolment.json")
    if offered is not None:
        read_enrolment(offered)
        return replace(plan, credential=credential)
    is_there = os.path.isfile(machine.path(credential))
    return replace(plan, credential=credential if is_there else None)


def steps_of(plan: ServicePlan, offered: Path | None, machine: Machine) -> tuple[Step, ...]:
    """Return what an installation does, in order."""
    steps = []
    if offered is not None and plan.credential is not None:
        steps.append(_keep_enrolment(offered, plan.credential, machine))
    if not plan.is_state_managed:
        steps.append(_make_state(plan, machine))
    unit = Path("/etc/systemd/system") / UNIT_NAME
    steps.append(
        Step(
            text=f"write {unit}",
            act=lambda: _write(machine.path(unit), unit_text(plan).encode(), 0o644),
        )
    )
    commands = (("daemon-reload",), ("enable", UNIT_NAME), ("restart", UNIT_NAME))
    return (*steps, *(_systemctl(command, machine) for command in commands))


def check(plan: ServicePlan, machine: Machine) -> None:
    """Find out whether the steps can be done.

    Raises:
        CannotInstall: not root, no systemd or too old a one, no such user, or a program that the
            service's user cannot run, or a state folder that is something else.
        NotEnrolled: neither an enrolment file nor a state folder that has adopted one.
    """
    if machine.user_id != 0:
        raise CannotInstall(
            "only root can install a service",
            next_step="the same with sudo, or --dry-run to see what would be done",
        )
    if not machine.booted.is_dir():
        raise CannotInstall(
            "systemd does not run here",
            next_step="start the agent by what does: device-agent run --state DIR",
        )
    _check_version(machine)
    _check_folder(plan.state, machine)
    if plan.credential is None and not os.path.isfile(machine.path(plan.state / IDENTITY_PATH)):
        raise NotEnrolled(
            f"{plan.state} has no identity yet", next_step="give --enrolment FILE once"
        )
    _check_program(plan, machine)


def _check_version(machine: Machine) -> None:
    code, said = machine.run(("systemctl", "--version"), None)
    found = re.match(r"systemd (\d+)", said)
    if code != 0 or found is None or int(found[1]) < MIN_SYSTEMD:
        raise CannotInstall(
            f"systemd {found[1] if found else 'of an unknown version'} is too old",
            next_step=f"it takes {MIN_SYSTEMD} or newer; otherwise write a unit by hand, "
            "with --dry-run as a model",
        )


def _check_folder(state: Path, machine: Machine) -> None:
    """Refuse a folder of others: systemd would give it, with all that is in it, to the agent."""
    try:
        names = set(os.listdir(machine.path(state)))
    except FileNotFoundError:
        return
    except OSError as error:
        raise CannotInstall(
            f"{state} cannot be a state folder: {error.strerror}",
            next_step="give another --state",
        ) from error
    if IDENTITY_PATH not in names and not names <= NOBODYS:
        raise CannotInstall(
            f"{state} is not empty and has no identity of an agent",
            next_step="give a --state of its own, or empty the folder",
        )


def _check_program(plan: ServicePlan, machine: Machine) -> None:
    owner = (NOBODY, NOBODY) if plan.user is None else _ids_of(plan.user)
    code, said = machine.run((str(plan.program), "--version"), owner)
    if code != 0:
        raise CannotInstall(
            f"the service's user cannot run {plan.program}: {said.strip()[-200:]}",
            next_step="install into a folder that every user may read, e.g. /opt/edgeops",
        )


def _ids_of(user: str) -> tuple[int, int]:
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise CannotInstall(
            f"there is no user {user}",
            next_step=f"useradd --system {user}, or leave --user out: systemd then makes one",
        ) from None
    return entry.pw_uid, entry.pw_gid


def _keep_enrolment(offered: Path, credential: Path, machine: Machine) -> Step:
    return Step(
        text=f"copy {offered} to {credential} (readable by root only)",
        act=lambda: _write(machine.path(credential), offered.read_bytes(), 0o600),
    )


def _make_state(plan: ServicePlan, machine: Machine) -> Step:
    def act() -> None:
        folder = machine.path(plan.state)
        if folder.is_dir():
            return  # whose it is, is its owner's business
        folder.mkdir(mode=0o700, parents=True)
        os.chown(folder, *_ids_of(plan.user or ""))

    return Step(text=f"make {plan.state} for {plan.user}, if it is not there", act=act)


def _systemctl(arguments: tuple[str, ...], machine: Machine) -> Step:
    command = ("systemctl", *arguments)

    def act() -> None:
        code, said = machine.run(command, None)
        if code != 0:
            raise CannotInstall(
                f"{' '.join(command)}: {said.strip()[-200:] or f'exit code {code}'}",
                next_step=f"journalctl -u {UNIT_NAME} -n 50",
            )

    return Step(text=f"run {' '.join(command)}", act=act)


def _write(path: Path, data: bytes, mode: int) -> None:
    """Replace a file; it never has another mode than this, and is never half of itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _run(command: Sequence[str], owner: tuple[int, int] | None) -> tuple[int, str]:
    as_user: dict[str, object] = {}
    if owner is not None and os.geteuid() == 0:
        as_user = {"user": owner[0], "group": owner[1], "extra_groups": [], "cwd": "/"}
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_TIMEOUT_S,
            check=False,
            **as_user,  # type: ignore[call-overload]
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return 127, str(error)
    return done.returncode, done.stdout + done.stderr
