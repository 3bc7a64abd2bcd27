"""A folder of keys: all of them or none, private, and never overwritten."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edgeops.domain.errors import Conflict, InvalidInput, NotFound, NotTrusted, StoreFailed
from edgeops.trust.keys import KeyFolder


def test_new_keys_are_private_and_their_root_names_them(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "home" / "keys")
    root = folder.init()
    assert folder.root() == root
    assert root.version == 1
    assert list(root.keys_of("targets").values()) == [folder.targets().public]
    assert list(root.keys_of("director").values()) == [folder.director().public]
    assert folder.targets().keyid != folder.director().keyid
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.path.iterdir()}
    names = ("root.key", "targets.key", "director.key", "root.json")
    assert modes == dict.fromkeys(names, 0o600)
    assert [each.name for each in folder.path.parent.iterdir()] == ["keys"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    KeyFolder(tmp_path / "keys").init()
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["root.key", "notes.txt"])
def test_keys_are_never_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(Conflict, match="never overwritten"):
        KeyFolder(tmp_path).init()
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {name: "mine"}


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed):
        KeyFolder(tmp_path / "file" / "keys").init()


def test_a_missing_key_says_how_to_make_keys(tmp_path: Path) -> None:
    for read in (KeyFolder(tmp_path).targets, KeyFolder(tmp_path).root_envelope):
        with pytest.raises(NotFound) as error:
            read()
        assert "edgeops keys init" in error.value.next_step


def test_a_hub_needs_only_the_director_and_the_root(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "keys")
    folder.init()
    for name in ("root.key", "targets.key"):
        (folder.path / name).unlink()
    folder.director(), folder.root()
    with pytest.raises(NotFound):
        folder.targets()


def test_a_root_of_other_keys_is_not_trusted(tmp_path: Path) -> None:
    one, two = KeyFolder(tmp_path / "one"), KeyFolder(tmp_path / "two")
    one.init(), two.init()
    envelope = one.root_envelope()
    for damaged in (envelope.replace(b'"sig":"', b'"sig":"A'), envelope[:-9], b"{}"):
        (one.path / "root.json").write_bytes(damaged)
        with pytest.raises(NotTrusted):
            one.root()


def test_a_damaged_key_is_named(tmp_path: Path) -> None:
    folder = KeyFolder(tmp_path / "keys")
    folder.init()
    (folder.path / "targets.key").write_bytes(b"damaged")
    with pytest.raises(InvalidInput, match=r"targets\.key"):
        folder.targets()
