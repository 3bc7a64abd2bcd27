"""A report tells one model's life on one page that needs nothing else, whatever names say."""

from __future__ import annotations

import dataclasses
import functools
import html
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from device_agent.protocol.evidence import Evidence
from edgeops.reports import render
from edgeops.reports.chapters.desk import laid_out
from edgeops.reports.chapters.summary import summary
from edgeops.reports.document import Paragraph, Story
from edgeops.reports.errors import ReportToolsMissing
from edgeops.reports.facts import (
    AccuracySeries,
    AlarmFacts,
    ContestFacts,
    MemberFacts,
    ReportFacts,
    RetrainFacts,
    RolloutFacts,
    Series,
    VariantFacts,
    VersionFacts,
)
from edgeops.reports.figures.canvas import thinned
from edgeops.reports.figures.svg import inlined
from edgeops.reports.moments import Moments, duration, moments_of
from edgeops.reports.page import CHAPTERS
from edgeops.reports.wording import counted, drawn, listed, percent, points, size
from tests.report_facts import START_S, evidence, full_facts
from tests.report_pages import HOSTILE, Page, hostile, text_of

EMPTY = ReportFacts(title="Nothing", model="kws", generated_s=START_S, hub="0.2.0")


@functools.cache
def full_page() -> str:
    return render(full_facts())


def with_names(facts: ReportFacts, text: str) -> ReportFacts:
    """Return facts whose names are hostile and whose states are not, so that all is drawn."""
    return dataclasses.replace(
        hostile(facts, text),
        rollouts=tuple(
            dataclasses.replace(
                hostile(each, text),
                state=each.state,
                members=tuple(
                    dataclasses.replace(
                        hostile(m, text), state=m.state, device=f"{text}{i}", steps=m.steps
                    )
                    for i, m in enumerate(each.members)
                ),
            )
            for each in facts.rollouts
        ),
        alarms=tuple(
            dataclasses.replace(hostile(each, text), kind=each.kind) for each in facts.alarms
        ),
    )


def test_a_full_life_is_told_in_eight_chapters_that_the_contents_lead_to() -> None:
    page = full_page()
    parsed = Page(page)
    assert page.startswith("<!DOCTYPE html>")
    assert parsed.tags.count("section") == len(CHAPTERS) == 8
    assert parsed.tags.count("svg") == 3 + 3 + 1 + 1 + 1
    assert "Nothing yet" not in page
    links = re.findall(r'<li><a href="#(\w+)">', page)
    assert links == re.findall(r'<section id="(\w+)">', page)


def test_a_reader_finds_what_happened_in_words() -> None:
    text = text_of(full_page())
    for said in (
        "Version 1 was published by ana.",
        "Rollout r2 of version 2 to 6 devices: rolled back in 0:23; none of 6 devices kept it;",
        "cam-1 refused it (probation class shift); 5 never saw it.",
        "Alarm a1 (drift): what 2 devices with light=dim see is no longer like what version 1",
        "Alarm a2 (harm): version 1 is wrong more often than was measured before",
        "Retraining t1 from version 1 because of alarm a2: it made version 3.",
        "Outcome: version 3 is in service on 6 of 6 devices.",
        "First event 2026-11-18 11:06:40 UTC.",
        "gate golden_accuracy: to show what happens then",
        "54 entries, each holding the hash of the one before: unbroken.",
    ):
        assert said in text, said


def test_without_data_every_chapter_says_nothing_yet() -> None:
    parsed = Page(render(EMPTY))
    assert parsed.tags.count("svg") == 0
    assert " ".join(parsed.text).count("Nothing yet.") == len(CHAPTERS)


def test_equal_facts_give_an_equal_page_whatever_the_settings_of_matplotlib_are() -> None:
    with mpl.rc_context({"lines.linewidth": 9.0, "svg.fonttype": "path", "text.usetex": True}):
        assert render(full_facts()) == full_page()
        assert mpl.rcParams["lines.linewidth"] == 9.0


def test_pages_that_are_written_at_once_are_as_if_written_alone() -> None:
    facts = dataclasses.replace(full_facts(), versions=(), rollouts=(), drift=())
    with ThreadPoolExecutor(2) as pool:
        assert set(pool.map(render, [facts] * 2)) == {render(facts)}


