"""Figures: every value is on them, nothing overlaps or is cut, the same finding gives the same bytes."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import pytest
import sample
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from simulated import simulate, timeline

from breakdown.analysis import wording as fmt
from breakdown.analysis.findings import CellFinding, Interval, Segment, Timeline, TimelineMessage, TimelineSpan
from breakdown.model.identity import Node, Role
from breakdown.model.stages import STAGES, Op, Stage
from breakdown.report import lanes, plots
from breakdown.report import names as file_names
from breakdown.report.figures import canvas
from breakdown.report.figures.heatmap import MOST_KEYS, heat_map, key_grid
from breakdown.report.figures.rates import rates
from breakdown.report.figures.servers import server_load
from breakdown.report.figures.stages import stages
from breakdown.report.figures.timeline import timeline as draw_timeline
from breakdown.report.figures.waterfall import waterfall

LONG = "torch_ps 12s12w ssp staleness 11 split 2bit zmq protobuf a very long label that goes on and on"
NO_INTERVAL = Interval(None, None)


def texts(figure: Figure) -> list[tuple[str, Bbox]]:
    """All visible texts with their boxes in pixels."""
    with canvas.style():
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
        unseen = {id(label) for axes in figure.axes for label in beyond(axes)}
        found = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and id(t) not in unseen]
        return [(text.get_text(), text.get_window_extent(renderer)) for text in found]


def beyond(axes: Axes) -> list[Text]:
    """Labels of ticks beyond the axis's ends, which matplotlib keeps but does not draw."""
    labels = []
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        for tick in axis.get_major_ticks():
            if not low <= tick.get_loc() <= high:
                labels += [tick.label1, tick.label2]
    return labels


def check_layout(figure: Figure) -> str:
    """No text lies outside the figure or on another one. Returns all texts."""
    found = texts(figure)
    width, height = figure.canvas.get_width_height()
    for text, box in found:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y1 <= height + 1, text
    for (text, a), (other, b) in combinations(found, 2):
        apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 1 or b.y1 <= a.y0 + 1
        assert apart, (text, other)
    return "\n".join(text for text, _ in found)


def extremes(label: str) -> CellFinding:
    """A cell with long names and values of many digits."""
    exposed = (1_234_567, 123_456_789_012, 98_765_432, 87_654_321_000, 76_543_210_999, 65_432_109_876, 54_321_098, 1)
    keys = tuple(f"encoder.layers.{n}.attention.$\\frac{{q}}$_proj.weight[0:1000000]" for n in range(40))
    return replace(sample.cell("x", label, exposed, (123_456.7,), sample.Cell(workers=2), 3, keys), label=label)


def test_waterfall_shows_every_bar_with_its_interval() -> None:
    found = sample.experiment().waterfalls[1]
    shown = check_layout(waterfall(found))
    for bar in found.bars:
        assert fmt.signed_ms(bar.delta_ns) in shown
        assert fmt.interval(bar.interval_ns, fmt.signed_ms) in shown
    assert "31.73" in shown
    assert "73.26" in shown
    assert "41.52 ms longer" in shown


def test_waterfall_bars_lead_from_one_step_to_the_other() -> None:
    found = sample.experiment().waterfalls[1]
    axes = waterfall(found).axes[0]
    boxes = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in axes.patches]  # type: ignore[attr-defined]
    assert len(boxes) == 10
    totals, bars = [boxes[0], boxes[-1]], boxes[1:-1]
    assert [round(end * 1e6) for _, end in totals] == [found.baseline_ns, found.step_ns]
    level = found.baseline_ns
    for (low, high), bar in zip(bars, found.bars, strict=True):
        ends = sorted((level, level + bar.delta_ns))
        assert [round(low * 1e6), round(high * 1e6)] == ends
        level += bar.delta_ns


@pytest.mark.parametrize("interval", [True, False])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (sample.TWO, sample.SINGLE),
        (sample.SINGLE, sample.SINGLE),
        (sample.SINGLE, extremes(LONG)),
        (extremes(LONG), sample.ONE),
    ],
    ids=["faster", "equal", "long", "much faster"],
)
def test_waterfall_of_odd_cases(a: CellFinding, b: CellFinding, interval: bool) -> None:
    found = sample.waterfall(a, b)
    if not interval:
        found = replace(found, bars=tuple(replace(bar, interval_ns=NO_INTERVAL) for bar in found.bars))
    shown = check_layout(waterfall(found))
    assert ("[–]" in shown) is not interval


