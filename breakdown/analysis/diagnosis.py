"""The verdict: one sentence that says how much slower (or faster) and why, and the figures behind it.

It speaks of the fastest distributed cell: even that one is slower than one node, or at least that one is faster. Each other
one gets a sentence of its own, without the figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from breakdown.analysis.findings import CellFinding, Cost, Interval, StageTime, Verdict, Waterfall
from breakdown.analysis.scaling import is_single, workers
from breakdown.analysis.wording import (
    cost,
    counted,
    interval,
    ms,
    ms_unit,
    percent,
    queued_behind,
    rate,
    ratio,
    ratio_bound,
    signed_ms,
    size,
)
from breakdown.model.stages import Op, Stage

EVEN: Final = 0.03
"""Within 3 % of the single node's speed counts as equal: repetitions of one pinned node differ by about that."""
NAMED_REASONS: Final = 3
"""The sentence names at most so many stages: a reader keeps three in mind, and the table beside it has all."""
REASON_SHARE: Final = 0.05
"""A stage below 5 % of the gap is not named in the sentence: fixing it could not be felt."""
MENTIONED_SHARE: Final = 0.01
"""Evidence leaves out what is below 1 % of the step: it is in the table, and would bury the rest."""
MOSTLY: Final = 0.5
"""More than half of a bar may be called most of it."""
STALLED_SHARE: Final = 0.10
"""From 10 % of a stage without a core, the placement of processes is a cause of its own; so is, blocked as long, a lock."""
SKEW: Final = 1.2
"""A server that moves a fifth more than the mean server makes the others wait in every step."""
OTHER_SHARE: Final = 0.02
"""The DESIGN's bound for what may stay unexplained."""
RECORDER_SHARE: Final = 0.01
"""Recording may cost 1 % of a step; beyond, the figures are of the recorder too."""

_REASONS: Final[Mapping[Stage, str]] = {
    Stage.INPUT: "taking the batch",
    Stage.COMPUTE: "slower compute",
    Stage.SERIALIZE: "exposed serialize",
    Stage.PUSH: "exposed push",
    Stage.AGGREGATE: "exposed aggregate",
    Stage.PULL: "exposed pull",
    Stage.WAIT: "waiting for other workers",
    Stage.OTHER: "unexplained time",
}


def diagnose(
    cells: Sequence[CellFinding],
    waterfalls: Sequence[Waterfall],
    costs: Mapping[str, Cost],
    beside: Sequence[CellFinding] = (),
) -> Verdict:
    """The verdict of an experiment. Where there is nothing to compare, it says what is missing.

    `beside`: single nodes that cells were compared with, and that are none of `cells`.
    """
    by_id = {cell.cell_id: cell for cell in (*cells, *beside)}
    compared = [fall for fall in waterfalls if by_id[fall.cell_id].speedup is not None]
    if not compared:
        return _without_baseline(cells)
    fall = max(compared, key=lambda fall: by_id[fall.cell_id].samples_per_s)
    cell, single = by_id[fall.cell_id], by_id[fall.baseline_id]
    by_cell = {fall.cell_id: fall for fall in compared}
    others = [
        _sentence(other, by_id[by_cell[other.cell_id].baseline_id], by_cell[other.cell_id])
        if other.cell_id in by_cell
        else _alone(other)
        for other in cells
        if other is not cell and not is_single(other)
    ]
    return Verdict(_sentence(cell, single, fall), tuple(_evidence(cell, single, fall, costs)), tuple(others))


def _sentence(cell: CellFinding, single: CellFinding, fall: Waterfall) -> str:
    speedup = cell.speedup or 0.0
    rates = f"({rate(cell.samples_per_s)} against {rate(single.samples_per_s)} samples/s)"
    count = workers(cell)
    who = f"{cell.label}, with {counted(int(cell.config.get('servers', 0)), 'server')} and {counted(count, 'worker')},"
    if abs(speedup - 1) <= EVEN:
        head = f"{who} is as fast as one worker's node alone {rates}"
    elif speedup < 1:
        head = f"{who} runs at {ratio(speedup)} the speed of one worker's node {rates}"
    else:
        head = f"{who} is {ratio(speedup)} as fast as one worker's node {rates}, an efficiency of {percent(speedup / count)}"
    if fall.gap_ns <= 0:
        return f"{head}; its step is {ms_unit(-fall.gap_ns)} shorter."
    return f"{head}: of the {ms_unit(fall.gap_ns)} that each step is longer, {_reasons(cell, single, fall)}."


def _reasons(cell: CellFinding, single: CellFinding, fall: Waterfall) -> str:
    bars = sorted((bar for bar in fall.bars if bar.delta_ns > 0), key=lambda bar: -bar.delta_ns)
    named = [bar for bar in bars[:NAMED_REASONS] if bar.delta_ns >= REASON_SHARE * fall.gap_ns] or bars[:1]
    texts = []
    for bar in named:
        time = cell.stages[bar.stage]
        why = _mostly_queue(time) or _mostly_stalled(time, single.stages[bar.stage], bar.delta_ns)
        texts.append(f"{ms_unit(bar.delta_ns)} ({percent(bar.delta_ns / fall.gap_ns)}) is {_REASONS[bar.stage]}{why}")
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _mostly_queue(time: StageTime) -> str:
    behind = queued_behind(time.queued)
    queue_ns = time.by_op_ns.get(Op.QUEUE, 0)
    if behind is None or queue_ns < MOSTLY * time.exposed_ns:
        return ""
    return f" (mostly queue{'' if behind.ns >= MOSTLY * queue_ns else ', longest'} behind {behind.text})"