def test_nothing_in_the_page_is_fetched_from_elsewhere_or_run() -> None:
    page = full_page()
    parsed = Page(page)
    assert "http" not in page
    assert "@import" not in page
    assert set(parsed.tags).isdisjoint({"script", "link", "img", "iframe", "object", "image"})
    assert all(not name.startswith("on") and name != "src" for name, _ in parsed.attributes)
    assert all(each.startswith("url(#") for each in re.findall(r"url\([^)]*", page))
    assert all((value or "").startswith("#") for name, value in parsed.attributes if name == "href")


def test_ids_of_several_drawings_never_clash_and_every_reference_is_met() -> None:
    parsed = Page(full_page())
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert parsed.references <= set(parsed.ids)
    assert len({each.split("-")[0] for each in parsed.references if "-" in each}) >= 4


@pytest.mark.parametrize("make", [hostile, lambda facts: with_names(facts, HOSTILE)])
def test_names_from_outside_remain_text(make: Any) -> None:
    page = render(make(full_facts()))
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert all(not name.startswith("on") for name, _ in parsed.attributes)
    assert html.escape("<script>alert(1)</script>") in page
    assert parsed.tags.count("style") == 1
    page.encode("utf-8")
    assert not {"\u202e", "\x1b", "\ud800"} & set(page)


def test_a_link_in_a_lineage_is_shown_and_not_made_one() -> None:
    facts = dataclasses.replace(
        EMPTY,
        versions=(
            VersionFacts(
                number=1,
                digest="sha256:0",
                created_s=START_S,
                created_by="ana",
                lineage=(("data", "http://example.org/rows.npz"),),
            ),
        ),
    )
    parsed = Page(render(facts))
    assert "http://example.org/rows.npz" in parsed.text
    assert all((value or "").startswith("#") for name, value in parsed.attributes if name == "href")


def test_fifty_devices_fit_into_two_megabytes() -> None:
    assert len(render(full_facts(50)).encode()) < 2_000_000


def test_a_rollout_under_way_is_drawn_up_to_now() -> None:
    members = (
        MemberFacts(
            device="cam-1",
            cohort="",
            wave=0,
            state="working",
            ordered_s=START_S + 10,
            steps=(("fetch", START_S - 1e6), ("self_test", START_S + 1e6)),
        ),
        MemberFacts(device="cam-2", cohort="", wave=1, state="waiting"),
        MemberFacts(device="cam-3", cohort="", wave=1, state="of a newer hub"),
    )
    rollout = RolloutFacts(
        id="r1", number=1, state="running", why="", created_s=START_S + 9, members=members
    )
    facts = dataclasses.replace(EMPTY, generated_s=START_S + 70, rollouts=(rollout,))
    text = text_of(render(facts))
    assert "Outcome: rollout r1 of version 1 is running." in text
    for state in ("working", "waiting", "of a newer hub"):
        assert state in text


def test_of_very_many_devices_those_that_failed_are_drawn() -> None:
    fine = [
        MemberFacts(device=f"cam-{i}", cohort="", wave=0, state="committed", ordered_s=START_S,
                    ended_s=START_S + 9)
        for i in range(300)
    ]  # fmt: skip
    bad = dataclasses.replace(fine[-1], device="broken", state="failed", reason="disk_full", wave=2)
    rollout = RolloutFacts(
        id="r1", number=1, state="paused", why="", created_s=START_S, members=(*fine, bad)
    )
    page = render(dataclasses.replace(EMPTY, rollouts=(rollout,), generated_s=START_S + 20))
    drawing = page[page.index("<svg") : page.index("</svg>")]
    assert ">broken<" in drawing
    assert drawing.count(">committed<") < 300
    assert "181 of them are not drawn" in page


def test_a_device_with_a_wrong_clock_does_not_stretch_the_axis() -> None:
    series = Series(
        device="cam-1",
        cohort="",
        number=1,
        points=((0.0, 0.1), (START_S + 10, 0.2), (START_S + 20, float("inf")), (9e14, 0.1)),
    )
    alarm = AlarmFacts(
        id="a1", kind="drift", number=1, since_s=START_S, opened_s=START_S, devices=("cam-1",)
    )
    facts = dataclasses.replace(
        EMPTY, generated_s=START_S + 30, drift=(series,), alarms=(alarm,) * 3
    )
    text = text_of(render(facts))
    assert "2 points with a wrong clock left out" in text
    assert "0:20" in text