@pytest.mark.parametrize(
    "cells",
    [
        sample.experiment().cells,
        sample.bare().cells,
        sample.many(12).cells,
        (extremes(LONG), sample.SINGLE),
        (extremes("x" * 60),),
    ],
    ids=["usual", "one", "thirteen", "long", "one long word"],
)
class TestFiguresOverConfigurations:
    def test_stages_label_every_time_and_share(self, cells: tuple[CellFinding, ...]) -> None:
        shown = " ".join(check_layout(stages(cells)).split())
        for cell in cells:
            assert f"{fmt.ms(cell.step_ns)} ms" in shown
            for stage in cell.stages:
                if stage.exposed_ns:
                    value, share = f"{fmt.ms(stage.exposed_ns)} ms", fmt.percent(stage.share)
                    assert f"{stage.stage.label} {value}, {share}" in shown or f"{value} {share}" in shown

    def test_rates_show_median_interval_and_each_repetition(self, cells: tuple[CellFinding, ...]) -> None:
        figure = rates(cells)
        shown = check_layout(figure)
        for cell in cells:
            assert fmt.rate(cell.samples_per_s) in shown
            assert fmt.interval(cell.samples_per_s_interval, fmt.rate) in shown
        drawn = [tuple(line.get_xdata()) for line in figure.axes[0].lines if line.get_marker() == "o"]  # type: ignore[arg-type]
        assert drawn == [cell.samples_per_s_by_run for cell in cells]


def test_stacked_boxes_add_up_to_the_step() -> None:
    axes = stages([sample.TWO]).axes[0]
    boxes = sorted((p.get_x(), p.get_x() + p.get_width()) for p in axes.patches)  # type: ignore[attr-defined]
    assert boxes[0][0] == 0
    assert all(round(a[1] * 1e6) == round(b[0] * 1e6) for a, b in pairwise(boxes))
    assert round(boxes[-1][1] * 1e6) == sample.TWO.step_ns


def test_heat_map_shows_every_key_and_stage() -> None:
    shown = check_layout(heat_map(sample.TWO))
    for key in sample.KEYS:
        assert key in shown
    assert "(no key)" in shown
    assert "18.39" in shown


def test_heat_map_of_many_keys_keeps_the_sum() -> None:
    cell = extremes(LONG)
    grid = key_grid(cell)
    assert len(grid) == MOST_KEYS
    assert "other keys)" in list(grid)[-1]
    assert sum(ns for row in grid.values() for ns in row.values()) == cell.step_ns
    for stage in STAGES:
        assert sum(row.get(stage, 0) for row in grid.values()) == cell.stages[stage].exposed_ns
    check_layout(heat_map(cell))


def test_heat_map_without_keys_says_so() -> None:
    assert "no key was measured" in check_layout(heat_map(sample.bare().cells[0]))


def test_server_load_shows_all_four_numbers() -> None:
    cell = sample.many(3).cells[3]
    shown = check_layout(server_load(cell))
    for load in cell.servers:
        for value in (fmt.size(load.bytes_in), fmt.size(load.bytes_out), fmt.ms(load.busy_ns), fmt.ms(load.queue_ns)):
            assert value in shown
    assert "no servers" in check_layout(server_load(sample.SINGLE))
    idle = replace(cell, servers=tuple(replace(s, bytes_in=0, bytes_out=0, busy_ns=0, queue_ns=0) for s in cell.servers))
    assert "0 B" in check_layout(server_load(idle))


@pytest.mark.parametrize(("workers", "servers"), [(1, 1), (2, 1), (4, 2)])
def test_timeline_draws_all_roles_messages_and_the_path(workers: int, servers: int) -> None:
    found = timeline(simulate(workers, servers), "a run")
    figure = draw_timeline(found)
    shown = check_layout(figure)
    for name in found.lanes:
        node, _, thread = name.partition(" ")
        assert node in shown
        assert thread in shown
    assert "step 0 of worker 0" in shown
    corners = polygons(figure.axes[0])
    assert corners.count(4) == len(found.spans) + len(found.critical)
    assert corners.count(3) == len(found.messages)  # each arrow's head
    assert sum(len(c.get_segments()) for c in figure.axes[0].collections if isinstance(c, LineCollection)) == len(
        found.messages
    )


def polygons(axes: Axes) -> list[int]:
    """How many corners each polygon of the axes' shapes has."""
    shapes = [shape for shape in axes.get_children() if isinstance(shape, PathPatch)]
    return [len(corners) - 1 for shape in shapes for corners in shape.get_path().to_polygons(closed_only=False)]


