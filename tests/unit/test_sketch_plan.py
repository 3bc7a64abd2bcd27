"""Plans, packed counts, reference profiles and evidence: what they hold and what they refuse."""

from __future__ import annotations

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.monitor.inputs import BUFFER_ROWS, MAX_WAITING_ELEMENTS, InputSketch
from device_agent.processing.features import SUMMARY, bins_of, features_of, features_of_rows
from device_agent.protocol.codec import decode, encode
from device_agent.protocol.errors import ProtocolError
from device_agent.protocol.fields import Fields
from device_agent.protocol.plan import FeaturePlan, SketchPlan, pack_counts, unpack_counts
from device_agent.protocol.reference import ReferenceProfile
from edgeops.packaging.rows.predictions import Predictions
from edgeops.packaging.rows.reference import ATOM_SHARE, make_plan, make_reference

FEATURE = FeaturePlan(name="x0", edges=(1.0, 4.0, 9.0), atoms=(0.0,))
PLAN = SketchPlan(source="elements", features=(FEATURE, FeaturePlan(name="x1", edges=())))


@given(st.lists(st.integers(0, 2**40), max_size=300))
def test_counts_survive_packing(counts: list[int]) -> None:
    assert unpack_counts(pack_counts(counts), len(counts)) == tuple(counts)


@pytest.mark.parametrize(
    "text",
    [
        "no base64!",
        base64.b64encode(b"not deflated").decode(),
        pack_counts([1, 2, 3])[:-4],
        base64.b64encode(zlib.compress(b"\x80")).decode(),
        base64.b64encode(zlib.compress(b"\xff" * 9 + b"\x01")).decode(),
        base64.b64encode(zlib.compress(bytes(50_000_000))).decode(),
        pack_counts(range(11)),
    ],
    ids=["base64", "zlib", "cut", "unfinished", "huge", "bomb", "too-many"],
)
def test_damaged_or_hostile_counts_are_refused(text: str) -> None:
    with pytest.raises(ProtocolError, match="packed count"):
        unpack_counts(text, 10)


def test_each_value_falls_into_the_bin_that_the_protocol_says() -> None:
    values = np.array([0.0, 1.0, 3.9, 4.0, 9.0, 0.5, -1.0, 9.1, np.nan])
    assert bins_of(FEATURE, values).tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 5]


def test_a_constant_feature_has_its_value_and_both_sides() -> None:
    constant = FeaturePlan(name="x", edges=(), atoms=(5.0,))
    assert bins_of(constant, np.array([5.0, 4.0, 6.0, np.nan])).tolist() == [0, 1, 2, 3]


def test_edges_that_do_not_rise_are_refused() -> None:
    document = FeaturePlan(name="x", edges=(1.0, 1.0)).to_document()
    with pytest.raises(ProtocolError, match="do not rise"):
        FeaturePlan.from_fields(Fields(document, "feature"))


def test_counts_by_another_plan_are_refused() -> None:
    with pytest.raises(ProtocolError, match="counts for a plan"):
        PLAN.parted((1, 2, 3))
    assert [len(part) for part in PLAN.parted(range(PLAN.bins))] == [6, 3]


def test_another_edge_gives_another_schema() -> None:
    other = SketchPlan(source="elements", features=(FeaturePlan(name="x0", edges=(1.0, 4.5)),))
    assert PLAN.schema != other.schema
    assert PLAN.schema == SketchPlan.from_fields(Fields(PLAN.to_document(), "plan")).schema


def test_a_sketch_counts_every_row_once_whatever_the_buffer_holds() -> None:
    rows = np.random.default_rng(1).uniform(-2, 12, (BUFFER_ROWS * 2 + 7, 2))
    sketch = InputSketch(PLAN)
    for row in rows[:50]:
        sketch.observe(row)
    first_rows, first = sketch.take()
    for row in rows[50:]:
        sketch.observe(row)
    second_rows, second = sketch.take()
    assert (first_rows, first_rows + second_rows) == (50, len(rows))
    merged = [a + b for a, b in zip(first, second, strict=True)]
    expected = [
        np.bincount(bins_of(feature, rows[:, i]), minlength=feature.bins)
        for i, feature in enumerate(PLAN.features)
    ]
    assert merged == np.concatenate(expected).tolist()
    assert sketch.take() == (0, (0,) * PLAN.bins)


