"""What the analysis found, as frozen dataclasses: the one source of every table, figure, page and sentence.

All durations are integer ns. "A step" of a cell is the mean over all measured steps of all workers and repetitions: unlike
medians, means add up, so the accounts below balance exactly. Where a mean is not whole, the remainder is shared out by
largest fraction (`intervals.apportion`), so sums stay exact. Rates shown to the user are medians over repetitions, their
ratios medians over rounds. What an interval covers stands in `repetitions`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from breakdown.analysis.sampling.findings import RoleSamples
from breakdown.model.identity import Node
from breakdown.model.stages import Stage


@dataclass(frozen=True)
class Interval:
    """A 95 % interval over repetitions, in the unit of the number beside it. None fields: too few repetitions."""

    low: float | None
    high: float | None


@dataclass(frozen=True)
class Segment:
    """A stretch of one step's critical path: one stage, at one place. Segments of a step tile it without gap or overlap."""

    run: int
    worker: int
    step: int
    start_ns: int
    end_ns: int
    stage: Stage
    op: str
    place: Node
    key: str
    cause: Stage | None = None  # stage WAIT only: what the other worker was doing meanwhile
    behind: str = ""  # op queue only: the operation, on this key, that the request queued behind
    pieces: int = 1  # more: it stands for so many, too short to be drawn (`analysis.overview`), and tells of the main one


@dataclass(frozen=True)
class Queued:
    """Time of the mean step in which requests queued behind one operation on one key, at one place."""

    op: str
    key: str
    place: Node
    ns: int


@dataclass(frozen=True)
class StageTime:
    """One stage's part of the mean step."""

    stage: Stage
    exposed_ns: int  # on the critical path; over all stages adds up to the step
    hidden_ns: int  # busy meanwhile, overlapped by something else (this worker and its share at the servers)
    contention_ns: int | None  # of the exposed time: ready to run, without a core; None: not known
    blocked_ns: int | None  # of the exposed time: neither running nor ready to run; None: not known
    share: float  # exposed / step
    exposed_interval_ns: Interval
    by_op_ns: Mapping[str, int]  # exposed, adds up to exposed_ns
    by_cause_ns: Mapping[str, int] = field(default_factory=dict)  # wait only: by what the other worker was doing
    queued: tuple[Queued, ...] = ()  # behind what requests queued, longest first: adds up to by_op_ns["queue"]


@dataclass(frozen=True)
class KeyTime:
    """Exposed time of one stage for one key at one place, of the mean step."""

    key: str
    stage: Stage
    place: Node
    exposed_ns: int


@dataclass(frozen=True)
class ServerLoad:
    """One server's work in a mean step of the run (all workers' requests of one step number)."""

    server: int
    bytes_in: int | None  # None: no message was recorded
    bytes_out: int | None
    busy_ns: int  # handler threads' decode + sum + update + encode
    queue_ns: int  # requests' waiting time, summed
    keys: int


@dataclass(frozen=True)
class CellFinding:
    """All that is said of one cell."""

    cell_id: str
    label: str  # short, for tables and figures: "torch_ps 1s2w bsp"
    config: Mapping[str, Any]
    repetitions: int
    steps: int  # measured steps in all, over workers and repetitions
    step_ns: int  # mean; = sum of stages' exposed_ns
    step_interval_ns: Interval
    samples_per_s: float  # median over repetitions, all workers together
    samples_per_s_interval: Interval
    samples_per_s_by_run: tuple[float, ...]
    stages: tuple[StageTime, ...]  # all eight, in the order of Stage
    keys: tuple[KeyTime, ...]  # biggest first; adds up to step_ns
    servers: tuple[ServerLoad, ...]
    server_skew: float | None  # busiest server's bytes / mean server's bytes; None without servers
    bytes_pushed: int | None  # a worker and step, on the wire; None: there are servers, but no message was recorded
    bytes_pulled: int | None
    recorder_cost_ns: int | None  # self-measured, a step
    speedup: float | None = None  # over the single node with one worker's resources: median over the rounds that both have
    speedup_interval: Interval | None = None
    efficiency: float | None = None
    speedup_whole: float | None = None  # over the single node with the whole machine's
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()  # what a reader should know, for example that roles share cores
    samples: tuple[RoleSamples, ...] = ()  # of py-spy, where roles were sampled


