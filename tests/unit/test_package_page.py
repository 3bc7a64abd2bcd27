"""A package's report is one page that tells what is known of it, and says what is not."""

from __future__ import annotations

import dataclasses
import functools
import html
import json
import random
import re
from typing import Any

import pytest

from edgeops.domain.errors import InvalidInput
from edgeops.reports import render_package
from edgeops.reports.exchange import facts_from_document, to_document
from edgeops.reports.figures.canvas import Canvas
from edgeops.reports.figures.graph import MAX_DRAWN, draw_graph, parts_of
from edgeops.reports.operators import amount, connected, numbered, short_name, spelled_out
from edgeops.reports.package_facts import (
    GateFacts,
    PackageFacts,
    SensitivityFacts,
    SupportFacts,
    VerdictFacts,
)
from edgeops.reports.wording import fine_percent
from tests.package_facts import (
    FUSED,
    RESIDUAL,
    full_package,
    old_package,
    operation,
    trial,
    weighted,
)
from tests.report_pages import HOSTILE, Page, hostile, text_of


@functools.cache
def full_page() -> str:
    return render_package(full_package())


def with_artifact(**changes: Any) -> PackageFacts:
    facts = full_package()
    (artifact,) = facts.artifacts
    return dataclasses.replace(facts, artifacts=(dataclasses.replace(artifact, **changes),))


def section(page: str, anchor: str) -> str:
    begin = page.index(f'<section id="{anchor}">')
    end = "</section>"
    return page[begin : page.index(end, begin) + len(end)]


def test_a_package_is_told_in_nine_chapters_that_the_contents_lead_to() -> None:
    page = full_page()
    links = re.findall(r'<li><a href="#(\w+)">', page)
    assert links == re.findall(r'<section id="(\w+)">', page)
    assert links == [
        *("summary", "quantization", "search", "sensitivity", "errors"),
        *("memory", "operators", "graph", "origin"),
    ]
    assert "Nothing yet" not in page
    assert Page(page).tags.count("svg") == 6


def test_a_reader_finds_what_the_package_brings_and_what_its_gates_found() -> None:
    text = text_of(section(full_page(), "summary"))
    for said in (
        "For raspberry-pi-zero-2w and x86-64-generic litert, by tflite-int8",
        "27.5 KiB file 3.7 times smaller",
        "26.7 dB SQNR",
        "3.0 k MACs",
        "12.0 KiB peak",
        "golden held 0.97 right",
        "quality missed loses 0.0240 waived because: field test of the new labels",
        "fit - nothing was asked of it",
    ):
        assert said in text, said


def test_the_search_tells_every_candidate_the_front_and_why_it_stopped() -> None:
    found = section(full_page(), "search")
    text = text_of(found)
    assert "1 tflite-float16 50.8 KiB 63.8 dB 98.0 % 0.300 ms on the front" in text
    assert "2 tflite-int8 27.5 KiB 26.7 dB 98.0 % - chosen" in text
    assert "5 tflite-int16 - - - - the quantizer failed: KeyError" in text
    assert "It searched by size. The float model took 0.500 ms a row on the host" in text
    assert "Why it stopped: all candidates were tried: 5 candidates." in text
    drawing = found[found.index("<svg") : found.index("</svg>")]
    assert ">2 tflite-int8<" in drawing
    assert "float model, 101.6 KiB" in drawing


def test_what_the_packaging_host_measured_is_told_as_that_hosts_alone() -> None:
    text = text_of(section(full_page(), "summary"))
    assert "On the host that packaged Testing CPU, 2 cores, Linux x86_64" in text
    assert "ai-edge-litert 2.3.0 0.214 ms 0.380 ms 7.5 MiB 1" in text
    assert "It is not the board's latency" in text
    assert "On the host that packaged" not in render_package(old_package())


