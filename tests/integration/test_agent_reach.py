"""What an agent reaches for: the broker of its enrolment, and its state folder. Nothing else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from device_agent.shell.identity import lock_holder
from edgeops.demo.processes import program
from tests.running_site import running_site
from tests.traced import needs_strace, read_trace, tracing

GREEDY = """
import os, socket, sys
folder, other, port = sys.argv[1:4]
open(f"{folder}/mine", "w").write("x")
open("beside", "w").close()
os.rename("beside", f"{other}/moved")
os.mkdir(f"{other}/made")
open("/dev/null", "w").close()
socket.socket().connect(("127.0.0.1", int(port)))
socket.create_server(("127.0.0.3", int(port)))
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.2", 9))
"""


@needs_strace
def test_an_agent_talks_to_its_broker_alone_and_writes_into_its_state_folder_alone(
    tmp_path: Path,
) -> None:
    with running_site(tmp_path) as site:
        name, trace = "watched", tmp_path / "trace"
        enrolment, state = site.enroll(name), tmp_path / "state"
        agent = [program("device-agent"), "run", "--state", str(state)]
        command = tracing(trace, [*agent, "--enrolment", str(enrolment)])
        environment = {**site.environment, "PYTHONDONTWRITEBYTECODE": "1"}
        site.processes.start(name, command, environment)
        site.wait(f"{name} is online", lambda: site.client().device(name)["online"])
        site.edgeops(
            *("rollout", "create", "digits:1", "--selector", f"only={name}", "--wait"),
            *("--probation", "min_inferences=0"),
        )
        assert site.active(name) == 1
        site.edgeops("devices", "command", name, "self-test", "--wait")
        agent_process = lock_holder(state)
        assert agent_process is not None
        os.kill(agent_process, signal.SIGTERM)  # strace ends with it, and the trace is whole
        site.wait("it has ended", lambda: lock_holder(state) is None)
        broker = f"127.0.0.1:{site.mqtt_port}"
    reached = read_trace(trace, Path.cwd())
    assert reached.peers == {broker}
    assert reached.changed_outside(state) == []
    assert str(state / "identity.json") in reached.changed, "the trace sees what is written"


@needs_strace
def test_a_trace_shows_what_a_greedy_program_reaches_for(tmp_path: Path) -> None:
    state, other, work = (tmp_path / name for name in ("state", "other", "work"))
    for folder in (state, other, work):
        folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        program_ = [sys.executable, "-c", GREEDY, str(state), str(other), str(port)]
        subprocess.run(tracing(tmp_path / "trace", program_), cwd=work, check=True)
    reached = read_trace(tmp_path / "trace", work)
    assert reached.peers == {f"127.0.0.1:{port}", "127.0.0.2:9", f"127.0.0.3:{port}"}
    outside = reached.changed_outside(state)
    assert outside == sorted(map(str, (work / "beside", other / "moved", other / "made")))
