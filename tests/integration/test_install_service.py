"""`device-agent install-service`: what it would do, what it does, and what it says when it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from device_agent.protocol.errors import NotEnrolled
from device_agent.shell.service import UNIT_NAME, ServicePlan, unit_text
from device_agent.shell.service_install import (
    CannotInstall,
    Machine,
    check,
    make_plan,
    steps_of,
    this_machine,
)
from tests.device_harness import Hub

PLAN = ServicePlan(program=Path("/usr/bin/true"), interpreter=Path("/usr/bin/true"))
UNIT = Path("etc/systemd/system") / UNIT_NAME
ENROLMENT = Path("etc/edgeops/device-agent.enrolment.json")


@dataclass
class Programs:
    """Programs that only note how they were called; ``answers`` is what some of them say."""

    called: list[tuple[tuple[str, ...], tuple[int, int] | None]] = field(default_factory=list)
    answers: dict[str, tuple[int, str]] = field(default_factory=dict)

    def __call__(self, command: Sequence[str], owner: tuple[int, int] | None) -> tuple[int, str]:
        self.called.append((tuple(command), owner))
        usual = (0, "systemd 252 (252.38)") if command[1:] == ("--version",) else (0, "")
        return self.answers.get(" ".join(command), usual)


@pytest.fixture
def programs() -> Programs:
    return Programs()


@pytest.fixture
def machine(tmp_path: Path, programs: Programs) -> Machine:
    booted = tmp_path / "booted"
    booted.mkdir()
    return Machine(run=programs, root=tmp_path / "root", user_id=0, booted=booted)


@pytest.fixture
def enrolment(tmp_path: Path) -> Path:
    path = tmp_path / "cam-1.enrolment.json"
    path.write_bytes(Hub().enrolment().to_bytes())
    return path


def install(machine: Machine, offered: Path | None, plan: ServicePlan = PLAN) -> ServicePlan:
    plan = make_plan(plan, offered, machine)
    check(plan, machine)
    for step in steps_of(plan, offered, machine):
        step.act()
    return plan


# ---- what it does


def test_an_installation_keeps_the_enrolment_writes_the_unit_and_starts_it(
    machine: Machine, programs: Programs, enrolment: Path
) -> None:
    plan = install(machine, enrolment)
    kept = machine.root / ENROLMENT
    assert kept.read_bytes() == enrolment.read_bytes()
    assert kept.stat().st_mode & 0o777 == 0o600
    unit = machine.root / UNIT
    assert unit.read_text() == unit_text(plan)
    assert unit.stat().st_mode & 0o777 == 0o644
    assert f"LoadCredential=enrolment:/{ENROLMENT}" in unit.read_text()
    assert [command for command, _ in programs.called] == [
        ("systemctl", "--version"),
        ("/usr/bin/true", "--version"),
        ("systemctl", "daemon-reload"),
        ("systemctl", "enable", UNIT_NAME),
        ("systemctl", "restart", UNIT_NAME),
    ]


def test_installing_again_keeps_the_enrolment_of_before(machine: Machine, enrolment: Path) -> None:
    first = install(machine, enrolment)
    assert install(machine, None) == first


def test_a_state_folder_that_has_adopted_its_enrolment_needs_none(machine: Machine) -> None:
    state = machine.root / "var/lib/edgeops"
    state.mkdir(parents=True)
    (state / "identity.json").write_text("{}")
    install(machine, None)
    assert "LoadCredential" not in (machine.root / UNIT).read_text()


def test_the_program_is_tried_as_the_user_of_the_service(
    machine: Machine, programs: Programs, enrolment: Path
) -> None:
    install(machine, enrolment)
    install(machine, enrolment, replace(PLAN, user="root"))
    tried = [owner for command, owner in programs.called if command[0] == "/usr/bin/true"]
    assert tried == [(65534, 65534), (0, 0)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_state_folder_elsewhere_is_made_for_its_user(machine: Machine, enrolment: Path) -> None:
    install(machine, enrolment, replace(PLAN, user="nobody", state=Path("/data/edgeops")))
    made = (machine.root / "data/edgeops").stat()
    assert (made.st_mode & 0o777, made.st_uid) == (0o700, 65534)


# ---- what it says when it cannot


def test_who_is_not_root_is_told_of_sudo_and_dry_run(machine: Machine, enrolment: Path) -> None:
    with pytest.raises(CannotInstall, match="only root") as raised:
        install(replace(machine, user_id=1000), enrolment)
    assert "sudo" in raised.value.next_step
    assert "--dry-run" in raised.value.next_step
    assert not machine.root.exists()


def test_without_systemd_there_is_another_way(machine: Machine, enrolment: Path) -> None:
    with pytest.raises(CannotInstall, match="systemd does not run here") as raised:
        install(replace(machine, booted=machine.root / "nothing"), enrolment)
    assert "device-agent run" in raised.value.next_step


@pytest.mark.parametrize("said", [(0, "systemd 241 (241)"), (0, "?"), (127, "no such file")])
def test_a_systemd_without_credentials_is_too_old(
    machine: Machine, programs: Programs, enrolment: Path, said: tuple[int, str]
) -> None:
    programs.answers["systemctl --version"] = said
    with pytest.raises(CannotInstall, match="too old") as raised:
        install(machine, enrolment)
    assert "247" in raised.value.next_step


def test_a_program_that_the_user_cannot_run_is_found_before_anything_is_written(
    machine: Machine, programs: Programs, enrolment: Path
) -> None:
    programs.answers["/usr/bin/true --version"] = (126, "Permission denied")
    with pytest.raises(CannotInstall, match="cannot run /usr/bin/true: Permission denied"):
        install(machine, enrolment)
    assert not machine.root.exists()


def test_a_user_that_does_not_exist_is_named(machine: Machine, enrolment: Path) -> None:
    with pytest.raises(CannotInstall, match="no user edgy") as raised:
        install(machine, enrolment, replace(PLAN, user="edgy"))
    assert "useradd" in raised.value.next_step


def test_a_device_without_any_enrolment_is_not_installed(machine: Machine) -> None:
    with pytest.raises(NotEnrolled, match="no identity yet") as raised:
        install(machine, None)
    assert "--enrolment" in raised.value.next_step


@pytest.mark.parametrize("names", [["status"], ["lock", "info"]])
def test_a_folder_that_is_somebody_elses_is_not_taken_over(
    machine: Machine, programs: Programs, enrolment: Path, names: list[str]
) -> None:
    state = machine.root / "var/lib/dpkg"
    state.mkdir(parents=True)
    for name in names:
        (state / name).write_text("")
    with pytest.raises(CannotInstall, match="has no identity of an agent") as raised:
        install(machine, enrolment, replace(PLAN, state=Path("/var/lib/dpkg")))
    assert "--state" in raised.value.next_step
    assert not (machine.root / UNIT).exists()


@pytest.mark.parametrize("names", [[], ["lock"], ["lost+found"], ["identity.json", "models"]])
def test_a_folder_that_is_as_good_as_empty_or_an_agents_is_taken(
    machine: Machine, enrolment: Path, names: list[str]
) -> None:
    state = machine.root / "var/lib/edgeops"
    state.mkdir(parents=True)
    for name in names:
        (state / name).write_text("")
    install(machine, enrolment)
    assert (machine.root / UNIT).exists()


def test_a_state_folder_that_is_a_file_is_said(machine: Machine, enrolment: Path) -> None:
    (machine.root / "var/lib").mkdir(parents=True)
    (machine.root / "var/lib/edgeops").write_text("")
    with pytest.raises(CannotInstall, match="cannot be a state folder: Not a directory"):
        install(machine, enrolment)


def test_a_file_that_is_no_enrolment_is_refused_at_once(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "x").write_text("{}")
    for path in (tmp_path / "x", tmp_path / "y"):
        with pytest.raises(NotEnrolled):
            install(machine, path)
    assert not machine.root.exists()


def test_what_systemctl_says_is_passed_on(
    machine: Machine, programs: Programs, enrolment: Path
) -> None:
    programs.answers[f"systemctl restart {UNIT_NAME}"] = (1, "Job failed because of a timeout.")
    with pytest.raises(CannotInstall, match="Job failed because of a timeout") as raised:
        install(machine, enrolment)
    assert "journalctl" in raised.value.next_step


# ---- the command


def device_agent(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command as from an environment in /opt, wherever this one is."""
    code = (
        "import sys; sys.executable = '/opt/edgeops/bin/python';"
        "from device_agent.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, "install-service", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_dry_run_that_cannot_be_carried_out_says_why() -> None:
    ran = device_agent("--dry-run", "--state", "relative")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.startswith("error: ")
    assert "next:  " in ran.stderr


def test_a_dry_run_prints_the_unit_and_each_step_and_does_nothing(enrolment: Path) -> None:
    ran = device_agent("--dry-run", "--user", "nobody", "--enrolment", enrolment)
    assert ran.returncode == 0, ran.stderr
    assert "ExecStart=/opt/edgeops/bin/device-agent " in ran.stdout
    assert ran.stdout.startswith("[Unit]\n")
    assert "User=nobody" in ran.stdout
    assert [line.split()[:2] for line in ran.stderr.splitlines()] == [
        ["would", "copy"],
        ["would", "write"],
        ["would", "run"],
        ["would", "run"],
        ["would", "run"],
    ]
    assert not Path("/etc/systemd/system", UNIT_NAME).exists()


def test_programs_are_really_run_and_really_as_another_user() -> None:
    machine = this_machine()
    assert machine.run(("/bin/echo", "a"), None) == (0, "a\n")
    assert machine.run(("/nowhere/x",), None)[0] == 127
    if machine.user_id == 0:
        assert machine.run(("/usr/bin/id", "-u"), (65534, 65534)) == (0, "65534\n")


# ---- systemd's own opinion; both commands only read


@pytest.fixture(params=[None, "root"])
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd is not installed")
    path = tmp_path / UNIT_NAME
    plan = replace(PLAN, user=request.param, credential=Path("/etc/e.json"))
    path.write_text(unit_text(plan))
    return path


def analyze(*arguments: object) -> tuple[int, str]:
    done = subprocess.run(
        ["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stderr


def test_systemd_understands_every_line(unit: Path) -> None:
    assert analyze("verify", "--man=no", unit) == (0, "")
    unit.write_text(unit.read_text().replace("OOMPolicy=", "OOMPolice="))
    assert "OOMPolice" in analyze("verify", "--man=no", unit)[1]


def test_systemd_finds_little_exposed(unit: Path) -> None:
    most = 30 if "User=root" in unit.read_text() else 20  # of 100; a bare service has 96
    assert analyze("security", "--offline=true", f"--threshold={most}", unit)[0] == 0
    unit.write_text("[Service]\nExecStart=/usr/bin/true\n")
    assert analyze("security", "--offline=true", f"--threshold={most}", unit)[0] == 1