def test_sensitivity_is_drawn_by_short_names_and_told_by_full_ones() -> None:
    found = section(full_page(), "sensitivity")
    drawing = found[found.index("<svg") : found.index("</svg>")]
    assert ">1 CONV_2D conv_1<" in drawing
    assert ">Conv2D<" in drawing
    assert FUSED.replace(";", "; ") in text_of(found)
    assert "0.021 %" in text_of(found)


def test_errors_say_how_many_rows_are_how_far_off() -> None:
    text = text_of(section(full_page(), "errors"))
    assert "Half are within 0.31 %, 95 % within 1.1 %; the worst is at 27 %." in text
    assert "12 rows with exactly the float model's scores are not drawn." in text
    assert "first bar" not in text


def test_memory_names_its_peak_and_the_bytes_of_the_weights() -> None:
    found = section(full_page(), "memory")
    assert "peak: 12.0 KiB, first at 2 CONV_2D" in found
    text = text_of(found)
    assert "Weights and other constants take 2.0 KiB beside them; the whole file has 27.5" in text
    assert "2 operators reach the peak." in text


def test_operators_are_counted_and_every_profile_has_a_verdict() -> None:
    text = text_of(section(full_page(), "operators"))
    assert "CONV_2D 3 100 % 1.5 k int8 runs runs" in text
    assert "FULLY_CONNECTED 1 0.033 % 500 float32 runs runs" in text
    assert "all 6 100 % 2.0 k int8 and float32" in text
    assert "raspberry-pi-zero-2w litert runs" in text
    assert "How it is known: .tflite: ai-edge-litert 2.3.0 without optimizations," in text


@pytest.mark.parametrize(("runs", "word"), [(False, "differs"), (None, "not known")])
def test_a_profile_that_was_not_seen_to_run_it_is_said_so(runs: bool | None, word: str) -> None:
    support = SupportFacts(profile="raspberry-pi-32-bit", runtime="tflite-runtime", runs=runs)
    text = text_of(render_package(with_artifact(supports=(support,))))
    assert f"raspberry-pi-32-bit tflite-runtime {word}" in text


def test_the_graph_has_a_box_for_each_operator_an_input_and_an_output() -> None:
    found = section(full_page(), "graph")
    for each in RESIDUAL:
        assert f">{numbered(each)}<" in found
    assert found.count(">input<") == found.count(">output<") == 1
    assert ">int8 weights (3)<" in found
    assert ">float32 weights, 40 B<" in found


def test_operators_that_only_unpack_constants_are_left_out_of_the_graph_and_said() -> None:
    unpacking = operation(7, "DEQUANTIZE", constant_bytes=520)
    assert connected((*RESIDUAL, unpacking)) == list(RESIDUAL)
    assert connected((unpacking,)) == [unpacking]
    page = render_package(with_artifact(operations=(*RESIDUAL, unpacking)))
    assert "Not drawn: 1 operator that only unpack constants." in page
    assert ">7 DEQUANTIZE<" not in section(page, "graph")
    assert "Weights and other constants take 2.0 KiB" in page, "counted where they are used"


def test_of_very_many_operators_the_first_and_the_last_are_drawn() -> None:
    chain = tuple(weighted(i, "CONV_2D", i - 1) for i in range(1, 1001))
    first, last = parts_of(chain)
    assert [first[0].number, first[-1].number, last[0].number, last[-1].number] == [
        *(1, 60, 941, 1000)
    ]
    drawing = Canvas().draw(lambda: draw_graph(chain), "graph")
    assert drawing.count("CONV_2D<") == MAX_DRAWN
    assert "880 operators between these" in drawing.replace("\u202f", "")
    assert ">to 61<" in drawing and ">from 940<" in drawing


def test_origin_names_digests_lineage_tools_and_what_stayed_in_floats() -> None:
    text = text_of(section(full_page(), "origin"))
    for said in (
        "signature trusted: by a targets key of root version 1",
        "ranges of 11 activations, in the build record",
        "left in floats conv_1: some runtime misreads them",
        "tools ai-edge-quantizer 0.10.0",
        "data digits.npz",
        "note an operator stays in floats",
    ):
        assert said in text, said