def test_a_single_point_and_cohorts_without_labels_are_drawn_too() -> None:
    facts = dataclasses.replace(
        EMPTY,
        accuracy=(
            AccuracySeries(cohort="site=oslo", points=((START_S, 3, 4), (START_S, 0, 0))),
            AccuracySeries(cohort="site=bergen"),
        ),
        estimated=(AccuracySeries(cohort="site=oslo", points=((START_S, 9500, 10_000),)),),
        drift=(Series(device="cam-1", cohort="site=oslo", number=1, points=((START_S, 1e-6),)),),
    )
    text = text_of(render(facts))
    assert "blind to concept drift" in text
    assert "site=bergen" in text


def test_no_estimate_no_word_of_it() -> None:
    facts = dataclasses.replace(
        EMPTY, accuracy=(AccuracySeries(cohort="", points=((START_S, 3, 4),)),)
    )
    assert "blind" not in render(facts)


@pytest.mark.parametrize("classes", [2, 12, 32])
def test_a_confusion_of_any_size_is_two_drawn_matrices(classes: int) -> None:
    variant = VariantFacts(
        runtime="litert",
        profiles=("raspberry-pi-5",),
        size_bytes=9,
        golden_accuracy=None,
        evidence=evidence(5, 0.1, classes=classes),
    )
    version = VersionFacts(
        number=1,
        digest="sha256:0",
        created_s=START_S,
        created_by="ana",
        labels=("of a very long name indeed",),
        variants=(variant,),
    )
    page = render(dataclasses.replace(EMPTY, versions=(version,)))
    assert Page(page).tags.count("svg") == 1
    assert "not held" in page
    assert len(page) < 120_000


def test_likeness_and_slices_are_told_beside_the_classes() -> None:
    page = render(full_facts())
    assert "likeness of the scores (SQNR)" in page
    assert "26.7 dB" in page
    assert "light=night" in page


def test_of_very_many_classes_those_that_lost_most_are_listed() -> None:
    known: Evidence = evidence(5, 0.0, classes=30)
    lost = dataclasses.replace(known.classes[0], rows=90, float_correct=90, correct=9)
    many = dataclasses.replace(
        known, classes=(*known.classes, *known.classes, lost), float_confusion=(), confusion=()
    )
    variant = VariantFacts(
        runtime="litert", profiles=(), size_bytes=9, golden_accuracy=0.9, evidence=many
    )
    version = VersionFacts(
        number=1, digest="sha256:0", created_s=START_S, created_by="ana", variants=(variant,)
    )
    page = render(dataclasses.replace(EMPTY, versions=(version,)))
    text = text_of(page)
    assert "29 classes that lost less left out." in text
    assert "\u221290.0" in text
    assert Page(page).tags.count("svg") == 0


def test_a_challenger_that_is_not_better_is_said_so() -> None:
    retraining = RetrainFacts(
        id="t1", state="refused", alarm="", parent=1, child=None, why="no better", ended_s=START_S,
        started_s=START_S - 60,
        contests=(
            ContestFacts(
                rows_name="held out", rows=400, champion=0.95, challenger=0.9, gain_low=-0.08,
                gain_high=-0.02,
            ),
        ),
    )  # fmt: skip
    text = text_of(render(dataclasses.replace(EMPTY, retrainings=(retraining,))))
    assert "asked by a person" in text
    assert "Verdict: refused (no better)." in text
    assert "\u22125.0 (\u22128.0 to \u22122.0)" in text


def test_a_broken_audit_is_said_so() -> None:
    assert "the chain is broken" in render(dataclasses.replace(EMPTY, audit=(9, False)))


def test_the_outcome_names_what_is_still_open() -> None:
    alarm = dataclasses.replace(full_facts().alarms[1], closed_s=None)
    section = summary(laid_out(dataclasses.replace(full_facts(), alarms=(alarm,))))
    outcome = next(each for each in section.blocks if isinstance(each, Paragraph))
    assert outcome.text.endswith("Still open: 1 alarm (a2).")


