"""The texts that the managed broker is started with, and its password hashes."""

import base64
from pathlib import Path

import pytest

from edgeops.hub.broker import (
    HUB_USERNAME,
    BrokerAccountRefused,
    BrokerUnavailable,
    find_mosquitto,
    hash_password,
    iotcore,
    make_broker,
    mosquitto,
    verify_password,
)
from edgeops.trust import passwords

HOME = Path("/srv/edgeops/broker")


def options(text: str) -> dict[str, list[str]]:
    """A configuration's options, each with the values of its lines."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.partition(" ")
            found.setdefault(name, []).append(value)
    return found


def test_the_broker_listens_on_loopback_unless_told_otherwise() -> None:
    assert options(mosquitto.config_text(HOME, 1883))["listener"] == ["1883 127.0.0.1"]
    assert options(mosquitto.config_text(HOME, 1, "0.0.0.0"))["listener"] == ["1 0.0.0.0"]


def test_nobody_connects_without_an_account() -> None:
    config = options(mosquitto.config_text(HOME, 1883))
    assert config["allow_anonymous"] == ["false"]
    assert config["password_file"] == [f"{HOME}/passwords"]
    assert config["acl_file"] == [f"{HOME}/acl"]


def test_queues_are_bounded_by_bytes_and_never_by_a_count() -> None:
    config = options(mosquitto.config_text(HOME, 1883))
    assert config["max_queued_messages"] == ["0"]
    assert int(config["max_queued_bytes"][0]) == mosquitto.MAX_QUEUED_BYTES > 0
    assert config["max_inflight_messages"] == ["1000"]


def test_a_chunk_fits_and_a_mebibyte_does_not() -> None:
    config = options(mosquitto.config_text(HOME, 1883))
    assert 64 * 1024 < int(config["max_packet_size"][0]) < 1024 * 1024


def test_the_state_is_kept_in_the_home_folder() -> None:
    config = options(mosquitto.config_text(HOME, 1883))
    assert config["persistence"] == ["true"]
    assert config["persistence_location"] == [f"{HOME}/"]
    assert 0 < int(config["autosave_interval"][0]) <= 60


def test_a_broker_run_by_root_stays_root_so_that_it_can_be_tied_to_the_hub() -> None:
    assert options(mosquitto.config_text(HOME, 1883))["user"] == ["root"]


def test_only_the_hub_has_rules_of_its_own_and_devices_have_patterns() -> None:
    rules = [line for line in mosquitto.acl_text().splitlines() if line and line[0] != "#"]
    assert rules == [
        f"user {HUB_USERNAME}",
        "topic readwrite edgeops/v1/#",
        "pattern read edgeops/v1/d/%u/#",
        "pattern read edgeops/v1/blob/#",
        "pattern read edgeops/v1/trust/#",
        "pattern read edgeops/v1/hub/#",
        "pattern write edgeops/v1/u/+/%u/#",
    ]


def test_the_password_file_lists_accounts_in_order() -> None:
    first, second = hash_password("a"), hash_password("b")
    text = mosquitto.password_text({"dev-2": second, "dev-1": first})
    assert text == f"dev-1:{first}\ndev-2:{second}\n"


@pytest.mark.parametrize("name", ["", "a/b", "+", "#", "a:b", "a\nb", "$SYS", "-x", "é", "x" * 65])
def test_a_username_that_could_widen_a_rule_is_refused(name: str) -> None:
    with pytest.raises(BrokerAccountRefused):
        mosquitto.password_text({name: hash_password("a")})


@pytest.mark.parametrize("text", ["", "secret", "$6$AAAA$AAAA", f"{'$7$101$AAAA$AAAA'}\nb:c"])
def test_a_password_that_is_not_hashed_is_never_written(text: str) -> None:
    with pytest.raises(BrokerAccountRefused) as caught:
        mosquitto.password_text({"dev-1": text})
    assert text == "" or text not in str(caught.value)


def test_a_hash_is_pbkdf2_sha512_in_the_form_of_mosquitto_passwd() -> None:
    empty, kind, iterations, salt, digest = hash_password("secret").split("$")
    assert (empty, kind, iterations) == ("", "7", "101")
    assert len(base64.b64decode(salt)) == passwords.SALT_BYTES
    assert len(base64.b64decode(digest)) == passwords.HASH_BYTES


def test_a_hash_is_verified_by_its_own_password_only() -> None:
    made = hash_password("sécret")
    assert verify_password("sécret", made)
    assert not verify_password("secret", made)


def test_two_hashes_of_one_password_differ() -> None:
    assert hash_password("secret") != hash_password("secret")


@pytest.mark.parametrize(
    "text", ["", "$7$", "$6$AAAA$AAAA", "$7$0$AAAA$AAAA", "$7$9999999$AAAA$AAAA", "$7$101$A$A"]
)
def test_a_malformed_or_costly_hash_verifies_nothing(text: str) -> None:
    assert not verify_password("secret", text)


def test_a_salt_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="12 bytes"):
        hash_password("secret", salt=b"short")


def test_the_development_broker_speaks_mqtt_5_on_loopback_and_takes_a_chunk() -> None:
    config = iotcore.config_text(1883)
    assert 'listen = "127.0.0.1:1883"' in config
    assert "[v5.1]" in config
    assert f"max_payload_size = {256 * 1024}" in config
    assert "max_outgoing_packet_count = 10000" in config


def test_a_program_that_is_no_mosquitto_is_not_found(tmp_path: Path) -> None:
    impostor = tmp_path / "mosquitto"
    impostor.write_text("#!/bin/sh\necho hello\n")
    impostor.chmod(0o755)
    assert find_mosquitto([tmp_path]) is None


def test_the_first_mosquitto_that_runs_is_found_with_its_libraries(tmp_path: Path) -> None:
    broken, good = tmp_path / "broken", tmp_path / "good" / "bin"
    for folder, script in ((broken, "exit 127"), (good, "echo mosquitto version 2.0.11; exit 3")):
        folder.mkdir(parents=True)
        (folder / "mosquitto").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "mosquitto").chmod(0o755)
    found = find_mosquitto([tmp_path / "missing", broken, good.parent])
    assert found is not None
    assert found.binary == good / "mosquitto"
    assert found.library_path == tmp_path / "good" / "lib"
    assert found.version == (2, 0, 11)


def test_a_missing_mosquitto_is_an_error_that_names_the_remedies(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable) as caught:
        make_broker(tmp_path, 1883, "mosquitto", search=[])
    for remedy in ("scripts/fetch_mosquitto", "system's mosquitto package", "pip install iotcore"):
        assert remedy in caught.value.next_step


def test_a_broker_without_accounts_never_listens_beyond_loopback(tmp_path: Path) -> None:
    with pytest.raises(BrokerUnavailable):
        make_broker(tmp_path, 1883, "iotcore", bind="0.0.0.0")
