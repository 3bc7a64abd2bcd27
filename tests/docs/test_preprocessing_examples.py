"""The preprocessing files of the manual and of the examples are read, and do what they say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from device_agent.protocol.preprocessing import Preprocessing
from edgeops.packaging.rows.preprocessing import read_preprocessing

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "packages.md").read_text("utf-8")
SECTION = PAGE.partition("\n## Preprocessing\n")[2].partition("\n## Thresholds\n")[0]
BLOCKS = re.findall(r"^```json\n(.*?)^```", SECTION, re.DOTALL | re.M)
FILES = sorted((ROOT / "examples" / "preprocessing").glob("*.json"))
MADE = {"image": (96, 96, 1), "sound": (49, 10), "table": (7,)}


def test_the_manual_shows_each_kind_of_row_and_each_is_read(tmp_path: Path) -> None:
    read: list[Preprocessing] = []
    for block in BLOCKS:
        (tmp_path / "p.json").write_text(block)
        read.append(read_preprocessing(tmp_path / "p.json"))
    assert [list(each.steps) for each in read] == [[], ["image"], ["audio"], ["tabular"]]
    assert [each.made_shape for each in read[1:]] == list(MADE.values())


def test_the_examples_are_those_of_the_manual() -> None:
    assert [path.stem for path in FILES] == list(MADE)
    shown = [read_preprocessing(path) for path in FILES]
    for path, block, each in zip(FILES, BLOCKS[1:], shown, strict=True):
        document = json.loads(block)
        kind = next(iter(each.steps))
        assert json.loads(path.read_text())[kind].items() <= document[kind].items(), path.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_rows_are_prepared_for_training_as_the_example_says(path: Path, tmp_path: Path) -> None:
    shape = read_preprocessing(path).row_shape
    rows = np.random.default_rng(0).integers(0, 100, (2, *shape)).astype(np.float32)
    if path.stem == "table":
        rows[0, 0] = np.nan
    np.savez(tmp_path / "rows.npz", x=rows, y=[0, 1])
    script = ROOT / "examples" / "prepare_rows.py"
    ran = subprocess.run(
        [sys.executable, script, path, tmp_path / "rows.npz", tmp_path / "prepared.npz"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == f"2 rows of shape {list(MADE[path.stem])}\n"
    with np.load(tmp_path / "prepared.npz") as prepared:
        assert prepared["x"].shape == (2, *MADE[path.stem])
        assert np.isfinite(prepared["x"]).all()
        assert prepared["y"].tolist() == [0, 1]
