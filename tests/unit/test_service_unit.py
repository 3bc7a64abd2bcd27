"""The unit of systemd: what is in it, and what a plan must not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from device_agent.protocol.errors import BadInput
from device_agent.shell.service import EXIT_RESTART, WATCHDOG_S, ServicePlan, unit_text

ENROLMENT = Path("/etc/edgeops/device-agent.enrolment.json")


def plan(**fields: Any) -> ServicePlan:
    given = {"program": "/opt/edgeops/bin/device-agent", "interpreter": "/usr/bin/python3.11"}
    paths = {name: Path(fields.pop(name, path)) for name, path in given.items()}
    return ServicePlan(**paths, **fields)


def read(text: str) -> dict[str, dict[str, list[str]]]:
    """Read a unit: section, then key, then every value that it is given."""
    sections: dict[str, dict[str, list[str]]] = {}
    for line in filter(None, text.splitlines()):
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), {})
        else:
            key, equals, value = line.partition("=")
            assert equals and key.isalpha(), line
            section.setdefault(key, []).append(value)
    return sections


def service(**fields: Any) -> dict[str, str]:
    values = read(unit_text(plan(**fields)))["Service"]
    return {key: " ".join(each) for key, each in values.items()}


def test_the_unit_has_the_sections_that_make_it_start_at_boot_and_never_be_given_up() -> None:
    unit = read(unit_text(plan()))
    assert set(unit) == {"Unit", "Service", "Install"}
    assert unit["Install"]["WantedBy"] == ["multi-user.target"]
    assert unit["Unit"]["StartLimitIntervalSec"] == ["0"]
    assert "network-online.target" not in unit_text(plan())  # it serves without a network


def test_the_agent_is_watched_and_started_again() -> None:
    lines = service()
    assert lines["Type"] == "notify"
    assert lines["WatchdogSec"] == str(WATCHDOG_S)
    assert lines["Restart"] == "always"
    assert lines["SuccessExitStatus"] == str(EXIT_RESTART)
    assert lines["ExecStart"] == (
        "/opt/edgeops/bin/device-agent --log-level info run --state /var/lib/edgeops"
    )


def test_a_self_tests_child_is_left_to_the_agent() -> None:
    lines = service()
    assert (lines["KillMode"], lines["OOMPolicy"]) == ("mixed", "continue")


def test_the_enrolment_is_a_credential_that_only_the_service_sees() -> None:
    lines = service(credential=ENROLMENT)
    assert lines["LoadCredential"] == f"enrolment:{ENROLMENT}"
    assert lines["ExecStart"].endswith(" --enrolment ${CREDENTIALS_DIRECTORY}/enrolment")
    assert "LoadCredential" not in service()


def test_it_may_write_its_state_folder_and_nothing_else() -> None:
    lines = service()
    assert (lines["ProtectSystem"], lines["ProtectHome"]) == ("strict", "yes")
    assert (lines["DynamicUser"], lines["StateDirectory"]) == ("yes", "edgeops")
    assert lines["StateDirectoryMode"] == "0700"
    assert "ReadWritePaths" not in lines
    assert lines["CapabilityBoundingSet"] == ""
    assert lines["NoNewPrivileges"] == "yes"
    assert lines["SystemCallFilter"] == "@system-service ~@privileged"


def test_a_user_that_exists_is_taken_as_it_is() -> None:
    lines = service(user="pi", state=Path("/var/lib/edge/cam"))
    assert lines["User"] == "pi"
    assert lines["StateDirectory"] == "edge/cam"
    assert "DynamicUser" not in lines


def test_a_state_folder_elsewhere_is_mounted_first_and_alone_writable() -> None:
    unit = read(unit_text(plan(user="pi", state=Path("/data/edgeops"))))
    assert unit["Unit"]["RequiresMountsFor"] == ["/data/edgeops"]
    assert unit["Service"]["ReadWritePaths"] == ["/data/edgeops"]
    assert "StateDirectory" not in unit["Service"]


def test_a_program_in_a_users_home_can_be_read_by_that_user() -> None:
    home = {"user": "pi", "program": "/home/pi/venv/bin/device-agent"}
    assert service(**home)["ProtectHome"] == "read-only"
    lines = service(**home, state=Path("/home/pi/state"))
    assert (lines["ProtectHome"], lines["ReadWritePaths"]) == ("read-only", "/home/pi/state")


def test_no_core_file_is_written_that_would_hold_the_password() -> None:
    assert service()["LimitCORE"] == "0"


@pytest.mark.parametrize(
    ("fields", "why", "step"),
    [
        ({"program": "/home/pi/venv/bin/device-agent"}, "home folder", "/opt/edgeops"),
        ({"interpreter": "/root/.pyenv/bin/python3"}, "home folder", "--user"),
        ({"program": "/tmp/venv/bin/device-agent"}, "temporary folder", "/opt/edgeops"),
        ({"state": Path("/data/edgeops")}, "not below /var/lib", "--user"),
        ({"state": Path("/var/lib")}, "not below /var/lib", "--state /var/lib/edgeops"),
        ({"state": Path("/home/pi/state"), "user": "pi"}, "hidden", "--state /var/lib/edgeops"),
        ({"state": Path("/root/state"), "user": "root"}, "hidden", "--state"),
        ({"state": Path("/tmp/state"), "user": "pi"}, "temporary folder", "--state"),
        ({"state": Path("/var/tmp/state"), "user": "pi"}, "temporary folder", "--state"),
        ({"state": Path("/var/lib/a:b")}, "colon", "--state"),
        ({"state": Path("/data/a:b"), "user": "pi"}, "colon", "--state"),
        *(
            ({"state": Path(folder), "user": "pi"}, "the system's own", "--state")
            for folder in ("/", "/etc", "/proc/x", "/dev/shm/x", "/run/x", "/usr/x", "/var")
        ),
        ({"state": Path("/var/lib/systemd")}, "the system's own", "--state"),
        ({"state": Path("/var/lib/private/edgeops")}, "the system's own", "--state"),
        ({"state": Path("edgeops")}, "cannot stand in a unit", "absolute path"),
        ({"state": Path("/var/lib/../../etc")}, "cannot stand in a unit", "absolute path"),
        ({"state": Path("/var/lib/a b")}, "cannot stand in a unit", "letters"),
        ({"state": Path("/var/lib/a\nExecStartPre=/bin/sh")}, "cannot stand in a unit", "letters"),
        ({"state": Path("/var/lib/%h")}, "cannot stand in a unit", "letters"),
        ({"program": "/opt/$(id)/device-agent"}, "cannot stand in a unit", "letters"),
        ({"user": "pi\nUser=root"}, "no user name", "--user"),
    ],
)
def test_a_plan_that_systemd_could_not_carry_out_says_what_to_give_instead(
    fields: dict[str, Any], why: str, step: str
) -> None:
    with pytest.raises(BadInput, match=why) as raised:
        plan(**fields)
    assert step in raised.value.next_step
