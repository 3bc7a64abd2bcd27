"""What the documents say exists: links, commands with their options, Python blocks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from device_agent import cli as device_agent_cli
from edgeops.cli import output
from edgeops.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "device_agent" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
CLI_PAGE = ROOT / "docs" / "cli.md"


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.M)


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of a page's headings."""
    prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.M)
    headings = re.findall(r"^#+ (.+)$", prose, re.M)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def commands() -> Iterator[tuple[str, list[str]]]:
    """Yield every shown command of ours: the page it is on, and its words."""
    for page in PAGES:
        for block in blocks(page, "console"):
            for line in block.splitlines():
                ours = re.match(
                    r"\$ (?:sudo )?(?:/opt/edgeops/bin/)?((?:edgeops|device-agent) .*)", line
                )
                if ours is not None:
                    yield _name(page), shlex.split(ours[1].rstrip("& "))


def leaves(command: click.Command, path: tuple[str, ...] = ("edgeops",)) -> Iterator[str]:
    """Yield the full name of every command below a group."""
    if isinstance(command, click.Group):
        for name, each in command.commands.items():
            yield from leaves(each, (*path, name))
    else:
        yield " ".join(path)


def device_agent_commands() -> list[str]:
    """Return the full name of every command of the agent."""
    usage = device_agent_cli._parser().format_usage()
    names = re.search(r"([a-z-]+(?:\|[a-z-]+)+) \.\.\.", usage)
    assert names is not None
    return [f"device-agent {name}" for name in names[1].split("|")]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_block_of_a_page_is_closed(page: Path) -> None:
    fences = re.findall(r"^```.*$", page.read_text("utf-8"), re.M)
    assert len(fences) % 2 == 0
    assert set(fences[1::2]) <= {"```"}  # what says its language opens a block


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_to_a_file_of_ours_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize(
    "words", [pytest.param(words, id=f"{page}: {shlex.join(words)}") for page, words in commands()]
)
def test_every_shown_command_exists_with_its_options(words: list[str]) -> None:
    if words[0] == "device-agent":
        device_agent_cli._parser().parse_args(words[1:])
        return
    command: click.Command = main
    rest = words[1:]
    while isinstance(command, click.Group):
        assert rest and rest[0] in command.commands, f"no command {rest[:1]}"
        command, rest = command.commands[rest[0]], rest[1:]
    command.make_parser(click.Context(command)).parse_args(list(rest))


def test_every_command_has_a_section_with_an_example_in_the_manual() -> None:
    text = CLI_PAGE.read_text("utf-8")
    sections = dict(re.findall(r"^### (.+?)\n(.*?)(?=^##|\Z)", text, re.DOTALL | re.M))
    assert set(sections) == {*leaves(main), *device_agent_commands()}
    for name, section in sections.items():
        program, *path = name.split()
        assert re.search(rf"\$ {program} .*{' '.join(path)}\b", section), name


def test_every_command_and_option_has_a_help_text() -> None:
    def check(command: click.Command) -> None:
        assert command.help, command.name
        for each in command.commands.values() if isinstance(command, click.Group) else ():
            check(each)

    check(main)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=f"{_name(page)}-{number}")
        for page in PAGES
        for number, block in enumerate(blocks(page, "python"))
    ],
)
def test_every_python_block_compiles(block: str) -> None:
    compile(block, "README", "exec")


def test_every_import_of_a_python_block_is_there() -> None:
    found = 0
    for page in PAGES:
        for block in blocks(page, "python"):
            for line in re.findall(r"^from (?:device_agent|edgeops)\S* import .+$", block, re.M):
                exec(compile(line, _name(page), "exec"), {})
                found += 1
    assert found >= 3


def test_the_exit_codes_of_the_readme_are_those_of_the_code() -> None:
    table = re.findall(r"^\| (\d) \| ", (ROOT / "README.md").read_text("utf-8"), re.M)
    codes = [value for name, value in vars(output).items() if name.startswith("EXIT_")]
    assert [int(code) for code in table] == sorted(codes)


def test_every_page_of_the_docs_can_be_reached_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in text, page.name


def test_every_decision_says_its_context_options_decision_and_cost_on_a_page() -> None:
    pages = sorted((ROOT / "docs" / "adr").glob("*.md"))
    for number, page in enumerate(pages, start=1):
        text = page.read_text("utf-8")
        assert page.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number}. ")
        for part in ("**Context.**", "**Options.**", "**Decision.**", "**What it costs us.**"):
            assert part in text, (page.name, part)
        assert len(text.splitlines()) <= 60, page.name


def test_from_blank_to_serving_names_the_agent_by_the_folder_that_it_was_installed_into() -> None:
    page = (ROOT / "docs" / "device.md").read_text("utf-8")
    guide = page.partition("## From blank to serving")[2].partition("\n## ")[0]
    named = re.findall(r"^\$ .*\bdevice-agent (?=install-service|status|infer|run)", guide, re.M)
    assert len(named) >= 4
    assert all("/opt/edgeops/bin/device-agent" in line for line in named)
