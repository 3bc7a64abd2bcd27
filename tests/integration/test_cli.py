"""The command line, as real processes: what a person sees when things are as they are."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from device_agent.protocol import topics
from device_agent.protocol.enrolment import Enrolment
from edgeops.cli.main import main
from edgeops.client import Client, HubUnreachable
from edgeops.hub.broker import find_mosquitto
from edgeops.packaging.oci.layout import write_layout
from edgeops.packaging.package import Package
from edgeops.trust.keys import KeyFolder
from tests.hub_harness import make_keys, tiny_package
from tests.models import linear_onnx, save_golden, separable
from tests.processes import free_port, process_runs

EDGEOPS = Path(sys.executable).with_name("edgeops")
PATIENCE_S = 30.0
PROFILE = "x86-64-generic"
CLIENTS: list[Client] = []


@pytest.fixture(autouse=True, scope="module")
def clients_are_closed() -> Iterator[None]:
    yield
    for client in CLIENTS:
        client.close()


def wait_until(fact: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not fact():
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.05)


def children_of(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


@dataclass(frozen=True)
class Done:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.err.strip().splitlines()


class Home:
    """A home folder and the commands that are run in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def environment(self, **more: str) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith("EDGEOPS_")}
        return {**clean, "EDGEOPS_HOME": str(self.path), "PYTHONUNBUFFERED": "1", **more}

    def run(self, *arguments: object, stdin: str = "", **environment: str) -> Done:
        done = subprocess.run(
            [EDGEOPS, *map(str, arguments)],
            env=self.environment(**environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.path.parent,
        )
        assert "Traceback" not in done.stderr + done.stdout, done.stderr
        return Done(code=done.returncode, out=done.stdout, err=done.stderr)

    def fails(self, *arguments: object, code: int = 1, **environment: str) -> Done:
        """Run what must fail: one line of cause, one of the next step, nothing more."""
        done = self.run(*arguments, **environment)
        assert done.code == code, (done.code, done.out, done.err)
        said = [line for line in done.lines if line.startswith(("error: ", "next:  "))]
        assert [line[:5] for line in said] in (["error", "next:"], ["error"]), done.err
        assert not done.out
        return done

    def fails_here(self, *arguments: object) -> Done:
        """As ``fails``, within this process: for the tables of what cannot be."""
        runner = CliRunner(env={"EDGEOPS_HOME": str(self.path)})
        result = runner.invoke(main, [str(each) for each in arguments])
        assert isinstance(result.exception, SystemExit), result.exception
        done = Done(code=result.exit_code, out=result.stdout, err=result.stderr)
        assert (done.code, done.out) == (1, ""), done
        said = [line[:5] for line in done.lines if line.startswith(("error: ", "next:  "))]
        assert said in (["error", "next:"], ["error"]), done
        return done

    def keys(self) -> Home:
        KeyFolder(self.path / "keys").init()
        return self

    def client(self) -> Client:
        url = json.loads((self.path / "hub.json").read_text())["url"]
        client = Client(url, token=(self.path / "token").read_text().strip())
        CLIENTS.append(client)
        return client

    @contextmanager
    def up(self, *arguments: object, ready: bool = True) -> Iterator[subprocess.Popen[str]]:
        """Run the hub; whatever happens, it is gone afterwards."""
        ports = ["--port", "0"]
        if "--broker" not in arguments:
            ports += ["--mqtt-port", str(free_port())]
        with open(self.path.parent / "up.log", "a") as log:
            hub = subprocess.Popen(
                [EDGEOPS, "up", *ports, *map(str, arguments)],
                env=self.environment(),
                stdout=log,
                stderr=log,
                text=True,
            )
        try:
            if ready:
                wait_until(lambda: hub.poll() is not None or self.is_up(), "the hub to be up")
                assert hub.poll() is None, (self.path.parent / "up.log").read_text()
            yield hub
        finally:
            if hub.poll() is None:
                hub.terminate()
            hub.wait(PATIENCE_S)

    def is_up(self) -> bool:
        try:
            return self.client().health()["status"] == "ok"
        except (HubUnreachable, OSError):
            return False

    def broker_pid(self) -> int:
        return int((self.path / "broker" / "mosquitto.pid").read_text().split()[0])


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home whose hub is up, with version 1 of a model and one device."""
    home = Home(tmp_path_factory.mktemp("there") / "home").keys()
    write_tiny(home, home.path / "packages", 1)
    with home.up():
        client = home.client()
        assert home.run("publish", home.path / "packages").code == 0
        client.enroll("cam-1", PROFILE, {"site": "oslo"})
        yield home


def write_tiny(home: Home, folder: Path, number: int, **options: object) -> None:
    tiny = tiny_package(make_keys(), number, **options)  # type: ignore[arg-type]
    write_layout(
        Package(
            manifest=tiny.manifest,
            manifest_bytes=tiny.data,
            signature=KeyFolder(home.path / "keys").targets().sign(tiny.data),
            blobs=tiny.blobs,
        ),
        folder,
    )


needs_mosquitto = pytest.mark.skipif(
    find_mosquitto() is None, reason="no Mosquitto can be had: scripts/fetch_mosquitto failed"
)


# ---- keys


def test_keys_are_made_for_their_owner_only_and_never_overwritten(home: Home) -> None:
    assert home.run("keys", "init").code == 0
    folder = home.path / "keys"
    assert sorted(each.name for each in folder.iterdir()) == [
        "director.key",
        "root.json",
        "root.key",
        "targets.key",
    ]
    assert folder.stat().st_mode & 0o077 == 0
    assert all(each.stat().st_mode & 0o077 == 0 for each in folder.iterdir())
    before = (folder / "root.key").read_bytes()
    done = home.fails("keys", "init")
    assert "never overwritten" in done.err
    assert (folder / "root.key").read_bytes() == before


# ---- up: what stops it


def test_up_without_keys_says_how_to_make_them(home: Home) -> None:
    done = home.fails("up", "--port", free_port())
    assert done.lines == [
        f"error: there is no director.key in {home.path / 'keys'}",
        "next:  make keys with: edgeops keys init",
    ]
    assert not (home.path / "token").exists()


def test_up_with_a_damaged_key_says_so(home: Home) -> None:
    home.keys()
    (home.path / "keys" / "director.key").write_text("-----BEGIN NONSENSE-----\n")
    assert "director.key" in home.fails("up", "--port", free_port()).err


def test_up_with_an_altered_root_is_not_trusted(home: Home) -> None:
    home.keys()
    root = home.path / "keys" / "root.json"
    envelope = json.loads(root.read_text())
    envelope["payload"] = envelope["payload"][:40] + "AAAA" + envelope["payload"][44:]
    root.write_text(json.dumps(envelope))
    home.fails("up", "--port", free_port(), code=6)


def test_up_on_a_port_that_is_in_use_says_so(home: Home) -> None:
    home.keys()
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        done = home.fails("up", "--port", port)
    assert f"port {port} on 127.0.0.1 is in use" in done.err
    assert "--port" in done.lines[-1]


def test_up_on_an_mqtt_port_that_is_in_use_says_so(home: Home) -> None:
    home.keys()
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = squatter.getsockname()[1]
        done = home.fails("up", "--port", free_port(), "--mqtt-port", port)
    assert f"port {port} on 127.0.0.1 is in use" in done.err
    assert "--mqtt-port" in done.lines[-1]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--port", "70000"), 2),
        (("--bandwidth", "fast"), 2),
        (("--port", "0", "--host", "203.0.113.7"), 1),
        (("--port", "0", "--broker", "http://broker"), 1),
        (("--port", "0", "--broker", "mqtt://"), 1),
        (("--port", "0", "--database", "no-such-database://x"), 1),
    ],
    ids=str,
)
def test_up_with_options_that_cannot_be_ends_at_once(
    home: Home, arguments: tuple[str, ...], code: int
) -> None:
    home.keys()
    done = home.run("up", *arguments)
    assert done.code == code
    assert "rror: " in done.err


@pytest.mark.parametrize(
    "option",
    ["--port=-1", "--port=x", "--mqtt-port=0", "--bandwidth=0", "--broker-kind=emqx", "--what"],
)
def test_an_option_that_cannot_be_is_a_matter_of_usage(home: Home, option: str) -> None:
    result = CliRunner(env={"EDGEOPS_HOME": str(home.path)}).invoke(main, ["up", option])
    assert result.exit_code == 2
    assert option.partition("=")[0] in result.stderr


def test_up_in_a_home_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("no folder")
    assert Home(tmp_path / "home").run("up").code == 2


# ---- up: a life


@needs_mosquitto
def test_sigterm_leaves_no_child_and_a_restart_keeps_everything(home: Home) -> None:
    home.keys()
    write_tiny(home, home.path / "packages", 1)
    with home.up() as hub:
        children = children_of(hub.pid)
        assert home.broker_pid() in children
        token = (home.path / "token").read_text()
        for private in ("token", "hub.json", "hub.sqlite"):
            assert (home.path / private).stat().st_mode & 0o077 == 0, private
        assert home.run("publish", home.path / "packages").code == 0
        assert home.run("devices", "enroll", "cam-1", "--profile", PROFILE).code == 0
        hub.send_signal(signal.SIGTERM)
        assert hub.wait(PATIENCE_S) == 0
        wait_until(lambda: not any(map(process_runs, children)), "every child to end")
    with home.up():
        assert (home.path / "token").read_text() == token
        client = home.client()
        assert [each["model"] for each in client.models()] == ["kws"]
        assert [each["device"] for each in client.devices()] == ["cam-1"]
        acts = [entry["act"] for entry in client.audit()]
        assert acts.count("hub.start") == 2
        assert acts.count("hub.stop") == 1
        assert client.verify_audit()["ok"]
    said = (home.path.parent / "up.log").read_text()
    assert "ready" in said
    assert token.strip() not in said, "the token is in its file and nowhere else"
    assert "Traceback" not in said


@needs_mosquitto
def test_sigkill_of_the_hub_leaves_no_mosquitto_and_a_restart_works(home: Home) -> None:
    home.keys()
    with home.up() as hub:
        children = children_of(hub.pid)
        hub.kill()
        hub.wait(PATIENCE_S)
        wait_until(lambda: not any(map(process_runs, children)), "the broker to end with its hub")
    with home.up():
        assert home.client().verify_audit()["ok"]


def test_up_without_its_broker_works_and_says_that_it_is_not_connected(home: Home) -> None:
    home.keys()
    broker = "mqtt://hub:geheim@127.0.0.1:1"
    with home.up("--broker", broker, ready=False) as hub:
        url = home.path / "hub.json"
        wait_until(lambda: hub.poll() is not None or url.exists(), "the API's address")
        wait_until(lambda: answers(home), "the API to answer")
        assert home.client().health()["status"] == "degraded"
        done = home.run("doctor", "-o", "json")
        assert done.code == 1
        findings = {each["subject"]: each for each in json.loads(done.out)}
        assert findings["broker"]["state"] == "error"
        assert "127.0.0.1:1" in findings["broker"]["what"]
        assert findings["hub"]["state"] == "ok"
        # The hub's own account at the broker is nobody else's business.
        enrolment = home.client().enroll("cam-1", PROFILE)["enrolment"]
        assert Enrolment.from_bytes(enrolment.encode()).broker == "mqtt://127.0.0.1:1"
        assert "geheim" not in done.out + enrolment + json.dumps(home.client().hub())
        assert home.run("devices", "announce", "cam-1").code == 1
        hub.send_signal(signal.SIGTERM)
        assert hub.wait(PATIENCE_S) == 0
    said = (home.path.parent / "up.log").read_text()
    assert said.count("hub.disconnected") == 1  # it tries each second, and says a cause once
    assert "ready" not in said


def answers(home: Home) -> bool:
    try:
        return bool(home.client().health())
    except (HubUnreachable, OSError):
        return False


# ---- without a hub


@pytest.mark.parametrize(
    "arguments",
    [
        ("devices", "list"),
        ("rollout", "list"),
        ("models", "list"),
        ("token", "list"),
        ("audit", "verify"),
        ("rollout", "watch", "r1"),
    ],
    ids=" ".join,
)
def test_a_command_that_needs_a_hub_says_how_to_start_one(
    home: Home, arguments: tuple[str, ...]
) -> None:
    assert "edgeops up" in home.fails_here(*arguments).err


def test_a_hub_that_does_not_answer_is_told_with_its_address(home: Home) -> None:
    done = home.fails("--hub", "http://127.0.0.1:1", "devices", "list")
    assert "http://127.0.0.1:1" in done.err
    home.fails("--hub", "http://[::1", "devices", "list")
    home.fails("--hub", "nonsense", "devices", "list")


def test_doctor_without_anything_names_what_is_missing(home: Home) -> None:
    done = home.run("doctor", "-o", "json")
    assert done.code == 1
    findings = {each["subject"]: each for each in json.loads(done.out)}
    assert findings["python"]["state"] == "ok"
    assert findings["keys"]["state"] == "error"
    assert "edgeops keys init" in findings["keys"]["next_step"]
    assert findings["hub"]["state"] == "warning"


# ---- with a hub


def test_doctor_finds_nothing_wrong_where_nothing_is(there: Home) -> None:
    done = there.run("doctor", "-o", "json")
    assert done.code == 0
    findings = json.loads(done.out)
    assert {each["state"] for each in findings} <= {"ok", "warning"}
    assert {"python", "runtimes", "keys", "disk", "hub", "clock", "broker", "devices", "audit"} <= {
        each["subject"] for each in findings
    }
    assert there.run("doctor").code == 0


def test_a_wrong_token_is_exit_code_6_whatever_the_command(there: Home) -> None:
    for arguments in (
        ("devices", "list"),
        ("publish", there.path / "packages"),
        ("rollout", "watch", "r1"),
    ):
        done = there.fails("--token", "eo_wrong", *arguments, code=6)
        assert "token" in done.err
    there.fails("devices", "list", code=6, EDGEOPS_TOKEN="eo_wrong")
    there.fails("--token", "tök", "devices", "list")


def test_a_role_that_may_not_is_exit_code_6_and_names_the_role_that_may(there: Home) -> None:
    made = there.run("token", "create", "looker", "--role", "viewer")
    token = made.out.strip()
    assert token.startswith("eo_")
    assert token not in made.err
    assert there.run("--token", token, "devices", "list").code == 0
    done = there.fails("--token", token, "devices", "label", "cam-1", "a=b", code=6)
    assert "operator" in done.lines[-1]
    assert token not in there.run("token", "list").out
    name = next(t["id"] for t in there.client().tokens() if t["name"] == "looker")
    assert there.run("token", "revoke", name).code == 0
    there.fails("--token", token, "devices", "list", code=6)


def test_enrolling_writes_a_private_file_and_never_over_another(there: Home) -> None:
    path = there.path.parent / "new.json"
    enroll = ("devices", "enroll", "cam-new", "--profile", PROFILE, "--out", path)
    assert there.run(*enroll, "--label", "site=oslo").code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    enrolment = Enrolment.from_bytes(path.read_bytes())
    assert (enrolment.device, enrolment.profile) == ("cam-new", PROFILE)
    before = path.read_bytes()
    other = ("devices", "enroll", "cam-other", "--profile", PROFILE, "--out", path)
    assert "exists" in there.fails(*other).err
    assert path.read_bytes() == before
    assert "cam-other" not in [each["device"] for each in there.client().devices()]


def test_a_device_that_cannot_be_enrolled_leaves_no_file(there: Home) -> None:
    path = there.path.parent / "never.json"
    enroll = ("devices", "enroll", "--profile", PROFILE, "--out", path)
    assert "enrolled already" in there.fails(*enroll, "cam-1").err
    assert "no label" in there.fails(*enroll, "cam-x", "--label", "device=y").err
    there.fails(*enroll[:-1], path, "a/b")
    there.fails("devices", "enroll", "a/b", "--profile", PROFILE)
    assert "known: " in there.fails(*enroll[:3], "nonsense", "--out", path, "cam-x").err
    assert not path.exists()
    missing = there.path / "no" / "such" / "folder.json"
    there.fails("devices", "enroll", "cam-x", "--profile", PROFILE, "--out", missing)
    assert "cam-x" not in [each["device"] for each in there.client().devices()]


def test_devices_are_listed_shown_labelled_and_removed(there: Home) -> None:
    there.client().enroll("cam-9", PROFILE)
    assert there.run("devices", "label", "cam-9", "site=bergen").code == 0
    listed = there.run("devices", "list", "--selector", "site=bergen", "-o", "json")
    assert [each["device"] for each in json.loads(listed.out)] == ["cam-9"]
    assert "offline" in there.run("devices", "show", "cam-9").out
    assert there.run("devices", "remove", "cam-9", stdin="n\n").code == 1
    assert there.run("devices", "remove", "cam-9", "--yes").code == 0
    assert "no device cam-9" in there.fails("devices", "show", "cam-9").err
    assert "no term" in there.fails("devices", "list", "--selector", "a b").err


def test_models_and_aliases(there: Home) -> None:
    assert "kws" in there.run("models", "list").out
    assert there.run("alias", "set", "kws", "prod", "1").code == 0
    shown = json.loads(there.run("models", "show", "kws@prod", "-o", "json").out)
    assert shown["reference"] == "kws:1"
    assert "versions: 1" in there.fails("models", "show", "kws:9").lines[-1]
    assert "moved" in there.fails("alias", "set", "kws", "prod", "1", "--if-revision", "7").err
    assert there.run("publish", there.path / "packages").code == 0, "the same again"


def test_a_report_is_a_file_that_names_what_happened_and_never_a_folder(
    there: Home, tmp_path: Path
) -> None:
    done = there.run("report", "kws")
    assert (done.code, done.out) == (0, "kws-report.html\n")
    assert "KiB" in done.err
    assert "kws in its fleet" in (there.path.parent / "kws-report.html").read_text()
    (tmp_path / "folder").mkdir()
    assert "is a folder" in there.fails("report", "kws", "--out", tmp_path / "folder").err
    assert "cannot write" in there.fails("report", "kws", "--out", "no/such/folder.html").err
    never = tmp_path / "never.html"
    assert "models: " in there.fails("report", "nothing", "--out", never).lines[-1]
    broken = tmp_path / "broken"
    (broken / "matplotlib").mkdir(parents=True)
    (broken / "matplotlib" / "__init__.py").write_text("raise ImportError")
    done = there.fails("report", "kws", "--out", never, PYTHONPATH=str(broken))
    assert "edgeops[reports]" in done.lines[-1]
    assert not never.exists()


def test_a_package_on_the_hub_has_a_report_too_by_number_and_by_alias(there: Home) -> None:
    assert there.run("alias", "set", "kws", "shown", "1").code == 0
    for reference in ("kws:1", "kws@shown"):
        done = there.run("report", reference)
        assert (done.code, done.out) == (0, "kws-1-report.html\n"), done.err
        page = (there.path.parent / "kws-1-report.html").read_text()
        assert "signature trusted" in page and "carries no build record" in page
    facts = json.loads(there.run("report", "kws:1", "-o", "json").out)
    assert (facts["model"], facts["number"], facts["has_record"]) == ("kws", 1, False)
    life = json.loads(there.run("report", "kws", "-o", "json").out)
    assert [each["digest"] for each in life["versions"]] == [facts["digest"]]
    assert "versions: 1" in there.fails("report", "kws:9").lines[-1]


def test_a_package_of_foreign_keys_is_exit_code_6(there: Home, tmp_path: Path) -> None:
    foreign = Home(tmp_path / "foreign").keys()
    write_tiny(foreign, tmp_path / "packages", 7)
    done = there.fails("publish", tmp_path / "packages", code=6)
    assert "root of trust" in done.err


def test_publishing_a_folder_that_is_no_layout_is_an_error(there: Home, tmp_path: Path) -> None:
    there.fails("publish", tmp_path)
    assert there.run("publish", tmp_path / "nothing").code == 2
    write_tiny(there, tmp_path / "two", 3)
    write_tiny(there, tmp_path / "two", 4)
    assert "kws:3" in there.fails("publish", tmp_path / "two").err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--selector", "site=mars"),
        ("--selector", "all", "--steps", "50%"),
        ("--selector", "all", "--steps", "half"),
        ("--selector", "all", "--canary", "0"),
        ("--selector", "all", "--device-timeout", "inf"),
        ("--selector", "all", "--probation", "nonsense=1"),
        ("--selector", "all", "--probation", "min_inferences=nan"),
        ("--selector", "all", "--probation", "max_trials=0"),
        ("--selector", "all", "--window", ""),
        ("--selector", "all", "--window", " "),
    ],
    ids=" ".join,
)
def test_a_rollout_that_cannot_be_is_one_clear_error(
    there: Home, arguments: tuple[str, ...]
) -> None:
    there.fails("rollout", "create", "kws:1", *arguments)


def test_a_rollout_of_nothing_or_to_nobody_in_particular_is_an_error(there: Home) -> None:
    assert "no model" in there.fails("rollout", "create", "nothing:1", "--selector", "all").err
    assert there.run("rollout", "create", "kws:1").code == 2
    for trigger in ("rollback", "watch"):
        assert "no rollout r99" in there.fails("rollout", trigger, "r99").err


def test_watching_ends_with_5_when_time_is_up_and_with_4_when_it_rolled_back(there: Home) -> None:
    create = ("rollout", "create", "kws:1", "--selector", "device=cam-1")
    name = there.run(*create).out.strip()
    done = there.run("rollout", "watch", name, "--timeout", "0")
    assert done.code == 5
    assert f"edgeops rollout watch {name}" in done.err
    assert there.run("rollout", "pause", name, "--reason", "lunch").code == 0
    assert "possible now: resume, abort, rollback" in there.fails("rollout", "pause", name).err
    assert "paused" in there.run("rollout", "list").out
    assert "lunch" in there.run("rollout", "show", name).out
    assert there.run("rollout", "rollback", name, "--reason", "no").code == 0
    done = there.run("rollout", "watch", name)
    assert done.code == 4
    assert "rolled_back" in done.err
    second = there.run(*create).out.strip()
    assert there.run("rollout", "abort", second).code == 0
    assert there.run("rollout", "watch", second, "-o", "json").code == 1


def test_a_device_that_is_silent_rolls_back_and_create_wait_says_so(there: Home) -> None:
    done = there.run(
        *("rollout", "create", "kws:1", "--selector", "device=cam-1"),
        *("--device-timeout", "1", "--wait", "--timeout", "30"),
    )
    assert done.code == 4
    assert "device_timeout" in done.out + done.err


def test_the_audit_is_listed_and_verified(there: Home) -> None:
    listed = json.loads(there.run("audit", "list", "-o", "json", "--limit", "3").out)
    assert [entry["sequence"] for entry in listed] == [1, 2, 3]
    assert listed[0]["actor"] == "hub"
    assert there.run("audit", "list", "--after", "2").code == 0
    done = there.run("audit", "verify")
    assert (done.code, done.out[:3]) == (0, "ok:")
    there.fails("audit", "list", "--limit", "0")


def test_the_broker_lets_the_enrolled_in_and_its_topics_are_the_protocols(there: Home) -> None:
    hub = there.client().hub()
    assert hub["broker"]["connected"]
    assert topics.epoch().startswith("edgeops/v1/")
    assert there.client().root()["version"] == 1


# ---- packages through the command line


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with keys, a good model, rows for it, and inputs that are none."""
    home = Home(tmp_path_factory.mktemp("bench") / "home").keys()
    folder = home.path.parent
    rows, labels, weights = separable(40)
    good = linear_onnx(weights)
    (folder / "good.onnx").write_bytes(good)
    (folder / "cut.onnx").write_bytes(good[: len(good) // 2])
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "text.onnx").write_text("this is no model")
    (folder / "zip.tflite").write_bytes(b"PK\x03\x04" + b"\0" * 100)
    save_golden(folder / "golden.npz", rows, labels)
    save_golden(folder / "wrong.npz", rows, (labels + 1) % 4)
    save_golden(folder / "shape.npz", np.zeros((4, 9), np.float32), labels[:4])
    (folder / "half.json").write_text('{"scale": 0.5, "std": [2, 4, 2, 4], "shape": [4]}')
    (folder / "misspelt.json").write_text('{"scales": 0.5}')
    (folder / "nan.json").write_text('{"scale": NaN}')
    (folder / "inner.json").write_text('{"shape": [2, 2, 3], "image": {"size": [1, 1]}}')
    (folder / "huge.json").write_text('{"shape": [1, 1, 3], "image": {"resize": [4096, 4096]}}')
    (folder / "missing-fill.json").write_text('{"tabular": {"features": [{}, {}, {}, {}]}}')
    save_golden(folder / "gaps.npz", np.where(rows > 1.2, np.nan, rows), labels)
    (folder / "cut.npz").write_bytes((folder / "golden.npz").read_bytes()[:60])
    return home


def packaging(name: str, *more: str) -> tuple[str, ...]:
    return ("package", name, "--name", "kws", "--profile", PROFILE, *more)


@pytest.mark.parametrize(
    "arguments",
    [
        packaging("cut.onnx"),
        packaging("empty.onnx"),
        packaging("text.onnx"),
        packaging("zip.tflite"),
        packaging("missing.onnx"),
        packaging("."),
        packaging("good.onnx", "--profile", "no-such-board"),
        ("package", "good.onnx", "--name", "Bad Name", "--profile", PROFILE),
        packaging("good.onnx", "--version", "0"),
        packaging("good.onnx", "--golden", "missing.npz"),
        packaging("good.onnx", "--golden", "cut.npz"),
        packaging("good.onnx", "--golden", "good.onnx"),
        packaging("good.onnx", "--golden", "shape.npz"),
        packaging("good.onnx", "--golden", "golden.npz", "--min-accuracy", "2"),
        packaging("good.onnx", "--golden", "golden.npz", "--waive", "golden"),
        packaging("good.onnx", "--golden", "golden.npz", "--waive", "golden", "--reason", ""),
        packaging("good.onnx", "--waive", "nothing", "--reason", "because"),
        packaging("good.onnx", "--reason", "because"),
        packaging("good.onnx", "--chunk-size", "big"),
        packaging("good.onnx", "--chunk-size", "1"),
        packaging("good.onnx", "--lineage", "nonsense"),
        packaging("good.onnx", "--labels", "a,b"),
        packaging("good.onnx", "--preprocessing", "missing.json"),
        packaging("good.onnx", "--preprocessing", "misspelt.json"),
        packaging("good.onnx", "--preprocessing", "nan.json"),
        packaging("good.onnx", "--preprocessing", "golden.npz"),
        packaging("good.onnx", "--preprocessing", "inner.json"),
        packaging("good.onnx", "--preprocessing", "huge.json"),
        packaging("good.onnx", "--golden", "gaps.npz"),
        packaging("good.onnx", "--golden", "gaps.npz", "--preprocessing", "missing-fill.json"),
        packaging("good.onnx", "--thresholds", ""),
        packaging("good.onnx", "--thresholds", "0.5,x"),
        packaging("good.onnx", "--thresholds", "1.5"),
        packaging("good.onnx", "--thresholds", "0.5,0.5"),
        packaging("good.onnx", "--keys", "no/such/folder"),
    ],
    ids=lambda arguments: " ".join(arguments[1:]),
)
def test_what_cannot_be_packaged_is_one_clear_error_and_nothing_is_written(
    bench: Home, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(bench.path.parent)
    bench.fails_here(*arguments, "--out", bench.path.parent / "refused")
    refused = bench.path.parent / "refused"
    assert not refused.exists() or not list(refused.rglob("index.json"))


def test_a_model_that_misses_its_gate_is_exit_code_3_and_a_waiver_with_a_reason_passes(
    bench: Home,
) -> None:
    out = bench.path.parent / "gated"
    missed = packaging("good.onnx", "--golden", "wrong.npz", "--out", str(out))
    done = bench.fails(*missed, code=3)
    assert "golden" in done.err
    assert not out.exists()
    waived = bench.run(*missed, "--waive", "golden", "--reason", "labels are shifted", "-o", "json")
    assert waived.code == 0
    (waiver,) = json.loads(waived.out)["waivers"]
    assert waiver["gate"] == "golden"
    assert waiver["reason"].startswith("labels are shifted")


def test_preprocessing_is_packaged_published_and_shown_in_one_line(
    bench: Home, there: Home
) -> None:
    done = there.run(
        "package",
        *(bench.path.parent / "good.onnx", "--name", "scaled", "--profile", PROFILE),
        *("--preprocessing", bench.path.parent / "half.json", "--thresholds", "0.5,0.6,0.5,0.6"),
    )
    assert done.code == 0, done.err
    shown = there.run("models", "show", "scaled:1")
    line = "preprocessing: (row * 0.5) / [2, 4, 2, 4], shape [4], as-is"
    assert line in (shown.out + shown.err).splitlines()
    assert "thresholds: 0.5, 0.6, 0.5, 0.6" in (shown.out + shown.err).splitlines()
    manifest = json.loads(there.run("models", "show", "scaled:1", "-o", "json").out)["manifest"]
    assert (manifest["min_agent"], manifest["preprocessing"]["scale"]) == ("0.2.0", 0.5)
    plain = there.run("models", "show", "kws:1")
    assert "preprocessing" not in plain.out + plain.err
    assert "thresholds" not in plain.out + plain.err


def test_a_good_model_is_packaged_and_published_to_a_hub(bench: Home, there: Home) -> None:
    done = there.run(
        "package",
        *(bench.path.parent / "good.onnx", "--name", "good", "--profile", PROFILE),
        *("--golden", bench.path.parent / "golden.npz", "-o", "json"),
    )
    assert done.code == 0, done.err
    assert json.loads(done.out)["reference"] == "good:1"
    assert there.client().next_number("good") == 2
