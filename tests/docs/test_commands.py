"""Every command says what it does, and is in the manual."""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import device_agent.cli
from edgeops.cli.main import main

ROOT = Path(__file__).parents[2]


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every command below, groups included."""
    if path:
        yield path
    if isinstance(command, click.Group):
        for name in command.commands:
            yield from commands(command.commands[name], (*path, name))


PATHS = sorted(commands(main))
LEAVES = [path for path in PATHS if not any(other[: len(path)] == path != other for other in PATHS)]


def command_at(path: tuple[str, ...]) -> click.Command:
    found: click.Command = main
    for name in path:
        assert isinstance(found, click.Group)
        found = found.commands[name]
    return found


@functools.cache
def manual() -> str:
    texts = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    return "\n".join(each.read_text() for each in texts)


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_a_command_says_what_it_does_in_a_sentence(path: tuple[str, ...]) -> None:
    command = command_at(path)
    assert command.help
    first = command.help.strip().splitlines()[0]
    assert first[0].isupper()
    assert "." in command.help
    assert command.get_short_help_str(limit=200)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_option_of_a_command_has_help(path: tuple[str, ...]) -> None:
    for parameter in command_at(path).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.opts


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_a_command_is_found_from_the_help_of_its_group(path: tuple[str, ...]) -> None:
    group = command_at(path[:-1])
    assert isinstance(group, click.Group)
    text = group.get_help(click.Context(group, info_name="edgeops"))
    assert re.search(rf"^  {re.escape(path[-1])} ", text, re.MULTILINE)


def test_the_global_options_have_help() -> None:
    assert all(p.help for p in main.params if isinstance(p, click.Option))


def test_the_help_names_every_exit_code() -> None:
    text = " ".join((main.help or "").split())
    for code, meaning in {
        0: "ok",
        1: "failed",
        2: "usage",
        3: "a gate failed",
        4: "rolled back",
        5: "timeout",
        6: "not trusted",
    }.items():
        assert f"{code} {meaning}" in text


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_a_command_is_in_the_manual(path: tuple[str, ...]) -> None:
    assert "edgeops " + " ".join(path) in manual()


def test_every_command_that_the_manual_names_is_there() -> None:
    known = {" ".join(path) for path in PATHS}
    named = re.findall(r"(?:^|[`$ (])edgeops ((?:[a-z]+ ?)+)", manual(), re.MULTILINE)
    groups = {path[0] for path in PATHS if len(path) > 1}
    for words in named:
        first, *rest = words.split()
        if first in groups and rest:
            two = f"{first} {rest[0]}"
            assert two in known, f"edgeops {two}"


def agent_commands() -> list[str]:
    done = subprocess.run(
        [Path(sys.executable).with_name("device-agent"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    match = re.search(r"^  ([a-z-]+(?:\|[a-z-]+)+)$", done.stdout, re.MULTILINE)
    assert match, done.stdout
    return match[1].split("|")


def test_every_command_of_the_agent_is_in_the_manual() -> None:
    assert device_agent.cli.__doc__
    found = agent_commands()
    assert found
    for name in found:
        assert f"device-agent {name}" in manual(), name