def test_a_row_of_another_size_is_not_counted() -> None:
    sketch = InputSketch(PLAN)
    sketch.observe(np.zeros(3))
    assert sketch.take()[0] == 0


def test_the_reference_counts_its_own_rows_and_knows_what_was_right() -> None:
    rng = np.random.default_rng(2)
    rows = rng.normal(size=(500, 3)).astype(np.float32)
    rows[:, 1] = 7.0
    rows[rng.random(500) < 0.3, 2] = 0.0
    truth = rng.integers(0, 2, 500)
    predicted = Predictions(classes=np.zeros(500, np.int64), confidence=np.full(500, 0.75))
    plan = make_plan(rows)
    reference = make_reference(plan, rows, predicted, truth)
    assert plan.features[1] == FeaturePlan(name="x1", edges=(), atoms=(7.0,))
    assert plan.features[2].atoms == (0.0,)
    assert reference.plan.parted(reference.inputs)[1] == (500, 0, 0, 0)
    assert sum(reference.plan.parted(reference.inputs)[0]) == 500
    assert sum(reference.correct) == int((truth == 0).sum())
    assert ReferenceProfile.from_bytes(reference.to_bytes()) == reference


def test_bins_between_edges_hold_about_the_same_share_of_the_reference() -> None:
    rows = np.random.default_rng(3).normal(size=(1600, 1)).astype(np.float32)
    plan = make_plan(rows)
    counts = np.bincount(bins_of(plan.features[0], rows[:, 0].astype(float)))
    assert len(plan.features[0].edges) == 17
    assert counts[:16].min() >= 99
    assert ATOM_SHARE * 1600 > counts.max() / 2


def test_rows_with_many_elements_are_summed_up() -> None:
    rows = np.random.default_rng(4).uniform(size=(50, 32, 32, 3)).astype(np.float32)
    plan = make_plan(rows)
    assert plan.source == "summary"
    assert [feature.name for feature in plan.features] == list(SUMMARY)
    flat = np.ones(9)
    assert features_of("summary", flat).tolist() == [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("rows", 0, "rows"),
        ("inputs", pack_counts([1]), "counts"),
        ("correct", [5], "more than"),
        ("plan", {"source": "pixels", "features": []}, "unknown"),
    ],
)
def test_a_reference_that_contradicts_itself_is_refused(
    field: str, value: object, message: str
) -> None:
    good = ReferenceProfile(
        plan=PLAN, rows=3, inputs=(0,) * PLAN.bins, classes=(3,), confidence=(3,)
    )
    document = {**decode(good.to_bytes()), field: value}
    with pytest.raises(ProtocolError, match=message):
        ReferenceProfile.from_bytes(encode(document))


@pytest.mark.parametrize("dtype", ["int8", "uint8", "float32", "float64", "float16", "int32"])
@pytest.mark.parametrize("size", [1, 2, 9, 128, 640, 5000])
def test_features_of_many_rows_are_to_the_last_bit_those_of_each(dtype: str, size: int) -> None:
    chance = np.random.default_rng(size)
    rows = np.maximum(chance.normal(size=(6, size)) * 40, -20).astype(dtype)
    together = features_of_rows("summary", rows)
    for row, found in zip(rows, together, strict=True):
        flat = row.astype(np.float64)
        low, high = flat.min(), flat.max()
        rough = np.abs(np.diff(flat)).mean() if size > 1 else 0.0
        shares = (flat == low).mean(), (flat == high).mean()
        assert found.tolist() == [flat.mean(), flat.std(), low, high, rough, *shares]
        assert features_of("summary", row).tolist() == found.tolist()


def test_rows_of_changing_sizes_and_dtypes_are_all_counted() -> None:
    features = tuple(FeaturePlan(name=name, edges=(-100.0, 0.0, 100.0)) for name in SUMMARY)
    sketch = InputSketch(SketchPlan(source="summary", features=features))
    chance = np.random.default_rng(0)
    sizes = [3, 3, 640, MAX_WAITING_ELEMENTS, 640, 3, 70_000] * 40
    expected = np.zeros(2, np.int64)
    for size in sizes:
        row = chance.integers(-90, 91, (1, size)).astype(chance.choice(["int8", "float32"]))
        sketch.observe(row)
        expected += [row.astype(float).mean() < 0, row.astype(float).mean() >= 0]
    rows, counts = sketch.take()
    assert rows == len(sizes)
    assert list(counts[:2]) == expected.tolist()
    assert sketch.take() == (0, (0,) * len(counts))
