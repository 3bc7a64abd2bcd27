"""The model card: Markdown with a front matter, from facts alone."""

from __future__ import annotations

import json
from dataclasses import replace

from device_agent.protocol.evidence import ClassEvidence, Evidence, MetricEvidence
from edgeops.reports.card import model_card
from edgeops.reports.facts import VariantFacts
from edgeops.reports.package_facts import (
    ArtifactFacts,
    GateFacts,
    OperationFacts,
    PackageFacts,
    VerdictFacts,
)

EVIDENCE = Evidence(
    recipe="tflite-int8",
    rows=900,
    float_accuracy=0.96,
    accuracy=0.955,
    drop_low=-0.004,
    drop_high=0.014,
    confidence=0.95,
    max_drop=0.02,
    agreement=0.99,
    float_size_bytes=104088,
    size_bytes=52960,
    classes=(
        ClassEvidence(rows=450, float_correct=432, correct=430),
        ClassEvidence(rows=450, float_correct=432, correct=429),
    ),
)
METRIC = MetricEvidence(
    name="rmse",
    rows=192,
    float_value=54.25,
    value=54.5,
    drop_low=-0.001,
    drop_high=0.01,
    confidence=0.95,
    max_drop=0.05,
    sqnr_db=31.5,
)
VARIANT = VariantFacts(
    runtime="litert",
    profiles=("raspberry-pi-zero-2w",),
    size_bytes=52960,
    golden_accuracy=0.95,
    evidence=EVIDENCE,
)
FACTS = PackageFacts(
    model="kws",
    number=3,
    digest="sha256:" + "ab" * 32,
    key="cd" * 32,
    signature="trusted",
    found="",
    labels=("yes", "no"),
    lineage=(("data", "kws-train:4"), ("evaluation", "sha256:" + "12" * 32)),
    has_record=True,
    gates=(
        GateFacts(name="quality", verdicts=(VerdictFacts(holds=True, found="drop below 0.014"),)),
        GateFacts(name="golden", waived="field test"),
        GateFacts(name="fit"),
    ),
    variants=(VARIANT,),
    artifacts=(
        ArtifactFacts(
            digest="sha256:" + "ef" * 32,
            format="tflite",
            size_bytes=52960,
            runtimes=("litert",),
            recipe="tflite-int8",
            excluded=("first_conv",),
            notes=("only 40 calibration rows",),
            operations=(OperationFacts(number=1, type="CONV_2D", name="c", macs=123456),),
        ),
    ),
)


def front_matter(card: str) -> dict[str, str]:
    opened, matter, _ = card.split("---\n", 2)
    assert opened == ""
    return dict(line.strip("- ").split(": ", 1) for line in matter.splitlines() if ": " in line)


def test_the_front_matter_is_what_model_hubs_read() -> None:
    matter = front_matter(model_card(FACTS))
    assert json.loads(matter["model_name"]) == "kws"
    (result,) = json.loads(matter["results"])
    assert result["metrics"] == [{"type": "accuracy", "value": 0.955, "name": "accuracy on litert"}]
    assert result["dataset"]["name"].startswith("evaluation rows sha256:1212")


def test_the_card_tells_what_was_lost_by_whom_and_what_was_waived() -> None:
    card = model_card(FACTS)
    assert (
        "| litert | accuracy | 96.0 % | 95.5 % | −0.4 to +1.4 points (95 % interval) | 900 |"
        in card
    )
    assert "| no | 450 | 96.0 % | 95.3 % |" in card
    assert "| golden | waived: field test |" in card
    assert "| quality | held | drop below 0.014 |" in card
    assert "| fit |" not in card
    assert "- stays in floats: first\\_conv" in card
    assert "123456" in card and "| data | kws-train:4 |" in card


def test_a_model_that_predicts_numbers_has_its_error() -> None:
    numbers = replace(VARIANT, evidence=None, metric=METRIC, golden_accuracy=None)
    card = model_card(replace(FACTS, variants=(numbers,)))
    assert "| litert | rmse | 54.25 | 54.5 | -0.0010 to 0.0100 (95 % interval) | 192 |" in card
    (result,) = json.loads(front_matter(card)["results"])
    assert result["task"] == {"type": "regression"}


def test_what_nobody_measured_is_not_made_up() -> None:
    bare = replace(VARIANT, evidence=None, golden_accuracy=None)
    card = model_card(replace(FACTS, variants=(bare,), gates=(), lineage=(), has_record=False))
    assert "Nothing was measured on evaluation rows." in card
    assert "model-index" not in card and "## Gates" not in card


def test_names_that_somebody_chose_do_nothing_in_markdown_or_yaml() -> None:
    evil = replace(
        FACTS,
        model="x\n---\ntags: evil",
        labels=("<script>", "a|b", "[x](javascript:0)"),
        lineage=(("data", "`rm -rf` | **bold**\nnext"),),
    )
    card = model_card(evil)
    assert card.count("\n---\n") == 1
    assert "<script>" not in card.replace("\\<script\\>", "")
    assert "a\\|b" in card and "\\[x\\](javascript:0)" in card
    assert "\\`rm -rf\\` \\| \\*\\*bold\\*\\* next" in card
