"""What is shown of sampling: the flame graph, the table beside it, the sentence."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser

import drawn
import pytest
import sample

from breakdown.analysis.sampling.findings import RoleSamples, Share, StackTime, ThreadSamples
from breakdown.analysis.sampling.flame import flame
from breakdown.model.identity import Node, Role
from breakdown.model.stages import Op, Stage
from breakdown.report import flames, plots
from breakdown.report.agreement import agreement
from breakdown.report.figures.flame import flame_graph

MS = 1_000_000
EVIL = "<script>alert('x')</script>"
SUMS = f"run (a.so);ps::Sum<float, std::less<int> >::operator()(int) (b.so);{EVIL} (c)"
STACKS = (
    StackTime("engine", Stage.AGGREGATE, Op.SUM, SUMS, 600 * MS),
    StackTime("engine", Stage.AGGREGATE, Op.UPDATE, "run (a.so);sgd (b.so)", 399 * MS),
    StackTime("engine", Stage.OTHER, "", "run (a.so);seldom (b.so)", 1 * MS),
    StackTime("engine", None, "", "run (a.so);wait (b.so)", 1000 * MS),
)  # fmt: skip
SHARES = (
    Share(None, "", 0.5, 0.48),
    Share(Stage.AGGREGATE, Op.SUM, 0.3, 0.35),
    Share(Stage.AGGREGATE, Op.UPDATE, 0.2, 0.17),
)
ENGINE = ThreadSamples("engine", 2000 * MS, SHARES)
FLUSHER = ThreadSamples("flusher", 2000 * MS, (Share(None, "", 1.0, None),))
SERVER = RoleSamples(Node(Role.SERVER, 0), 50, (ENGINE, FLUSHER), STACKS, flame(STACKS))
IDLE = RoleSamples(Node(Role.SCHEDULER, 0), 50, (FLUSHER,), STACKS[3:], flame(STACKS[3:]))


@pytest.fixture
def page() -> str:
    finding = sample.experiment()
    cell = replace(finding.cells[-1], samples=(IDLE, SERVER))
    return drawn.page(replace(finding, cells=(*finding.cells[:-1], cell)), [])


def test_boxes_are_as_wide_as_their_time_and_what_cannot_be_seen_is_left_out() -> None:
    graph = flames.lay_out(SERVER)
    assert [(round(box.x), round(box.width), box.y, box.stage) for box in graph.boxes] == [
        (0, 1000, 0.0, None),
        (0, 1000, flames.ROW, None),
        (0, 600, 2 * flames.ROW, Stage.AGGREGATE),
        (0, 600, 3 * flames.ROW, Stage.AGGREGATE),
        (600, 399, 2 * flames.ROW, Stage.AGGREGATE),
    ]
    assert graph.height == 4 * flames.ROW
    assert graph.boxes[4].words == "sgd (b.so) · aggregate · 399.0 ms, 39.9 % of the time awake"


@pytest.mark.parametrize(
    ("frame", "name"),
    [
        ("mxnet::op::Kernel<float, mshadow::cpu>::Launch<int> (libmxnet.so)", "Kernel::Launch"),
        ("breakdown::(anonymous namespace)::receive (x.so)", "breakdown::receive"),
        ("Client._send (breakdown/ps/worker.py)", "Client._send"),
        ("<module> (role.py)", "<module>"),
    ],
)
def test_names_are_short(frame: str, name: str) -> None:
    assert flames.short_name(frame) == name


def test_the_sentence_names_the_biggest_difference() -> None:
    cell = replace(sample.experiment().cells[-1], samples=(IDLE, SERVER))
    assert agreement(cell) == "server-0 within 5.0 points (engine, aggregate/sum)"
    assert agreement(replace(cell, samples=(IDLE,))) == "no thread could be compared"


def test_the_page_shows_graph_and_table(page: str) -> None:
    section = page[page.index('<section id="second-sight"') : page.index('<section id="configuration"')]
    texts: list[str] = []
    reader = HTMLParser()
    reader.handle_data = texts.append  # type: ignore[method-assign]
    reader.feed(section)
    text = " ".join(" ".join(texts).split())
    assert "engine asleep 50.0 % 48.0 % +2.0 aggregate/sum 30.0 % 35.0 % −5.0" in text
    assert "flusher asleep 100.0 % – –" in text
    assert "Every thread slept whenever it was looked at." in text
    assert section.count('<svg class="flame"') == 1
    assert EVIL not in page


def test_without_samples_there_is_no_section() -> None:
    assert "second-sight" not in drawn.page(sample.experiment(), [])


@pytest.mark.parametrize(("role", "says"), [(SERVER, "sgd"), (IDLE, "every thread slept whenever it was looked at")])
def test_the_figure_draws_it(role: RoleSamples, says: str) -> None:
    drawn = plots.svg(flame_graph("trial", role))
    assert says in drawn
    assert plots.svg(flame_graph("trial", role)) == drawn
