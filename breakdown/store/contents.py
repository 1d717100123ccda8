"""What stands in the JSON files of a result, key by key. `store.shape` checks it when a file is read."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from breakdown.clock.offset import MAX_DRIFT_PPB
from breakdown.model.identity import Role
from breakdown.record.api import STEPS_NOTE, THREAD_NOTE
from breakdown.store.shape import Limit, problem

_NODE = re.compile(rf"({'|'.join(role.label for role in Role)})-(0|[1-9][0-9]{{0,4}})")
_LAST_RANK = 0xFFFF  # of `Node.code`
_LONGEST_NAME_BYTES = 200  # of the 255 that a file's name may have; the rest is for endings
_MOST_OFFSET_NS = 1 << 61  # a time and an offset add up to less than 2**63


def _is_node(text: str) -> bool:
    found = _NODE.fullmatch(text)
    return found is not None and int(found[2]) <= _LAST_RANK


def _is_run(text: str) -> bool:
    return text.isascii() and text.isdigit() and str(int(text)) == text and int(text) < 1 << 31


def _is_file_name(text: str) -> bool:
    return text not in ("", ".", "..") and not {"/", "\0"} & {*text} and len(text.encode()) <= _LONGEST_NAME_BYTES


Count = Annotated[int, Limit("a whole number from 0", lambda value: value >= 0)]
Positive = Annotated[int, Limit("a whole number from 1", lambda value: value >= 1)]
Number = Annotated[int, Limit("a whole number from 0, below 2**31", lambda value: 0 <= value < 1 << 31)]
FileName = Annotated[str, Limit("the name of a file", _is_file_name)]
NodeName = Annotated[str, Limit("the name of a process, such as 'worker-0'", _is_node)]
RunKey = Annotated[str, Limit("the number of a repetition", _is_run)]


class Experiment(TypedDict):
    """experiment.json. `cells`: the names of their folders, in the order of the matrix."""

    name: str
    description: str
    cells: list[FileName]


class Process(TypedDict):
    """How a process of a repetition ended: `runner.endings` says what these mean."""

    node: str
    pid: int
    exit_code: int | None
    signal: str | None
    ended_by_tool: bool
    trace_closed: bool
    steps: Count
    since_step_s: float | None
    longest_step_s: float | None
    unrecorded_s: float | None


class Run(TypedDict):
    """A repetition. `error` and `log` are null where it was done; `log` is a file's path within the cell's folder."""

    run: Number
    status: Literal["done", "failed"]
    error: str | None
    log: str | None
    wall_s: float
    recorder_cost_ns_per_span: dict[NodeName, float]
    warnings: list[str]
    sample_rate_hz: NotRequired[Positive]
    exit_code: NotRequired[int]
    processes: NotRequired[list[Process]]


class Config(TypedDict):
    """What was measured: fields of `config.cell`, as far as they are known of a user's own command or of a profile."""

    backend: str
    workload: str
    warmup_steps: Count
    batch_size: NotRequired[Count]
    workers: NotRequired[Positive]
    servers: NotRequired[Count]
    cores_per_worker: NotRequired[Count]
    record: NotRequired[bool]


class Cell(TypedDict):
    """cell.json, in the current format."""

    format_version: Positive
    cell_id: FileName
    label: str
    experiment: str
    config: Config
    machine: dict[str, Any]
    versions: dict[str, Any]
    commit: str | None
    cores: dict[NodeName, list[Count] | None]
    notes: list[str]
    runs: Annotated[list[Run], Limit("a list in which each repetition stands once", lambda runs: _once(runs))]


def _once(runs: list[Run]) -> bool:
    return len({run["run"] for run in runs}) == len(runs)


class ClockOfNode(TypedDict):
    """A node's clock against its run's reference: `clock.offset.Offset`, all null where that is not known."""

    kernel_id: str
    offset_ns: Annotated[int, Limit("a whole number within 2**61", lambda value: abs(value) < _MOST_OFFSET_NS)] | None
    bound_ns: Annotated[int, Limit("a whole number from 0, below 2**61", lambda value: 0 <= value < _MOST_OFFSET_NS)] | None
    drift_ppb: Annotated[float, Limit(f"a number within {MAX_DRIFT_PPB}", lambda value: abs(value) <= MAX_DRIFT_PPB)] | None
    drift_bound_ppb: Annotated[float, Limit(f"a number from 0 to {MAX_DRIFT_PPB}", lambda v: 0 <= v <= MAX_DRIFT_PPB)] | None
    at_ns: int | None
    until_ns: int | None
    pings: list[tuple[int, int, int]]


OFFSET_FIELDS = ("offset_ns", "bound_ns", "drift_ppb", "drift_bound_ppb", "at_ns", "until_ns")


def _wholly_known(node: ClockOfNode) -> bool:
    return len({node[field] is None for field in OFFSET_FIELDS}) == 1  # type: ignore[literal-required]


_KNOWN_OR_NOT = Limit(f"an object whose {', '.join(OFFSET_FIELDS)} are all null or none", _wholly_known)


class ClockOfRun(TypedDict):
    reference: NodeName
    nodes: dict[NodeName, Annotated[ClockOfNode, _KNOWN_OR_NOT]]


class Clock(TypedDict):
    """clock.json."""

    runs: dict[RunKey, ClockOfRun]


class TracedSteps(TypedDict):
    """Which steps of a node were traced: every so many from the first on."""

    first: int
    every: Positive


_OF_NOTES = {STEPS_NOTE: TracedSteps, THREAD_NOTE: tuple[str, int]}
"""What those notes hold that are read again: of the others nothing but that they are plain is asked."""


def _as_named(note: list[Any]) -> bool:
    return problem(note[1], _OF_NOTES.get(note[0], Any)) is None


_PAIR = f"[name, value], where {THREAD_NOTE} has [text, number], {STEPS_NOTE} an object with first and every"
Note = Annotated[tuple[str, Any], Limit(_PAIR, _as_named)]


class Notes(TypedDict):
    """notes.json: by repetition and node, each fact that a process noted."""

    runs: dict[RunKey, dict[NodeName, list[Note]]]
