"""The README's second example, command by command."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeops.cli.main import main
from edgeops.packaging.oci.layout import read_layout
from edgeops.trust.keys import KeyFolder

ROOT = Path(__file__).resolve().parents[2]
SECTION = "## Your Keras file, your ONNX file"


def commands() -> list[list[str]]:
    text = (ROOT / "README.md").read_text("utf-8").split(SECTION)[1]
    block = re.findall(r"^```console\n(.*?)^```", text, re.DOTALL | re.M)[0]
    return [shlex.split(line.removeprefix("$ ")) for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("readme")
    KeyFolder(made / "home" / "keys").init()
    python, script = commands()[0]
    assert (python, script) == ("python", "examples/train_digits.py")
    done = subprocess.run(
        [sys.executable, ROOT / script], cwd=made, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr
    return made


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]) -> str:
    monkeypatch.chdir(folder)
    assert words[0] == "edgeops"
    done = CliRunner().invoke(main, ["--home", str(folder / "home"), *words[1:]])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.timeout(300)
@pytest.mark.skipif(find_spec("tensorflow") is None, reason="TensorFlow is not installed")
def test_a_keras_file_becomes_two_variants_by_one_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = run(folder, monkeypatch, commands()[1])
    assert "search ended" in said
    manifest = read_layout(folder / "home" / "packages", "digits:1").manifest
    assert {each.runtime for each in manifest.variants} == {"onnxruntime", "litert"}
    for variant in manifest.variants:
        assert variant.evidence is not None
        assert variant.evidence.size_bytes < variant.evidence.float_size_bytes / 2


@pytest.mark.timeout(300)
def test_an_onnx_file_is_packaged_by_one_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = run(folder, monkeypatch, commands()[2])
    assert "digits-dense:1 sha256:" in said
    (variant,) = read_layout(folder / "home" / "packages", "digits-dense:1").manifest.variants
    assert variant.evidence is not None
    assert variant.evidence.recipe == "onnx-int8"
    assert variant.evidence.drop_high < 0.03
