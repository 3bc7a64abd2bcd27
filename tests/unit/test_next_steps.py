"""An error says what to do next: every one that the packager and its commands raise."""

from __future__ import annotations

import ast
import builtins
from pathlib import Path

import pytest

from edgeops.domain import errors as domain
from edgeops.packaging.convert import errors as conversion

ROOT = Path(__file__).parents[2]
FILES = sorted(
    [
        *(ROOT / "edgeops" / "packaging").rglob("*.py"),
        ROOT / "edgeops" / "cli" / "packages.py",
        ROOT / "edgeops" / "cli" / "recipes.py",
    ]
)
KINDS = {
    name
    for module in (domain, conversion)
    for name, each in vars(module).items()
    if isinstance(each, type) and issubclass(each, domain.EdgeopsError)
} | {"CannotRun"}


def without_next_step(tree: ast.AST) -> list[int]:
    """Return the lines in which an error of ours is raised without a next step."""
    raised = [each.exc for each in ast.walk(tree) if isinstance(each, ast.Raise)]
    return [
        call.lineno
        for call in raised
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in KINDS
        and "next_step" not in {each.arg for each in call.keywords}
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda each: str(each.relative_to(ROOT)))
def test_every_error_that_is_raised_has_a_next_step(path: Path) -> None:
    assert without_next_step(ast.parse(path.read_text("utf-8"))) == []


def test_the_look_for_such_errors_finds_them() -> None:
    assert len(KINDS) > 8 and not KINDS & set(dir(builtins))
    bad = (
        "raise InvalidInput('no')\nraise InvalidInput('no', next_step='do')\nraise ValueError('x')"
    )
    assert without_next_step(ast.parse(bad)) == [1]
