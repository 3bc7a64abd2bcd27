"""Profiles are found on a path, and the ones that we ship are good."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeops.domain.errors import InvalidInput
from edgeops.packaging.profiles import load_profiles

SHIPPED = ("raspberry-pi-5", "raspberry-pi-zero-2w", "x86-64-generic")
MICROCONTROLLERS = {
    "arduino-nano-33-ble-sense": (128, 512),
    "esp32-s3-devkitc-1": (256, 2048),
    "nucleo-l4r5zi": (320, 1024),
    "raspberry-pi-pico-2": (260, 2048),
}
REPOSITORY = Path(__file__).parent.parent.parent


def write(folder: Path, profile_id: str, *, name: str = "Mine", file: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    text = (REPOSITORY / "firmware_profiles" / "x86-64-generic.toml").read_text()
    text = text.replace('"x86-64-generic"', f'"{profile_id}"')
    text = text.replace("Any 64-bit x86 machine with Linux", name)
    path = folder / f"{file or profile_id}.toml"
    path.write_text(text)
    return path


def test_what_we_ship_is_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EDGEOPS_PROFILE_PATH", raising=False)
    assert set(SHIPPED) <= set(load_profiles())


def test_the_microcontrollers_that_we_ship_say_what_a_model_may_take() -> None:
    found = load_profiles([REPOSITORY / "firmware_profiles"]).values()
    micro = {each.id: each for each in found if each.device_class == "mcu"}
    figures = {name: (each.arena_kib, each.flash_kib) for name, each in micro.items()}
    assert figures == MICROCONTROLLERS
    assert all(each.runtimes == ("tflm",) for each in micro.values())


def test_a_folder_here_hides_a_named_one_which_hides_what_we_ship(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEOPS_PROFILE_PATH", f"{tmp_path / 'named'}:{tmp_path / 'missing'}")
    write(tmp_path / "named", "x86-64-generic", name="named")
    assert load_profiles()["x86-64-generic"].name == "named"
    write(tmp_path / "firmware_profiles", "x86-64-generic", name="here")
    assert load_profiles()["x86-64-generic"].name == "here"
    assert "raspberry-pi-5" in load_profiles()


def test_a_file_whose_name_is_not_its_id_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "one", file="two")
    with pytest.raises(InvalidInput, match=r"two\.toml.*'one'"):
        load_profiles([tmp_path])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not toml",
        b"\xff\xfe",
        b"a = 1\n" + b" " * 70_000,
        b"a = " + b"[" * 30_000,
        b"ram_mib = 0x" + b"f" * 6000,
    ],
    ids=lambda content: repr(content[:12]),
)
def test_a_file_that_is_no_profile_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.toml").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"bad\.toml"):
        load_profiles([tmp_path])


def test_a_dotted_key_that_would_take_gigabytes_is_refused_before_it_is_read(
    tmp_path: Path,
) -> None:
    (tmp_path / "bad.toml").write_bytes(b"a." * 30_000 + b"a = 1")
    with pytest.raises(InvalidInput, match="dots"):
        load_profiles([tmp_path])