def test_an_old_package_has_a_page_that_says_what_is_not_known() -> None:
    page = render_package(old_package())
    text = text_of(page)
    assert Page(page).tags.count("svg") == 0
    assert re.findall(r'<section id="(\w+)">', page) == [
        *("summary", "quantization", "errors", "memory", "operators", "graph", "origin")
    ]
    for said in (
        "Whose signature it bears was not checked: there is no root of trust here.",
        "This package carries no build record.",
        "golden waived because: no labels yet",
        "quality - not known",
        "So nothing is known of its accuracy.",
        "Without a build record it is not known what is in the file.",
        "raspberry-pi-5 onnxruntime not known",
        "made not known",
    ):
        assert said in text, said


def test_a_package_that_nobody_trusts_is_not_to_be_believed() -> None:
    facts = dataclasses.replace(full_package(), signature="not trusted", found="signed by no key")
    page = render_package(facts)
    assert '<p class="bad">Do not believe this page' in page
    assert "signature not trusted" in text_of(page)


def test_a_file_that_was_given_so_is_compared_with_nothing() -> None:
    facts = with_artifact(recipe="as-is", trials=(), sensitivity=())
    (variant,) = facts.variants
    assert variant.evidence is not None
    given = dataclasses.replace(variant.evidence, recipe="as-is")
    facts = dataclasses.replace(
        facts, errors=(), variants=(dataclasses.replace(variant, evidence=given),)
    )
    page = render_package(facts)
    assert 'id="search"' not in page and 'id="sensitivity"' not in page
    summary = text_of(section(page, "summary"))
    assert "litert, as it was given" in summary
    assert "smaller" not in summary and "SQNR" not in summary
    assert "It was not measured" in text_of(section(page, "errors"))


def test_equal_facts_give_an_equal_page_without_a_clock() -> None:
    assert render_package(full_package()) == full_page()


def test_nothing_in_the_page_is_fetched_from_elsewhere_or_run() -> None:
    parsed = Page(full_page())
    assert "http" not in full_page()
    assert set(parsed.tags).isdisjoint({"script", "link", "img", "iframe", "object", "image"})
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert parsed.references <= set(parsed.ids)


def test_names_from_outside_remain_text() -> None:
    facts = hostile(full_package())
    runtime = dataclasses.replace(facts.artifacts[0], runtimes=(HOSTILE,))
    page = render_package(dataclasses.replace(facts, artifacts=(runtime,)))
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert all(not name.startswith("on") for name, _ in parsed.attributes)
    assert html.escape("<script>alert(1)</script>") in page
    assert parsed.tags.count("style") == 1
    assert parsed.tags.count("svg") == 6
    page.encode("utf-8")
    assert not {"\u202e", "\x1b", "\ud800"} & set(page)


def test_the_largest_package_that_can_be_read_has_a_page_below_two_megabytes() -> None:
    chance = random.Random(1)
    long = (HOSTILE * 300)[:8192]
    operations = tuple(
        operation(
            i,
            f"T{i % 3000}{HOSTILE}",
            *sorted({chance.randrange(max(0, i - 50), i) for _ in range(4)}),
            name=long if i < 300 else HOSTILE,
            weights=chance.randrange(9),
            weight_dtype=f"d{i % 40}{HOSTILE}",
            live_bytes=chance.randrange(2**53),
        )
        for i in range(1, 20_001)
    )
    facts = with_artifact(
        operations=operations,
        excluded=(long,) * 512,
        notes=(long[:1000],) * 64,
        stopped=long[:1000],
        trials=tuple(
            dataclasses.replace(each, recipe=HOSTILE, why_not=long[:1000])
            for each in full_package().artifacts[0].trials * 100
        ),
        sensitivity=tuple(
            SensitivityFacts(name=long, error=10.0 ** chance.uniform(-9, 6), number=i, type=long)
            for i in range(1, 513)
        ),
    )
    verdict = VerdictFacts(holds=False, found=long[:2000])
    facts = dataclasses.replace(
        facts,
        labels=(long[:512],) * 4096,
        lineage=tuple((f"{i}{HOSTILE}", long[:512]) for i in range(2000)),
        gates=(GateFacts(name=long[:512], verdicts=(verdict,) * 256, waived=long[:512]),),
        variants=facts.variants * 64,
        artifacts=facts.artifacts * 16,
        errors=facts.errors * 16,
        found=long,
    )
    page = render_package(facts)
    assert len(page.encode()) < 2_000_000
    assert "script" not in Page(page).tags
    assert "19\u202f880 operators" in page


