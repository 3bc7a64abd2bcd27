"""Publishing, naming and finding versions."""

from collections.abc import Iterator

import pytest

from device_agent.protocol.envelope import Signature
from device_agent.protocol.ids import ModelName, digest_of
from device_agent.protocol.manifest import Waiver
from edgeops.domain.errors import Conflict, InvalidInput, NotFound
from edgeops.domain.registry import Alias, ModelSummary, Reference, Version, parse_reference
from edgeops.registry import (
    list_models,
    list_versions,
    next_number,
    publish,
    resolve,
    set_alias,
)
from edgeops.store import Database, Work


def a_version(number: int, *, model: str = "kws", content: bytes = b"") -> Version:
    """A version whose manifest is its own name, or ``content``."""
    manifest = content or f"{model}:{number}".encode()
    return Version(
        model=ModelName(model),
        number=number,
        digest=digest_of(manifest),
        size_bytes=len(manifest),
        signature=Signature(keyid="ab" * 32, value=b"s" * 64),
        created_s=1_700_000_000.1,
        created_by="ci",
        lineage={"data": "sha256:0f", "code": "9f3b1c", "run": "mlflow:77"},
        waivers=(Waiver(gate="latency", reason="demo board"),),
    )


@pytest.fixture
def work() -> Iterator[Work]:
    with Database.open("sqlite://").begin() as work:
        yield work


def test_a_reference_names_a_number_an_alias_or_the_newest() -> None:
    assert parse_reference("kws:2") == Reference(model=ModelName("kws"), number=2)
    assert parse_reference("kws@production") == Reference(
        model=ModelName("kws"), alias="production"
    )
    assert parse_reference("kws") == Reference(model=ModelName("kws"))


@pytest.mark.parametrize(
    "text",
    [
        *("", "KWS", "kws:", "kws:0", "kws:-1", "kws:01", "kws:two", "kws@", "kws@a/b", "../kws"),
        *("kws:1@production", "kws@production:1", "kws:99999999999", "kws:²", "a" * 65),
    ],
)
def test_what_is_no_reference_is_refused_with_a_next_step(text: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_reference(text)
    assert refused.value.next_step


def test_a_published_version_reads_back_as_it_was(work: Work) -> None:
    version = a_version(1)
    assert publish(work.registry, version) == version
    assert list_versions(work.registry, "kws") == (version,)
    assert resolve(work.registry, "kws:1") == version


def test_publishing_the_same_package_again_changes_nothing(work: Work) -> None:
    first = publish(work.registry, a_version(1))
    assert publish(work.registry, a_version(1)) == first
    assert len(list_versions(work.registry, "kws")) == 1


def test_another_package_under_a_taken_number_names_the_next_free_one(work: Work) -> None:
    publish(work.registry, a_version(1))
    publish(work.registry, a_version(4))
    with pytest.raises(Conflict) as refused:
        publish(work.registry, a_version(1, content=b"another"))
    assert "version 5, the next free number" in refused.value.next_step
    assert next_number(work.registry, "kws") == 5


def test_one_package_is_not_published_under_two_numbers(work: Work) -> None:
    publish(work.registry, a_version(1))
    with pytest.raises(Conflict, match="kws:1 is sha256:"):
        publish(work.registry, a_version(2, content=b"kws:1"))


def test_one_package_is_not_published_under_two_models(work: Work) -> None:
    publish(work.registry, a_version(1))
    with pytest.raises(Conflict):
        publish(work.registry, a_version(1, model="other", content=b"kws:1"))
    assert [summary.model for summary in list_models(work.registry)] == ["kws"]


@pytest.mark.parametrize("number", [0, -1, 1_000_000_001])
def test_a_number_out_of_range_is_refused(work: Work, number: int) -> None:
    with pytest.raises(InvalidInput):
        publish(work.registry, a_version(number))


def test_the_bare_name_is_the_highest_number_not_the_last_published(work: Work) -> None:
    for number in (2, 10, 9):
        publish(work.registry, a_version(number))
    assert resolve(work.registry, "kws").number == 10


def test_what_is_not_there_lists_what_is(work: Work) -> None:
    with pytest.raises(NotFound) as no_model:
        resolve(work.registry, "vision")
    assert no_model.value.next_step == "there are no models yet"
    publish(work.registry, a_version(1))
    publish(work.registry, a_version(2))
    set_alias(work.registry, "kws", "production", 1, None)
    steps = {}
    for reference in ("vision", "kws:7", "kws@canary"):
        with pytest.raises(NotFound) as missing:
            resolve(work.registry, reference)
        steps[reference] = missing.value.next_step
    assert steps == {
        "vision": "models: kws",
        "kws:7": "versions: 1, 2",
        "kws@canary": "aliases: production",
    }


def test_a_list_in_an_error_is_bounded(work: Work) -> None:
    for number in range(1, 31):
        publish(work.registry, a_version(number))
    with pytest.raises(NotFound) as missing:
        resolve(work.registry, "kws:99")
    assert missing.value.next_step.startswith("versions: 11, ")
    assert missing.value.next_step.endswith("30 and 10 more")


def test_an_alias_moves_from_revision_to_revision(work: Work) -> None:
    publish(work.registry, a_version(1))
    publish(work.registry, a_version(2))
    assert set_alias(work.registry, "kws", "production", 1, 0).revision == 1
    moved = set_alias(work.registry, "kws", "production", 2, 1)
    assert moved == Alias(model=ModelName("kws"), name="production", number=2, revision=2)
    assert resolve(work.registry, "kws@production").number == 2
    assert list_models(work.registry) == (
        ModelSummary(model=ModelName("kws"), versions=2, latest=2, aliases=(moved,)),
    )


def test_an_alias_seen_at_an_old_revision_does_not_move(work: Work) -> None:
    publish(work.registry, a_version(1))
    publish(work.registry, a_version(2))
    set_alias(work.registry, "kws", "production", 1, None)
    for stale in (0, 2):
        with pytest.raises(Conflict, match="kws@production"):
            set_alias(work.registry, "kws", "production", 2, stale)
    assert resolve(work.registry, "kws@production").number == 1


def test_an_alias_set_to_where_it_is_keeps_its_revision(work: Work) -> None:
    publish(work.registry, a_version(1))
    first = set_alias(work.registry, "kws", "production", 1, None)
    assert set_alias(work.registry, "kws", "production", 1, None) == first


def test_an_alias_needs_a_version_that_exists(work: Work) -> None:
    publish(work.registry, a_version(1))
    with pytest.raises(NotFound, match="kws:2"):
        set_alias(work.registry, "kws", "production", 2, None)


def test_the_store_refuses_an_alias_that_somebody_moved_between(work: Work) -> None:
    publish(work.registry, a_version(1))
    alias = set_alias(work.registry, "kws", "production", 1, None)
    assert not work.registry.put_alias(alias)
    skipped = Alias(model=alias.model, name=alias.name, number=1, revision=3)
    assert not work.registry.put_alias(skipped)
