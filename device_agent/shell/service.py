"""The agent as a service of systemd: its unit, as text made of a plan.

What the unit must have for this agent's sake:

- ``KillMode=mixed``: a self-test's child that the service manager ended would look like a crash
  of the model, for which the package would be put into quarantine.
- ``OOMPolicy=continue``: the child offers itself first when memory runs out; that is a verdict on
  the candidate and no reason to end the agent.
- ``StartLimitIntervalSec=0``: a device that nobody can reach must never be given up.
"""

from __future__ import annotations

import re
from pathlib import Path

from device_agent.protocol.errors import BadInput
from device_agent.protocol.values import dataclass

UNIT_NAME = "device-agent.service"
STATE_PARENT = Path("/var/lib")
DEFAULT_STATE = STATE_PARENT / "edgeops"
DYNAMIC_USER = "device-agent"
WATCHDOG_S = 120
EXIT_RESTART = 75
"""The hub commanded a restart, and a service manager will see to it (EX_TEMPFAIL)."""
HOMES = (Path("/home"), Path("/root"), Path("/run/user"))
TEMPORARY = (Path("/tmp"), Path("/var/tmp"))  # noqa: S108 - named to be refused
THE_SYSTEMS = tuple(
    Path(each)
    for each in (
        *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/run", "/sbin"),
        *("/sys", "/usr", "/var/run", "/var/lock", "/var/lib/private", "/var/lib/systemd"),
    )
)
"""Where no state folder may be: the system's own, or not there for a service, or not for long."""
FOR_EVERYBODY = "install into a folder for everybody: python3 -m venv /opt/edgeops"
_PLAIN = re.compile(r"/[A-Za-z0-9._/+:@-]*")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """What the unit is made of.

    Attributes:
        program: the console script ``device-agent`` of an environment.
        interpreter: the Python that runs it, every link followed.
        state: the state folder.
        user: an existing user; None: a user of its own, made and unmade by systemd.
        credential: the enrolment file, which only root can read; None: the state folder has
            adopted one already.
    """

    program: Path
    interpreter: Path
    state: Path = DEFAULT_STATE
    user: str | None = None
    credential: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what a unit file cannot say plainly, or what systemd could not do.

        Raises:
            BadInput: the message says what to give instead.
        """
        for what, path in (("program", self.program), ("state folder", self.state)):
            if not _PLAIN.fullmatch(str(path)) or ".." in path.parts:
                raise BadInput(
                    f"{path} cannot stand in a unit as {what}",
                    next_step="give an absolute path of letters, digits and . _ + : @ -",
                )
        if self.user is not None and not _USER.fullmatch(self.user):
            raise BadInput(f"{self.user!r} is no user name", next_step="give --user NAME")
        if self._is_below(TEMPORARY):
            raise BadInput(
                f"{self.program} is in a temporary folder, of which a service has its own",
                next_step=FOR_EVERYBODY,
            )
        if self.is_in_a_home and self.user is None:
            raise BadInput(
                f"{self.program} or its Python is in a home folder, hidden from the service",
                next_step=f"{FOR_EVERYBODY}, or give --user NAME",
            )
        self._check_state()

    def _check_state(self) -> None:
        why = self._wrong_with_state()
        if why:
            raise BadInput(
                f"{self.state} {why}",
                next_step=f"choose --state {DEFAULT_STATE}, or a folder of its own elsewhere",
            )
        if not self.is_state_managed and self.user is None:
            raise BadInput(
                f"{self.state} is not below {STATE_PARENT}, so no user can be made for it",
                next_step=f"choose --state {DEFAULT_STATE}, or give --user NAME",
            )

    def _wrong_with_state(self) -> str:
        above = {self.state, *self.state.parents}
        if ":" in str(self.state):
            return "has a colon, by which systemd would part it in two"
        if not above.isdisjoint(TEMPORARY):
            return "is in a temporary folder, of which a service has its own, emptied at its end"
        if self.state in (Path("/"), Path("/var")) or not above.isdisjoint(THE_SYSTEMS):
            return "is the system's own"
        if not above.isdisjoint(HOMES) and not self.is_in_a_home:
            return "is in a home folder, hidden from the service"
        return ""

    @property
    def is_in_a_home(self) -> bool:
        """Whether the program, or its Python, is in somebody's home folder."""
        return self._is_below(HOMES)

    @property
    def is_state_managed(self) -> bool:
        """Whether systemd makes and owns the state folder."""
        return STATE_PARENT in self.state.parents

    def _is_below(self, folders: tuple[Path, ...]) -> bool:
        above = {*self.program.parents, *self.interpreter.parents}
        return not above.isdisjoint(folders)


def unit_text(plan: ServicePlan) -> str:
    """Return the unit file of a plan."""
    sections = (
        ("Unit", _unit_lines(plan)),
        ("Service", [*_process_lines(plan), *_identity_lines(plan), *_hardening_lines(plan)]),
        ("Install", ["WantedBy=multi-user.target"]),
    )
    return "\n".join("\n".join([f"[{name}]", *lines, ""]) for name, lines in sections)


def _unit_lines(plan: ServicePlan) -> list[str]:
    mounts = [] if plan.is_state_managed else [f"RequiresMountsFor={plan.state}"]
    # Not network-online.target: what was committed serves without a network.
    return [
        "Description=edgeops device agent",
        "After=network.target",
        "StartLimitIntervalSec=0",
        *mounts,
    ]


def _process_lines(plan: ServicePlan) -> list[str]:
    enrolment, credentials = "", []
    if plan.credential is not None:
        enrolment = " --enrolment ${CREDENTIALS_DIRECTORY}/enrolment"
        credentials = [f"LoadCredential=enrolment:{plan.credential}"]
    return [
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={plan.program} --log-level info run --state {plan.state}{enrolment}",
        *credentials,
        "Restart=always",
        "RestartSec=2",
        f"SuccessExitStatus={EXIT_RESTART}",
        f"WatchdogSec={WATCHDOG_S}",
        "TimeoutStartSec=300",
        "TimeoutStopSec=30",
        "KillMode=mixed",
        "OOMPolicy=continue",
        # What the watchdog ends would leave a core file, with the broker password in it.
        "LimitCORE=0",
    ]


def _identity_lines(plan: ServicePlan) -> list[str]:
    if plan.user is None:
        lines = ["DynamicUser=yes", f"User={DYNAMIC_USER}"]
    else:
        lines = [f"User={plan.user}"]
    if plan.is_state_managed:
        folder = plan.state.relative_to(STATE_PARENT)
        return [*lines, f"StateDirectory={folder}", "StateDirectoryMode=0700"]
    return [*lines, f"ReadWritePaths={plan.state}"]


def _hardening_lines(plan: ServicePlan) -> list[str]:
    return [
        "UMask=0077",
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "ProtectSystem=strict",
        f"ProtectHome={'read-only' if plan.is_in_a_home else 'yes'}",
        "PrivateTmp=yes",
        "PrivateDevices=yes",
        "ProtectClock=yes",
        "ProtectControlGroups=yes",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        "ProtectProc=invisible",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK",
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "RemoveIPC=yes",
        "KeyringMode=private",
        "LockPersonality=yes",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged",
        "SystemCallErrorNumber=EPERM",
    ]