def test_the_story_is_in_order_and_bounded() -> None:
    versions = tuple(
        VersionFacts(number=i, digest="", created_s=START_S + 60 * i, created_by="ana")
        for i in range(1, 200)
    )
    section = summary(laid_out(dataclasses.replace(EMPTY, versions=versions[::-1])))
    story = next(each for each in section.blocks if isinstance(each, Story))
    assert len(story.events) == 60
    assert story.events[-1][:2] == ("3:18:00", "Version 199 was published by ana.")


@pytest.mark.parametrize("tool", ["jinja2", "matplotlib"])
def test_without_its_tools_the_report_says_what_to_install(
    tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, tool, None)
    with pytest.raises(ReportToolsMissing, match=tool) as caught:
        render(EMPTY)
    assert caught.value.next_step == "pip install 'edgeops[reports]'"


def test_times_are_minutes_and_seconds_until_it_takes_more() -> None:
    assert [duration(each) for each in (0, 59.6, 3599, 3600, 90061)] == [
        "0:00",
        "1:00",
        "59:59",
        "1:00:00",
        "1 d 1:01:01",
    ]
    moments = Moments(first_s=START_S, last_s=START_S + 100)
    assert moments.since_first(START_S - 5) == "\u22120:05"


@pytest.mark.parametrize("span_s", [1e-3, 7, 95, 3_000, 86_400, 4e7, 4e9])
def test_an_axis_of_any_length_has_few_round_ticks(span_s: float) -> None:
    moments = Moments(first_s=START_S, last_s=START_S + span_s)
    ticks = moments.ticks(START_S + 0.4 * span_s, START_S + span_s, at_most=8)
    assert len(ticks) <= 9
    assert all((tick - START_S) % 1 == 0 for tick in ticks)


def test_the_first_event_is_by_the_hubs_clock_if_it_has_said_anything() -> None:
    series = Series(device="cam-1", cohort="", number=1, points=((5.0, 0.1),))
    assert moments_of(dataclasses.replace(EMPTY, drift=(series,))).first_s == 5.0
    assert moments_of(dataclasses.replace(full_facts(), drift=(series,))).first_s == START_S


def test_thinning_keeps_the_highest_of_each_stretch() -> None:
    values = np.random.default_rng(1).lognormal(size=5_000)
    points_ = list(enumerate(values.tolist()))
    kept = thinned([(float(at), value) for at, value in points_], 100)
    assert len(kept) == 100
    assert max(value for _, value in kept) == values.max()
    assert [at for at, _ in kept] == sorted(at for at, _ in kept)


def test_inlining_touches_tags_and_never_text() -> None:
    written = (
        '<?xml version="1.0"?>\n<svg xmlns="x" width="9pt" viewBox="0 0 9 9"><defs><style>*{}'
        '</style></defs><g id="unused"><text>id="a" url(#a) 1.23456</text></g>'
        '<path id="a" d="M 1.23456 2 \nL 3.000000 -0.004"/><use xlink:href="#a"/></svg>'
    )
    assert inlined(written, prefix="f1", title='<"&') == (
        '<svg viewBox="0 0 9 9" role="img" aria-label="&lt;&quot;&amp;">'
        '<g><text>id="a" url(#a) 1.23456</text></g>'
        '<path id="f1-a" d="M 1.23 2 L 3 0"/><use href="#f1-a"/></svg>'
    )


def test_numbers_are_worded_for_people() -> None:
    assert percent(0.9312) == "93.1\u202f%"
    assert [points(each) for each in (0.012, -0.012, 0.0001)] == ["+1.2", "\u22121.2", "0.0"]
    assert [size(each) for each in (0, 1023, 4404, 5 * 1024**4)] == [
        "0 B",
        "1023 B",
        "4.3 KiB",
        "5.0 TiB",
    ]
    assert counted(1, "device") == "1 device"
    assert listed(("a", "b", "c")) == "a, b and c"
    assert listed(tuple("abcdefgh")) == "a, b, c, d, e, f and 2 more"
    assert drawn("a\nb\u202ec" + "x" * 99 + "-cam", 9) == "a\ufffdb\ufffd…-cam"