def test_timeline_of_odd_cases() -> None:
    empty = Timeline("nothing", (), (), (), (), (), 0)
    check_layout(draw_timeline(empty))
    instant = TimelineSpan(0, Stage.COMPUTE, Op.FORWARD, "", 0, 5, 5)
    segment = Segment(0, 0, 0, 0, 10, Stage.OTHER, Op.UNEXPLAINED, Node(Role.WORKER, 0), "")
    one = Timeline(LONG, ("worker-0 main",), (instant,), (), (segment,), ((0, 0, 10),), 10)
    check_layout(draw_timeline(one))


def test_the_path_lies_where_the_work_was() -> None:
    found = timeline(simulate(), "a run")
    way = lanes.critical_way(found)
    assert [piece.segment for piece in way] == list(found.critical)
    for piece in way:
        names = found.lanes[piece.from_lane], found.lanes[piece.to_lane]
        segment = piece.segment
        if segment.op == Op.WIRE:
            assert names[0].startswith(f"{segment.place} send-")
            assert names[0].split()[0] != names[1].split()[0]
            assert "recv-" in names[1]
        elif segment.op in (Op.FORWARD, Op.BACKWARD, Op.LOAD):
            assert names == ("worker-0 main", "worker-0 main")
        elif segment.op != Op.HANDOVER:
            assert names[0].split()[0] == names[1].split()[0] == str(segment.place)
    assert {piece.segment.op for piece in way} >= {Op.WIRE, Op.SUM, Op.UPDATE, Op.DECODE, Op.ENCODE, Op.HANDOVER}


def test_the_path_crosses_once_where_messages_follow_each_other() -> None:
    worker = Node(Role.WORKER, 0)
    sent = [TimelineMessage(0, 1, Stage.PUSH, key, at, at + 30) for key, at in (("a", 0), ("b", 10), ("c", 20))]
    wires = [(0, 10, "a"), (10, 20, "b"), (20, 50, "c")]
    critical = tuple(Segment(0, 0, 0, start, end, Stage.PUSH, Op.WIRE, worker, key) for start, end, key in wires)
    found = Timeline("x", ("worker-0 send-server-0", "server-0 recv-worker-0"), (), tuple(sent), critical, ((0, 0, 50),), 50)
    assert [(piece.from_lane, piece.to_lane) for piece in lanes.critical_way(found)] == [(0, 0), (0, 0), (0, 1)]


def test_all_files_are_written_and_svg_bytes_repeat(tmp_path: Path) -> None:
    whole = sample.experiment()
    found = replace(whole, cells=(sample.SINGLE, sample.TWO), waterfalls=whole.waterfalls[1:])
    pages = [timeline(simulate(steps=1), "torch_ps 1s2w bsp / repetition 0")]
    first = plots.write_all(found, pages, tmp_path / "a" / "plots")
    second = plots.write_all(found, pages, tmp_path / "b")
    assert first == second
    files = sorted((tmp_path / "a" / "plots").iterdir())
    names = [path.name for path in files]
    assert sorted(names) == sorted(f"{name}.{kind}" for name in first for kind in ("svg", "png"))
    for stem in (
        "samples-per-second",
        "stages",
        "waterfall-torch_ps-1s2w-bsp-a41b7c",
        "keys-single-1core-3f2a91",
        "servers-torch_ps-1s2w-bsp-a41b7c",
        "timeline-0-torch_ps-1s2w-bsp-repetition-0",
    ):
        assert f"{stem}.svg" in names
        assert f"{stem}.png" in names
    assert not [name for name in names if name.startswith("servers-single")]
    for a in files:
        assert a.read_bytes() == (tmp_path / "b" / a.name).read_bytes()
        if a.suffix == ".svg":
            assert a.read_text(encoding="utf-8") == first[a.stem]
            ElementTree.fromstring(first[a.stem])
        else:
            assert a.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_a_key_that_looks_like_mathematics_is_shown_as_it_is() -> None:
    assert "$\\frac{q}$" in plots.svg(
        heat_map(replace(sample.TWO, keys=sample.key_times((0, 5, 0, 0, 0, 0, 0, 0), ["$\\frac{q}$"])))
    )


def test_names_of_figures_fit_a_disk_and_differ() -> None:
    names = {file_names.file_name("timeline-0", "x" * 400 + end) for end in ("a", "b")}
    assert len(names) == 2
    assert all(len(name) < 250 for name in names)
