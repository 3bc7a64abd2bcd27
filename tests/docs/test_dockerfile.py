"""The agent's Dockerfile, read: no container engine builds it here.

What can be held against the repository is: the extras, the folder that is copied, the command.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

from device_agent import cli

AGENT = Path(__file__).resolve().parents[2] / "device_agent"
PROJECT = tomllib.loads((AGENT / "pyproject.toml").read_text("utf-8"))["project"]


def instructions() -> list[tuple[str, str]]:
    text = (AGENT / "Dockerfile").read_text("utf-8")
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    lines = filter(None, plain.replace("\\\n", " ").splitlines())
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def all_of(name: str) -> list[str]:
    return [rest for word, rest in instructions() if word == name]


def test_every_instruction_is_one_of_docker() -> None:
    known = {"FROM", "ARG", "COPY", "RUN", "ENV", "USER", "VOLUME", "STOPSIGNAL"}
    assert {word for word, _ in instructions()} == known | {"ENTRYPOINT", "CMD"}


def test_the_image_is_of_a_python_that_the_agent_takes() -> None:
    for image in all_of("FROM"):
        version = re.match(r"python:(\d+)\.(\d+)-slim( AS build)?$", image)
        assert version
        assert (int(version[1]), int(version[2])) >= (3, 10)
    assert PROJECT["requires-python"] == ">=3.10"


def test_the_default_runtime_is_an_extra_of_the_wheel() -> None:
    (argument,) = all_of("ARG")
    assert argument.removeprefix("RUNTIME=") in PROJECT["optional-dependencies"]
    assert '"/source[${RUNTIME}]"' in all_of("RUN")[0]


def test_what_is_copied_holds_everything_that_the_wheel_is_made_of() -> None:
    assert all_of("COPY")[0] == ". /source"
    assert (AGENT / PROJECT["readme"]).exists()


def test_it_runs_the_agent_and_not_as_root() -> None:
    command = json.loads(all_of("ENTRYPOINT")[0]) + json.loads(all_of("CMD")[0])
    program, *arguments = command
    assert program in PROJECT["scripts"]
    parsed = cli._parser().parse_args(arguments)
    assert [str(parsed.state)] == all_of("VOLUME")
    words = [word for word, _ in instructions()]
    assert words.index("USER") > max(at for at, word in enumerate(words) if word == "RUN")
    assert all_of("USER") == ["10001"]
    assert "--owner=10001" in all_of("RUN")[1]