@dataclass(frozen=True)
class Bar:
    """One reason, in the gap from the single node's step to the distributed step. Negative: it got faster."""

    stage: Stage
    delta_ns: int
    interval_ns: Interval


@dataclass(frozen=True)
class Waterfall:
    """single step + all bars = distributed step, exactly."""

    baseline_id: str
    cell_id: str
    baseline_label: str
    label: str
    baseline_ns: int
    step_ns: int
    bars: tuple[Bar, ...]  # all eight stages

    @property
    def gap_ns(self) -> int:
        return self.step_ns - self.baseline_ns


@dataclass(frozen=True)
class Cost:
    """The smallest tested number of workers that beats the single node; None: none up to `tested`."""

    workers: int | None
    tested: int


@dataclass(frozen=True)
class Verdict:
    """The answer in one sentence, with the figures behind it."""

    sentence: str  # of the fastest distributed cell
    evidence: tuple[str, ...]
    others: tuple[str, ...] = ()  # a sentence for each other distributed cell, in the experiment's order


@dataclass(frozen=True)
class ExperimentFinding:
    """All that is said of one experiment."""

    name: str
    description: str
    machine: Mapping[str, Any]
    versions: Mapping[str, Any]
    cells: tuple[CellFinding, ...]
    waterfalls: tuple[Waterfall, ...]  # each distributed cell against its one-worker single node, where there is one
    cost: Mapping[str, Cost]  # by family of cells: those that differ in the number of workers alone
    verdict: Verdict
    failures: tuple[str, ...] = ()  # cells or repetitions that failed: what, where, log file
    left_out: tuple[str, ...] = ()  # cells of which nothing is shown, though they are part of it: which, and why


@dataclass(frozen=True)
class Delta:
    """One number in two results."""

    name: str  # "step", or a stage's label
    a_ns: int
    b_ns: int
    delta_ns: int
    interval_ns: Interval


@dataclass(frozen=True)
class Comparison:
    """Two cells side by side (`breakdown compare A B`): a row for the step, one a stage; the stages' deltas add up."""

    a_label: str
    b_label: str
    samples_per_s: tuple[float, float]
    speed_ratio: float
    speed_ratio_interval: Interval
    rows: tuple[Delta, ...]
    changed_config: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True)
class TimelineSpan:
    """One box of a timeline. `lane` indexes `Timeline.lanes`."""

    lane: int
    stage: Stage
    op: str
    key: str
    step: int
    start_ns: int
    end_ns: int
    pieces: int = 1  # as of a segment


@dataclass(frozen=True)
class TimelineMessage:
    """One arrow of a timeline, from the sender's lane to the receiver's."""

    from_lane: int
    to_lane: int
    stage: Stage
    key: str
    send_start_ns: int
    recv_end_ns: int
    pieces: int = 1  # as of a segment


@dataclass(frozen=True)
class Timeline:
    """A few steps with all roles on one page. Times are relative to `origin_ns` of the run's clock."""

    label: str
    lanes: tuple[str, ...]  # "worker-0 main", "worker-0 send-server-0", ..., "server-0 handle-0"
    spans: tuple[TimelineSpan, ...]
    messages: tuple[TimelineMessage, ...]
    critical: tuple[Segment, ...]  # the critical path of the worker that is explained, relative times
    step_bounds_ns: tuple[tuple[int, int, int], ...]  # (worker, start, end)
    end_ns: int
    joined_ns: int = 0  # what is shorter is drawn together with its neighbours; 0: each piece by itself
