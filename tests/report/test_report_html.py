"""The page: one whole file that loads nothing, says what the finding says, and cannot be broken by odd names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import drawn
import pytest
import sample
from simulated import simulate, timeline

from breakdown.analysis import wording as fmt
from breakdown.analysis.findings import Cost, ExperimentFinding, Timeline
from breakdown.analysis.overview import condensed, pieces
from breakdown.model.stages import STAGES, Stage
from breakdown.report import html, webtimeline

VOID = {"meta", "br", "link", "img", "input", "hr"}
EVIL = "<script>alert('x')</script>\"&{{ 7 * 7 }}"


@dataclass
class Page(HTMLParser):
    """Reads a page: checks that tags nest, collects attributes, ids and the text of each section."""

    stack: list[str] = field(default_factory=list)
    tags: Counter[str] = field(default_factory=Counter)
    attributes: list[tuple[str, str, str]] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    section: str = ""
    texts: dict[str, list[str]] = field(default_factory=dict)
    svg_labels: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            self.attributes.append((tag, name, value or ""))
            if name == "id":
                self.ids.append(value or "")
        if tag == "section":
            self.section = dict(attrs)["id"] or ""
        if tag == "svg" and dict(attrs).get("role") == "img":
            self.svg_labels.append(dict(attrs).get("aria-label") or "")
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.stack.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.stack, tag
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack and self.stack[-1] not in ("style", "script"):
            self.texts.setdefault(self.section, []).append(data)

    def text(self, section: str) -> str:
        return " ".join(" ".join(self.texts[section]).split())


def read(text: str) -> Page:
    page = Page()
    page.feed(text)
    page.close()
    assert page.stack == [], "every tag is closed"
    return page


@pytest.fixture(scope="module")
def pages() -> list[Timeline]:
    return [timeline(simulate(1), "torch_ps 1s1w bsp"), timeline(simulate(), "torch_ps 1s2w bsp")]


@pytest.fixture(scope="module")
def text(pages: list[Timeline]) -> str:
    return drawn.page(sample.experiment(), pages)


def test_one_file_is_written(tmp_path: Path) -> None:
    path = html.write(sample.bare(), [], drawn.svgs(sample.bare()), tmp_path / "report.html")
    assert path.read_text(encoding="utf-8") == drawn.page(sample.bare(), [])


@pytest.mark.parametrize("found", [sample.experiment(), sample.bare()], ids=["usual", "bare"])
def test_nothing_comes_from_outside(found: ExperimentFinding, pages: list[Timeline]) -> None:
    text = drawn.page(found, pages)
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    page = read(text)
    assert not page.tags["link"] + page.tags["img"] + page.tags["iframe"] + page.tags["object"] + page.tags["image"]
    for tag, name, value in page.attributes:
        assert name != "src", tag
        if name in ("href", "xlink:href"):
            assert value.startswith("#"), (tag, value)
        assert not name.startswith("on"), (tag, name)
    policy = next(v for t, n, v in page.attributes if t == "meta" and n == "content" and "default-src" in v)
    assert policy.startswith("default-src 'none';")


def test_ids_are_unique_and_links_lead_somewhere(text: str) -> None:
    page = read(text)
    assert [name for name, count in Counter(page.ids).items() if count > 1] == []
    known = set(page.ids)
    for _, name, value in page.attributes:
        if name in ("href", "xlink:href"):
            assert value[1:] in known, value
        if name in ("clip-path", "marker-end", "fill") and value.startswith("url("):
            assert value[5:-1] in known, value


def test_sections_stand_in_order_with_the_verdict_first(text: str) -> None:
    page = read(text)
    sections = [
        "verdict",
        "speed",
        "waterfall",
        "stages",
        "timeline",
        "keys",
        "servers",
        "configuration",
        "troubles",
        "reading",
    ]
    assert [name for name in page.ids if name in sections] == sections
    verdict = sample.experiment().verdict
    assert page.text("verdict").startswith(f"Verdict {verdict.sentence} {' '.join(verdict.evidence)}")


def test_numbers_agree_with_the_finding(text: str) -> None:
    page = read(text)
    speed, stages = page.text("speed"), page.text("stages")
    for cell in sample.experiment().cells:
        step = f"{fmt.ms(cell.step_ns)} {fmt.interval(cell.step_interval_ns, fmt.ms)}"
        rate = f"{fmt.rate(cell.samples_per_s)} {fmt.interval(cell.samples_per_s_interval, fmt.rate)}"
        speedup = f"{fmt.ratio(cell.speedup)} {fmt.interval(cell.speedup_interval, fmt.ratio_bound)}"
        row = f"{cell.label} {rate} {speedup} {fmt.percent(cell.efficiency)} {fmt.ratio(cell.speedup_whole)} {step}"
        assert row in speed
        shares = " ".join(f"{fmt.ms(s.exposed_ns)} {fmt.percent(s.share)}" for s in cell.stages)
        assert f"{cell.label} {fmt.ms(cell.step_ns)} {shares}" in stages
        for found in cell.stages:
            ops = ", ".join(f"{op} {fmt.ms(ns)}" for op, ns in found.by_op_ns.items())
            stalled = f"{fmt.ms(found.contention_ns)} {fmt.ms(found.blocked_ns)}"
            around = f"{fmt.ms(found.exposed_ns)} {fmt.interval(found.exposed_interval_ns, fmt.ms)}"
            assert f"{found.stage.label} {around} {fmt.ms(found.hidden_ns)} {stalled} {ops}" in stages
    assert "the other worker meanwhile: compute 4.18, push 1.05" in stages
    assert "torch_ps 1 server, bsp: none up to 2 workers" in speed
    waterfalls = page.text("waterfall")
    for fall in sample.experiment().waterfalls:
        assert f"{fall.baseline_label} → {fall.label}: {fmt.signed_ms(fall.gap_ns)} ms" in waterfalls
        for bar in fall.bars:
            assert fmt.signed_ms(bar.delta_ns) in waterfalls


def test_configuration_machine_versions_and_troubles_are_told(text: str) -> None:
    page = read(text)
    told = page.text("configuration")
    assert "configuration backend workers servers cores per worker" in told, "the fields that differ, as columns"
    assert "batch size 64" in told
    assert "memory bytes 25,769,803,776" in told
    assert "torch 2.13.0" in told
    troubles = page.text("troubles")
    assert sample.experiment().failures[0] in troubles
    assert f"torch_ps 1s2w bsp: {sample.TWO.warnings[0]}" in troubles
    assert f"torch_ps 1s2w bsp: {sample.TWO.notes[0]}" in troubles
    assert "1 failure and 1 warning" in page.text("verdict")
    assert sample.experiment().verdict.others[0] in page.text("verdict")


def test_a_queue_says_behind_what_it_stood(text: str) -> None:
    update, summing = sample.TWO.stages[Stage.AGGREGATE].queued
    said = f"update of fc1.weight at server-0 {fmt.ms(update.ns)}, sum of fc2.weight at server-0 {fmt.ms(summing.ns)}"
    assert f"queue behind: {said}" in read(text).text("stages")


def test_every_stage_is_explained(text: str) -> None:
    told = read(text).text("reading")
    for stage in STAGES:
        assert stage.label in told
    assert "so the stages add up to the step without a remainder" in told


def test_figures_say_in_words_what_they_show(text: str) -> None:
    page = read(text)
    assert all(page.svg_labels)
    assert any("aggregate +14.30" in label for label in page.svg_labels)
    assert any("server 0: 21.0 MB in" in label for label in page.svg_labels)


def test_a_bare_finding_says_what_is_missing() -> None:
    page = read(drawn.page(sample.bare(), []))
    assert "no single node" in page.text("waterfall")
    assert "No timeline" in page.text("timeline")
    assert "No key" in page.text("keys")
    assert "no servers" in page.text("servers")
    assert page.text("troubles") == "Warnings and failures None."
    assert "2,019 [–] – – –" in page.text("speed")


def evil(finding: ExperimentFinding) -> ExperimentFinding:
    cell = replace(
        sample.TWO,
        label=EVIL,
        keys=tuple(replace(key, key=EVIL) for key in sample.TWO.keys),
        warnings=(EVIL,),
        config={EVIL: EVIL},
    )
    return replace(
        finding,
        name=EVIL,
        description=EVIL,
        machine={EVIL: EVIL},
        versions={EVIL: EVIL},
        cells=(cell,),
        waterfalls=(sample.waterfall(cell, cell),),
        cost={EVIL: Cost(2, 4)},
        verdict=replace(finding.verdict, sentence=EVIL, evidence=(EVIL,)),
        failures=(EVIL,),
    )


def test_names_cannot_break_the_page(pages: list[Timeline]) -> None:
    line = pages[1]
    spans = tuple(replace(span, key=EVIL) for span in line.spans)
    odd = replace(line, label=EVIL, spans=spans, lanes=tuple(f"{lane}<b>" for lane in line.lanes))
    text = drawn.page(evil(sample.experiment()), [odd])
    page = read(text)
    assert page.tags["script"] == 1, "only the page's own script"
    assert "<script>alert" not in text
    assert page.tags["b"] == read(drawn.page(replace(evil(sample.experiment()), name="x"), [])).tags["b"]
    for section in ("verdict", "speed", "waterfall", "stages", "timeline", "keys", "servers", "configuration", "troubles"):
        assert EVIL in page.text(section), section


def test_colours_of_the_page_follow_light_and_dark(text: str) -> None:
    assert "@media (prefers-color-scheme: dark)" in text
    assert "@media print" in text
    figures = text[text.index("<main>") : text.index("</main>")]
    for fixed in ("#1f2328", "#57606a", "#d8dee4", "#fefefe"):
        assert fixed not in figures, "text and paper of figures are the page's"


def test_the_timeline_has_a_box_for_each_span_and_an_arrow_for_each_message(text: str, pages: list[Timeline]) -> None:
    page = read(text)
    boxes = Counter(value for tag, name, value in page.attributes if tag == "rect" and name == "class")
    spans = sum(len(line.spans) + len(line.critical) for line in pages)
    drawn = sum(count for look, count in boxes.items() if look.split()[-1] in ("work", "asleep", "request", "edge"))
    assert drawn == spans
    arrows = [value for tag, name, value in page.attributes if tag == "line" and name == "marker-end"]
    assert len(arrows) == sum(len(line.messages) for line in pages)
    told = page.text("timeline")
    block = next(span for span in pages[1].spans if span.op == "block")
    assert f"wait · block · {block.key} · step {block.step} · {fmt.duration(block.end_ns - block.start_ns)}" in told


def test_the_first_steps_critical_path_is_a_table_too(text: str, pages: list[Timeline]) -> None:
    told = read(text).text("timeline")
    for segment in pages[1].critical:
        if segment.step == 0:
            length = fmt.duration(segment.end_ns - segment.start_ns)
            words = (fmt.ms(segment.start_ns), length, segment.stage.label, segment.op, segment.key, str(segment.place))
            assert " ".join(word for word in words if word) in told


@pytest.mark.parametrize("end_ns", [0, 1, 999, 26_491_584, 7_000_000_000])
def test_the_axis_has_round_ticks_within_the_plot(end_ns: int) -> None:
    line = webtimeline.lay_out(Timeline("x", ("worker-0 main",), (), (), (), (), end_ns))
    assert len(line.ticks) <= 11
    assert line.ticks[0].text.strip("0.") == ""
    assert all(0 <= tick.x <= webtimeline.PLOT * 1.0001 for tick in line.ticks)
    if end_ns > 1:
        assert len(line.ticks) >= 4


def test_boxes_lie_in_proportion(pages: list[Timeline]) -> None:
    line = webtimeline.lay_out(pages[1])
    scale = webtimeline.PLOT / pages[1].end_ns
    for box, span in zip(line.boxes, pages[1].spans, strict=True):
        assert box.x == pytest.approx(span.start_ns * scale)
        assert box.width == pytest.approx((span.end_ns - span.start_ns) * scale)
    assert sum(box.width for box in line.strip) == pytest.approx(webtimeline.PLOT), "two whole steps tile the page"


def test_the_same_finding_gives_the_same_page(text: str, pages: list[Timeline]) -> None:
    assert drawn.page(sample.experiment(), pages) == text


def test_a_timeline_of_very_many_pieces_makes_a_page_of_bounded_size_that_says_so(pages: list[Timeline]) -> None:
    times = 40
    found = pages[1]

    def later(timed: Sequence[Any], *ends: str) -> tuple[Any, ...]:
        return tuple(
            replace(one, **{end: getattr(one, end) + turn * found.end_ns for end in ends})
            for turn in range(times)
            for one in timed
        )

    full = replace(
        found,
        spans=later(found.spans, "start_ns", "end_ns"),
        messages=later(found.messages, "send_start_ns", "recv_end_ns"),
        critical=later(found.critical, "start_ns", "end_ns"),
        end_ns=times * found.end_ns,
    )
    plain, less = (drawn.page(sample.bare(), [page]) for page in (found, condensed(full, pieces(found))))
    assert len(less) < 1.5 * len(plain)
    assert "is drawn together with its neighbours" in read(less).text("timeline")
    assert " pieces, the longest " in less
    assert "is drawn together with its neighbours" not in plain