ERRORS = full_package().errors[0]
ENDS = {
    "nothing is alive": with_artifact(operations=(operation(1, "X", live_bytes=0),)),
    "one candidate": with_artifact(trials=(trial("a", 10, 200.0, chosen=True, on_front=True),)),
    "no candidate could be made": with_artifact(trials=(trial("a", None, 0.0, why_not="x"),)),
    "no error": with_artifact(sensitivity=(SensitivityFacts(name="", error=0.0),)),
    "edges that go backward": with_artifact(
        operations=(operation(1, "X", 2), operation(2, "Y", 1, 2), operation(3, "Z", 9))
    ),
    "all rows the same": dataclasses.replace(
        full_package(),
        errors=(
            dataclasses.replace(ERRORS, counts=(0,) * 32, same=900, median=0.0, p95=0.0, worst=0.0),
        ),
    ),
    "rows beyond both ends": dataclasses.replace(
        full_package(),
        errors=(
            dataclasses.replace(
                ERRORS, counts=(5, *(0,) * 30, 7), median=1e-9, p95=1e15, worst=1e15
            ),
        ),
    ),
    "nothing but a name": dataclasses.replace(
        full_package(), variants=(), artifacts=(), errors=(), gates=()
    ),
}


@pytest.mark.parametrize("facts", ENDS.values(), ids=ENDS)
def test_facts_at_the_end_of_what_can_be_have_a_page_without_a_warning(facts: PackageFacts) -> None:
    page = render_package(facts)
    assert Page(page).tags.count("section") >= 7
    assert "nan" not in page


def test_facts_of_a_package_are_json_with_the_names_of_their_fields() -> None:
    document = json.loads(json.dumps(to_document(full_package()), allow_nan=False))
    assert document["schema_version"] == 1
    assert document["artifacts"][0]["trials"][1] == {
        "recipe": "tflite-int8",
        "size_bytes": 28_120,
        "sqnr_db": 26.7,
        "agreement": 0.98,
        "latency_ms": None,
        "why_not": "",
        "on_front": True,
        "chosen": True,
    }
    assert document["artifacts"][0]["operations"][3]["takes"] == [1, 3]
    assert document["errors"][0]["worst"] == 0.27
    with pytest.raises(InvalidInput):
        facts_from_document(document)


def test_short_names_keep_the_layer_that_most_of_a_fused_name_is_about() -> None:
    assert short_name(FUSED) == "conv_1"
    assert short_name("net/block1/conv/Conv2D;net/block1/conv/BiasAdd") == "block1/conv"
    assert short_name("/layer1/conv/Conv_output_0") == "conv/Conv_output_0"
    assert short_name("StatefulPartitionedCall:0", 24) == "StatefulPart\u2026ionedCall:0"
    assert short_name("a;b") == "b"
    assert short_name("") == ""
    assert spelled_out("a/b;a/b;c", 40) == "a/b; c"


def test_numbers_are_worded_in_the_unit_that_fits() -> None:
    assert [amount(each) for each in (0, 999, 2_656_768, 12.5e9)] == ["0", "999", "2.7 M", "12.5 G"]
    assert [fine_percent(each) for each in (0.0, 0.271, 0.0446, 0.00021, 12.0)] == [
        *("0\u202f%", "27\u202f%", "4.5\u202f%", "0.021\u202f%", "1200\u202f%")
    ]
