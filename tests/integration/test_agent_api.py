"""What an application and a person use of the agent: the Python API and `device-agent`."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from device_agent import (
    Agent,
    AgentError,
    AgentOptions,
    BadInput,
    NoModel,
    Prediction,
    SampleOptions,
    __version__,
)
from device_agent.protocol.codec import decode
from device_agent.protocol.errors import (
    NotEnrolled,
    NotTrusted,
    ProtocolError,
    StateFolderBusy,
    StorageFailed,
    WrongStateFolder,
)
from device_agent.protocol.fields import Fields
from device_agent.protocol.ids import DeviceId
from device_agent.protocol.samples import Sample
from device_agent.shell.identity import adopt_identity
from device_agent.shell.link import LinkLimits
from device_agent.shell.outbox import Outbox
from device_agent.shell.storage import FolderStorage
from edgeops.packaging.package import Package
from tests.device_harness import FEATURES, PROFILE, Device, Hub, Workshop
from tests.mqtt_peers import wait_until

OFFLINE = AgentOptions(link=LinkLimits(connect_timeout_s=0.2, backoff_first_s=0.1))
ROWS = np.eye(FEATURES, dtype=np.float32)


@pytest.fixture(scope="module")
def package(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Package:
    return Workshop(hub, tmp_path_factory.mktemp("packages")).linear(1)


@pytest.fixture(scope="module")
def installed(hub: Hub, package: Package, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed") / "state"
    adopt_identity(FolderStorage(folder), hub.enrolment())
    device = Device(folder, hub)
    device.order(package)
    device.settle()
    device.stop()
    return folder


@pytest.fixture
def state(installed: Path, tmp_path: Path) -> Path:
    """The folder of a device on which version 1 is committed."""
    return Path(shutil.copytree(installed, tmp_path / "state"))


@pytest.fixture
def enrolment(hub: Hub, tmp_path: Path) -> Path:
    path = tmp_path / "cam-1.json"
    path.write_bytes(hub.enrolment().to_bytes())
    return path


@pytest.fixture
def agent(state: Path) -> Iterator[Agent]:
    with Agent.start(state, options=OFFLINE) as started:
        yield started


# ---- the Python API


def test_a_committed_model_answers_at_once_without_a_network(
    agent: Agent, package: Package
) -> None:
    prediction = agent.infer("digits", ROWS[2])
    assert isinstance(prediction, Prediction)
    assert (prediction.model, prediction.version) == ("digits", 1)
    assert (prediction.class_index, prediction.label) == (2, None)
    assert prediction.digest == package.digest
    assert prediction.outputs["scores"].shape == (1, FEATURES)
    assert 0.25 < prediction.confidence <= 1.0
    assert (agent.models, agent.is_running) == ({"digits": 1}, True)


def test_a_new_folder_needs_an_enrolment_once(tmp_path: Path, enrolment: Path) -> None:
    folder = tmp_path / "new"
    with pytest.raises(NotEnrolled) as raised:
        Agent.start(folder)
    assert raised.value.next_step == "start once with --enrolment FILE"
    with Agent.start(folder, enrolment=enrolment, options=OFFLINE) as agent:
        with pytest.raises(NoModel) as day_zero:
            agent.infer("digits", ROWS[0])
        assert "device-agent status" in day_zero.value.next_step
        assert agent.models == {}
    with Agent.start(folder, options=OFFLINE):
        pass


def test_a_missing_or_foreign_enrolment_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotEnrolled, match="cannot read the enrolment file") as raised:
        Agent.start(tmp_path / "a", enrolment=tmp_path / "missing.json")
    assert "edgeops devices enroll" in raised.value.next_step
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(NotEnrolled, match=r"x\.json is no enrolment file"):
        Agent.start(tmp_path / "b", enrolment=tmp_path / "x.json")


@pytest.mark.parametrize("damage", [None, b"", b"{}", b"\xff"])
def test_a_device_that_has_its_identity_starts_without_the_file_that_it_is_offered(
    agent: Agent, state: Path, tmp_path: Path, damage: bytes | None
) -> None:
    """A service offers it at every start, and its disk may spoil it as it may any other file."""
    agent.stop()
    offered = tmp_path / "offered.json"
    if damage is not None:
        offered.write_bytes(damage)
    with Agent.start(state, enrolment=offered) as again:
        assert again.infer("digits", ROWS[1]).class_index == 1


def test_an_enrolment_whose_root_is_not_signed_by_itself_is_not_trusted(
    tmp_path: Path, hub: Hub
) -> None:
    forged = replace(hub.enrolment(), root=Hub().sealed("application/x", b"{}"))
    (tmp_path / "x.json").write_bytes(forged.to_bytes())
    with pytest.raises((NotTrusted, ProtocolError)):
        Agent.start(tmp_path / "state", enrolment=tmp_path / "x.json")


def test_one_agent_at_a_time_runs_on_a_folder(agent: Agent, state: Path) -> None:
    with pytest.raises(StateFolderBusy, match=f"process {os.getpid()}") as raised:
        Agent.start(state)
    assert "--state" in raised.value.next_step
    assert agent.infer("digits", ROWS[1]).class_index == 1


def test_a_stopped_or_failed_agent_gives_its_folder_back(
    state: Path, tmp_path: Path, hub: Hub
) -> None:
    (tmp_path / "other.json").write_bytes(hub.enrolment(DeviceId("other")).to_bytes())
    for _ in range(2):
        with pytest.raises(WrongStateFolder):
            Agent.start(state, enrolment=tmp_path / "other.json")
        Agent.start(state, options=OFFLINE).stop()


def test_a_disk_without_room_for_the_name_of_the_locks_holder_keeps_no_agent_from_serving(
    state: Path,
) -> None:
    (state / "lock").unlink(missing_ok=True)
    (state / "lock").symlink_to("/dev/full")
    with Agent.start(state, options=OFFLINE) as agent:
        assert agent.infer("digits", ROWS[1]).class_index == 1


def test_a_lock_that_can_only_be_read_locks_all_the_same(state: Path) -> None:
    # Not even root may open for writing what is being executed.
    shutil.copy(shutil.which("sleep") or "", state / "lock")
    with subprocess.Popen([state / "lock", "60"]) as running:
        try:
            with Agent.start(state, options=OFFLINE) as agent:
                assert agent.infer("digits", ROWS[1]).class_index == 1
                with pytest.raises(StateFolderBusy):
                    Agent.start(state, options=OFFLINE)
        finally:
            running.kill()


def test_a_folder_keeps_its_device_for_good(state: Path, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_bytes(hub.enrolment(DeviceId("cam-2")).to_bytes())
    with pytest.raises(WrongStateFolder, match="belongs to cam-1, the enrolment is for cam-2"):
        Agent.start(state, enrolment=tmp_path / "other.json")
    moved = hub.enrolment(broker="mqtt://127.0.0.1:2")
    (tmp_path / "moved.json").write_bytes(moved.to_bytes())
    Agent.start(state, enrolment=tmp_path / "moved.json", options=OFFLINE).stop()
    assert json.loads((state / "identity.json").read_text())["broker"] == "mqtt://127.0.0.1:2"


def test_a_folder_that_cannot_be_one_is_an_error_of_the_agent(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageFailed, match="as a state folder"):
            Agent.start(path)


def test_a_label_is_counted_by_index_and_only_by_name_where_there_are_names(
    agent: Agent,
) -> None:
    prediction = agent.infer("digits", ROWS[2])
    assert agent.report_label(prediction, 2) is True
    assert agent.report_label(prediction, 1) is True
    counts = agent._live.get("digits").counts()
    assert (counts.labelled, counts.labelled_correct) == (2, 1)
    with pytest.raises(BadInput, match="has no label names"):
        agent.report_label(prediction, "two")


@pytest.mark.parametrize("label", [4, 99, -1])
def test_a_class_that_the_model_does_not_know_is_no_label(agent: Agent, label: int) -> None:
    prediction = agent.infer("digits", ROWS[2])
    with pytest.raises(BadInput, match=f"digits has no class {label}, only 0 to 3"):
        agent.report_label(prediction, label)
    assert agent._live.get("digits").counts().labelled == 0


@pytest.mark.parametrize("label", [None, True, False, np.True_, 1.5, np.float32(1), b"1", [1]])
def test_what_is_no_label_is_refused_and_nothing_is_counted(agent: Agent, label: object) -> None:
    prediction = agent.infer("digits", ROWS[2])
    with pytest.raises(BadInput, match="is no label") as raised:
        agent.report_label(prediction, label)  # type: ignore[arg-type]
    assert "by its index" in raised.value.next_step
    with pytest.raises(BadInput, match="is no prediction"):
        agent.report_label(2, 2)  # type: ignore[arg-type]
    assert agent._live.get("digits").counts().labelled == 0


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.array])
def test_a_label_of_numpy_is_counted_and_travels_as_any_other(
    state: Path, kind: Callable[[int], int]
) -> None:
    options = replace(OFFLINE, samples=SampleOptions(share=1.0))
    with Agent.start(state, options=options) as agent:
        prediction = agent.infer(np.str_("digits"), ROWS[2])
        assert agent.report_label(prediction, kind(2)) is True
    window = kept(state, "telemetry")[-1]
    assert (window["labelled"], window["labelled_correct"]) == (1, 1)
    (sample,) = (each for item in kept(state, "sample") for each in item["samples"])
    assert Sample.from_fields(Fields(sample, "sample")).label == 2


@pytest.mark.parametrize("model", [["digits"], None, 1, b"digits"])
def test_what_is_no_name_of_a_model_is_refused(agent: Agent, model: object) -> None:
    with pytest.raises(BadInput, match="is no name of a model") as raised:
        agent.infer(model, ROWS[2])  # type: ignore[arg-type]
    assert "infer(model, row)" in raised.value.next_step


def kept(state: Path, kind: str) -> list[dict[str, object]]:
    """What an agent that has stopped left in its outbox."""
    outbox = Outbox(state / "outbox.sqlite")
    items = [decode(item.body) for item in outbox.due(0.0) if item.kind == kind]
    outbox.close()
    return items


def test_a_window_closes_when_enough_rows_were_seen(state: Path) -> None:
    options = replace(OFFLINE, telemetry_interval_s=1e6, telemetry_rows=50, tick_s=0.01)
    with Agent.start(state, options=options) as agent:
        for _ in range(3):
            for _ in range(50):
                agent.infer("digits", ROWS[1])
            time.sleep(0.5)
    assert [window["inferences"] for window in kept(state, "telemetry")][-3:] == [50, 50, 50]


def test_rows_stay_on_the_device_unless_its_owner_lets_them_out(state: Path) -> None:
    with Agent.start(state, options=OFFLINE) as agent:
        assert agent.infer("digits", ROWS[1]).sample is None
    assert kept(state, "sample") == []
    options = replace(OFFLINE, samples=SampleOptions(share=1.0))
    with Agent.start(state, options=options) as agent:
        first, second = (agent.infer("digits", ROWS[at]) for at in (1, 2))
        assert agent.report_label(first, 3)
        assert second.sample is not None
    # In one message or in two, as the agent's ticks fall.
    told = [each for item in kept(state, "sample") for each in item["samples"]]
    samples = [Sample.from_fields(Fields(each, "sample")) for each in told]
    assert sorted((each.class_index, each.label or -1) for each in samples) == [(1, 3), (2, -1)]
    labelled = next(each for each in samples if each.label == 3)
    assert np.array_equal(np.frombuffer(labelled.data, np.float32), ROWS[1])


def test_a_row_that_does_not_fit_says_what_was_expected(agent: Agent) -> None:
    with pytest.raises(BadInput, match="takes 4 elements"):
        agent.infer("digits", np.zeros(5, np.float32))


def test_counters_tell_that_there_is_no_connection(agent: Agent) -> None:
    for _ in range(400):
        if agent.counters["link.disconnected"]:
            break
        agent._thread.join(0.02)
    assert agent.counters["link.disconnected"] >= 1


def test_importing_the_agent_brings_neither_numpy_nor_a_runtime_nor_the_control_plane() -> None:
    code = (
        "import sys, device_agent; from device_agent import Agent, AgentOptions, NoModel;"
        "heavy = ('numpy', 'onnxruntime', 'ai_edge_litert', 'edgeops', 'tensorflow', 'pydantic');"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert run_python(code).stdout == "[]\n"


def test_every_error_of_the_agent_can_be_caught_as_one(tmp_path: Path) -> None:
    with pytest.raises(AgentError) as raised:
        Agent.start(tmp_path)
    assert raised.value.next_step


def test_the_application_of_the_manual_feeds_the_watchdog_of_systemd(
    state: Path, tmp_path: Path
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "device.md").read_text("utf-8")
    (code,) = re.findall(r"^```python\n(import sys\n.*?)^```", page, re.DOTALL | re.M)
    code = code.replace("/var/lib/edgeops", str(state))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(tmp_path / "notify"))
        heard.settimeout(60.0)
        told = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "900000"}
        with subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **told}) as process:
            try:
                words = [heard.recv(100) for _ in range(4)]
            finally:
                process.kill()
    assert sorted(words) == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1", b"WATCHDOG=1"]


def test_the_supervisor_is_imported_without_the_agent() -> None:
    code = (
        "import sys; from device_agent import AgentError, Supervisor;"
        "print([name for name in ('paho', 'sqlite3', 'cryptography') if name in sys.modules])"
    )
    assert run_python(code).stdout == "[]\n"


def test_importing_the_version_brings_nothing_at_all() -> None:
    code = (
        "import sys; import device_agent; device_agent.__version__;"
        "print([name for name in sys.modules if name.startswith(('device_agent.', 'paho'))])"
    )
    assert run_python(code).stdout == "[]\n"


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )


@pytest.mark.parametrize(
    ("configure", "said"),
    [("pass", 1), ("logging.basicConfig()", 1), ("logging.disable()", 0)],
    ids=["nothing configured", "configured", "switched off"],
)
def test_remembering_the_log_changes_nothing_of_what_an_application_sees(
    state: Path, configure: str, said: int
) -> None:
    code = (
        f"import logging; {configure}\n"
        "from device_agent import Agent\n"
        f"with Agent.start({str(state)!r}):\n"
        "    logging.getLogger('device_agent.x').warning('something odd')\n"
        "    logging.getLogger('device_agent.x').info('nothing odd')\n"
        "logging.getLogger('device_agent.x').warning('afterwards')\n"
    )
    lines = run_python(code).stderr.splitlines()
    assert sum("something odd" in line for line in lines) == said
    assert sum("nothing odd" in line for line in lines) == 0
    assert sum("afterwards" in line for line in lines) == said


# ---- device-agent


def device_agent(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "device_agent.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def said(ran: subprocess.CompletedProcess[str]) -> tuple[int, list[str]]:
    """Return the exit code and the lines of an error; no traceback may be among them."""
    assert "Traceback" not in ran.stderr
    return ran.returncode, ran.stderr.splitlines()


def test_status_tells_what_serves_while_nothing_runs(state: Path) -> None:
    ran = device_agent("status", "--state", state)
    assert ran.returncode == 0
    lines = ran.stdout.splitlines()
    assert lines[0] == f"device   cam-1 ({PROFILE}), broker mqtt://127.0.0.1:1"
    assert lines[1] == f"agent    {__version__}, not running"
    assert lines[3].startswith("model    digits: version 1 serves; version 1 committed")


def test_status_as_json_has_every_fact(state: Path, package: Package) -> None:
    status = json.loads(device_agent("status", "--state", state, "-o", "json").stdout)
    assert (status["device"], status["process"]) == ("cam-1", None)
    model = status["models"]["digits"]
    assert model["active"] == {"version": 1, "digest": package.digest}
    assert (model["floor"], model["quarantined"]) == (1, {})


def test_status_beside_a_running_agent_names_its_process(agent: Agent, state: Path) -> None:
    status = json.loads(device_agent("status", "--state", state, "-o", "json").stdout)
    assert status["process"] == os.getpid()


def test_status_only_looks(state: Path) -> None:
    record = state / "models/digits/record.json"
    record.write_bytes(b"damaged")
    before = sorted(path.name for path in state.rglob("*") if "sqlite" not in path.name)
    ran = device_agent("status", "--state", state)
    assert ran.returncode == 0
    assert sorted(p.name for p in state.rglob("*") if "sqlite" not in p.name) == before


@pytest.mark.parametrize("command", [["status"], ["infer", "--model", "m", "--input", "x.npy"]])
def test_a_folder_that_is_no_agents_is_said_in_two_lines(
    tmp_path: Path, command: list[str]
) -> None:
    np.save(tmp_path / "x.npy", ROWS)
    command = [str(tmp_path / "x.npy") if each == "x.npy" else each for each in command]
    code, lines = said(device_agent(*command, "--state", tmp_path / "nothing"))
    assert code == 1
    assert lines[0].startswith("error: ") and "no state folder of an agent" in lines[0]
    assert lines[1] == "next:  give the --state that the agent was started with"
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("damaged", [b"", b"{", b"\xff\xfe", b"{}"])
def test_a_damaged_identity_is_named_with_the_next_step(
    state: Path, tmp_path: Path, damaged: bytes
) -> None:
    (state / "identity.json").write_bytes(damaged)
    np.save(tmp_path / "x.npy", ROWS)
    for command in (["status"], ["infer", "--model", "digits", "--input", str(tmp_path / "x.npy")]):
        code, lines = said(device_agent(*command, "--state", state))
        assert code == 1
        assert lines[0].startswith(f"error: {state / 'identity.json'} is damaged: ")
        assert "--enrolment FILE" in lines[1]


def test_infer_answers_rows_with_the_active_model(state: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    ran = device_agent(
        "infer", "--state", state, "--model", "digits", "--input", tmp_path / "rows.npy"
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "2", "3"]
    assert all(line.endswith("digits:1") for line in lines)


def test_infer_takes_one_row_an_npz_and_a_limit(state: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "row.npy", ROWS[3])
    np.savez(tmp_path / "rows.npz", x=ROWS)
    where = ("infer", "--state", state, "--model", "digits", "-o", "json")
    (one,) = device_agent(*where, "--input", tmp_path / "row.npy").stdout.splitlines()
    assert json.loads(one)["class_index"] == 3
    many = device_agent(*where, "--input", tmp_path / "rows.npz", "--limit", 2).stdout
    assert [json.loads(line)["class_index"] for line in many.splitlines()] == [0, 1]


@pytest.mark.parametrize("limit", ["-3", "0", "many", "1.5"])
def test_infer_refuses_a_limit_that_is_none(state: Path, tmp_path: Path, limit: str) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    where = ("infer", "--state", state, "--model", "digits", "--input", tmp_path / "rows.npy")
    ran = device_agent(*where, f"--limit={limit}")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "is no number of rows" in ran.stderr


def test_infer_without_that_model_names_what_there_is(state: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    code, lines = said(
        device_agent("infer", "--state", state, "--model", "kws", "--input", tmp_path / "rows.npy")
    )
    assert (code, lines) == (
        1,
        [
            "error: this device has no working model 'kws' (it has: digits)",
            f"next:  device-agent status --state {state}",
        ],
    )


CLAIM = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976,), }\n"
ENCRYPTED = (
    b"PK\x03\x04\x14\0\x01\0\0\0\0\0\x21\0"
    + bytes(12)
    + b"\x05\0\0\0x.npyPK\x01\x02\x14\0\x14\0\x01\0\0\0\0\0\x21\0"
    + bytes(12)
    + b"\x05\0"
    + bytes(16)
    + b"x.npyPK\x05\x06\0\0\0\0\x01\0\x01\0\x33\0\0\0\x23\0\0\0\0\0"
)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("missing.npy", None),
        ("empty.npy", b""),
        ("text.npy", b"1,2,3\n"),
        ("pickle.npy", b"\x80\x04\x95"),
        ("cut.npz", b"PK\x03\x04 cut"),
        ("claims.npy", b"\x93NUMPY\x01\x00" + len(CLAIM).to_bytes(2, "little") + CLAIM),
        ("encrypted.npz", ENCRYPTED),
    ],
)
def test_rows_that_cannot_be_read_are_named(
    state: Path, tmp_path: Path, name: str, data: bytes | None
) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    code, lines = said(
        device_agent("infer", "--state", state, "--model", "digits", "--input", tmp_path / name)
    )
    assert code == 1
    assert lines[0].startswith(f"error: cannot read rows from {tmp_path / name}")
    assert lines[1].startswith("next:  give a .npy array")


@pytest.mark.parametrize(
    "rows",
    [np.zeros((2, 5), np.float32), np.float32(1), np.array(["a", "b"]), np.zeros((0, 4))],
    ids=["wide", "scalar", "text", "none"],
)
def test_rows_of_the_wrong_shape_or_kind_are_no_traceback(
    state: Path, tmp_path: Path, rows: np.ndarray
) -> None:
    np.save(tmp_path / "rows.npy", rows)
    code, lines = said(
        device_agent(
            "infer", "--state", state, "--model", "digits", "--input", tmp_path / "rows.npy"
        )
    )
    assert code == (0 if rows.shape == (0, 4) else 1)
    assert not lines or lines[0].startswith("error: ")


def test_run_without_an_enrolment_says_how_to_begin(tmp_path: Path) -> None:
    code, lines = said(device_agent("run", "--state", tmp_path / "new"))
    assert (code, lines[1]) == (1, "next:  start once with --enrolment FILE")


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "0"])
@pytest.mark.parametrize(
    ("option", "name"),
    [("--heartbeat", "heartbeat_s"), ("--telemetry-interval", "telemetry_interval_s")],
)
def test_run_refuses_a_pause_that_cannot_be(
    tmp_path: Path, enrolment: Path, option: str, name: str, value: str
) -> None:
    state = tmp_path / "state"
    code, lines = said(
        device_agent("run", "--state", state, "--enrolment", enrolment, option, value)
    )
    assert (code, state.exists()) == (1, False)
    assert lines[0].startswith(f"error: {name} is ")
    assert lines[1].startswith("next:  give a number")


def test_run_beside_a_running_agent_is_refused(agent: Agent, state: Path) -> None:
    code, lines = said(device_agent("run", "--state", state))
    assert code == 1
    assert lines[0] == f"error: another agent (process {os.getpid()}) runs on {state}"


def test_run_with_a_root_that_does_not_trust_itself_is_exit_code_6(
    tmp_path: Path, hub: Hub
) -> None:
    stranger = Hub()
    enrolment = hub.enrolment(
        root=stranger.sealed("application/vnd.edgeops.root.v1+json", hub.root().to_bytes())
    )
    (tmp_path / "x.json").write_bytes(enrolment.to_bytes())
    code, lines = said(
        device_agent("run", "--state", tmp_path / "state", "--enrolment", tmp_path / "x.json")
    )
    assert code == 6
    assert lines[0].startswith("error: no valid signature")
    assert lines[1].startswith("next:  enroll the device again")


@pytest.fixture
def rootless(state: Path, hub: Hub) -> Path:
    """A device whose stored root is spoiled, and whose identity has one that nobody signed."""
    (state / "trust/root.json").write_bytes(b"{")
    unsigned = Hub().sealed("application/vnd.edgeops.root.v1+json", hub.root().to_bytes())
    (state / "identity.json").write_bytes(hub.enrolment(root=unsigned).to_bytes())
    return state


def test_a_device_without_a_root_of_trust_still_answers_and_says_why_it_does_nothing_else(
    rootless: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Agent.start(rootless, options=OFFLINE) as agent:
        wait_until(lambda: not agent.is_running, "the agent's thread to end")
        assert agent.infer("digits", ROWS[2]).class_index == 2
        assert {"root.damaged", "agent.ended"} <= set(caplog.messages)
    with pytest.raises(NoModel):
        agent.infer("digits", ROWS[2])


def test_run_without_a_root_of_trust_ends_with_its_cause(rootless: Path) -> None:
    code, lines = said(device_agent("run", "--state", rootless))
    assert code == 1
    assert "agent.ended cause=no valid signature" in lines[-1]
    assert "next=enroll the device again, and start it with the new file" in lines[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_ends_well_when_it_is_told_to(
    tmp_path: Path, enrolment: Path, number: signal.Signals
) -> None:
    state = tmp_path / "state"
    command = [sys.executable, "-m", "device_agent.cli", "--log-level", "info", "run"]
    command += ["--state", str(state), "--enrolment", str(enrolment)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for event in ("agent.started", "link.unreachable", "link.disconnected"):
                assert event in process.stderr.readline()
            process.send_signal(number)
            rest = process.stderr.read()
            code = process.wait()
        finally:
            process.kill()
    assert (code, "Traceback" in rest) == (0, False)


def test_usage_errors_are_exit_code_2_and_the_version_is_told() -> None:
    assert device_agent("run").returncode == 2
    assert device_agent("dance").returncode == 2
    assert device_agent("--version").stdout.strip() == __version__