def _mostly_stalled(time: StageTime, alone: StageTime, delta_ns: int) -> str:
    """Whether the stage's thread did not run for most of what the stage takes longer, and why not."""
    for more, less, why in (
        (time.contention_ns, alone.contention_ns, "for want of a core"),
        (time.blocked_ns, alone.blocked_ns, "blocked"),
    ):
        if more is not None and less is not None and more - less >= MOSTLY * delta_ns:
            return f" (mostly {why})"
    return ""


def _evidence(cell: CellFinding, single: CellFinding, fall: Waterfall, costs: Mapping[str, Cost]) -> list[str]:
    spread = interval(cell.speedup_interval, ratio_bound)
    lines = [
        f"speed: {ratio(cell.speedup)} {spread} of one worker's node, efficiency {percent(cell.efficiency or 0.0)}",
        f"step: {ms_unit(cell.step_ns)} {interval(cell.step_interval_ns, ms)} against {ms_unit(single.step_ns)}"
        f" {interval(single.step_interval_ns, ms)}, means over {cell.steps} and {single.steps} measured steps",
    ]
    for bar in sorted(fall.bars, key=lambda bar: -abs(bar.delta_ns)):
        if abs(bar.delta_ns) >= MENTIONED_SHARE * cell.step_ns:
            lines.append(_bar_line(cell.stages[bar.stage], bar.delta_ns, fall.gap_ns, bar.interval_ns, cell))
    lines += _remarks(cell)
    if cell.speedup_whole is not None:
        lines.append(f"against the whole machine as one node: {ratio(cell.speedup_whole)}")
    lines += [f"COST of {family} (workers needed to beat the single node): {cost(found)}" for family, found in costs.items()]
    return lines


def _bar_line(time: StageTime, delta_ns: int, gap_ns: int, bounds: Interval, cell: CellFinding) -> str:
    share = f", {percent(delta_ns / gap_ns)} of the gap" if gap_ns > 0 else ""
    line = f"{time.stage.label}: {signed_ms(delta_ns)} ms {interval(bounds, signed_ms)}{share}"
    line += f"; exposed {ms_unit(time.exposed_ns)}"
    if time.hidden_ns:
        line += f", {ms_unit(time.hidden_ns)} more hidden behind other work"
    if time.by_cause_ns:
        cause, cause_ns = max(time.by_cause_ns.items(), key=lambda item: item[1])
        line += f"; meanwhile the other workers' {cause} took {ms_unit(cause_ns)} of it"
    elif len(time.by_op_ns) > 1:
        op, op_ns = max(time.by_op_ns.items(), key=lambda item: item[1])
        line += f", most of it {op} ({ms_unit(op_ns)})"
        if op == Op.QUEUE and (behind := queued_behind(time.queued)):
            line += f", {ms_unit(behind.ns)} of it behind {behind.text}"
    moved = {Stage.PUSH: cell.bytes_pushed, Stage.PULL: cell.bytes_pulled}.get(time.stage)
    if moved:
        line += f", for {size(moved)} a worker and step"
    return line


def _remarks(cell: CellFinding) -> list[str]:
    lines = [
        f"{ms_unit(ns)} of {time.stage.label}'s {ms_unit(time.exposed_ns)} passed {how}"
        for time in cell.stages
        for ns, how in (
            (time.contention_ns, "without a core to run on"),
            (time.blocked_ns, "blocked: asleep, or waiting for a lock, a page or another thread"),
        )
        if ns is not None and ns >= max(STALLED_SHARE * time.exposed_ns, MENTIONED_SHARE * cell.step_ns)
    ]
    if all(time.contention_ns is None for time in cell.stages if time.exposed_ns):
        lines.append("whether threads lacked a core or were blocked is not known: nothing recorded it")
    if cell.server_skew is not None and cell.server_skew >= SKEW:
        lines.append(
            f"keys are unevenly shared out: the busiest server moves {ratio(cell.server_skew)} the mean server's bytes"
        )
    if cell.stages[Stage.OTHER].share > OTHER_SHARE:
        lines.append(
            f"{percent(cell.stages[Stage.OTHER].share)} of the step is unexplained: read the warnings before the rest"
        )
    if cell.recorder_cost_ns is not None and cell.recorder_cost_ns > RECORDER_SHARE * cell.step_ns:
        lines.append(
            f"recording costs up to {ms_unit(cell.recorder_cost_ns)} of a step, "
            f"{percent(cell.recorder_cost_ns / cell.step_ns)}"
        )
    return lines


def _without_baseline(cells: Sequence[CellFinding]) -> Verdict:
    if not cells:
        return Verdict("Nothing was measured: no cell of this experiment has a measured step.", ())
    lines = tuple(f"{cell.label}: {rate(cell.samples_per_s)} samples/s, {ms_unit(cell.step_ns)} a step" for cell in cells)
    distributed = [cell for cell in cells if not is_single(cell)]
    if not distributed:
        return Verdict("Only single nodes were measured: there is no distributed training to explain.", lines)
    fastest = max(distributed, key=lambda cell: cell.samples_per_s)
    return Verdict(_alone(fastest), lines, tuple(_alone(cell) for cell in distributed if cell is not fastest))


def _alone(cell: CellFinding) -> str:
    """The sentence of a distributed cell that has no single node to be compared with."""
    biggest = max(cell.stages, key=lambda time: time.exposed_ns)
    return (
        f"{cell.label} trains {rate(cell.samples_per_s)} samples/s, and most of its {ms_unit(cell.step_ns)} step is "
        f"{biggest.stage.label} ({ms_unit(biggest.exposed_ns)}, {percent(biggest.share)}); no single node with one worker's "
        "resources was measured to compare it with."
    )
