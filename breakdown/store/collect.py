"""Turns the raw traces of one repetition into rows of the cell's tables. Collecting a run again replaces its rows.

A node may have several traces (`worker-0.trace` and `worker-0.native.trace`): see `store.join`.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from breakdown.errors import TraceError
from breakdown.model.identity import Node
from breakdown.model.stages import STAGE_LABELS
from breakdown.record.api import NOT_MEASURED
from breakdown.record.layout import USED, Kind
from breakdown.record.tracefile import TraceFile
from breakdown.record.tracefile import read as read_trace
from breakdown.store import arrow, contents
from breakdown.store.ahead import HANDS_OVER_NOTE, settled
from breakdown.store.clocks import NOTE, clock_entry
from breakdown.store.decode import NO_NAMES, Rows, Vocabulary, node_of_trace, rows
from breakdown.store.files import read_json, write_json
from breakdown.store.folder import CellFolder
from breakdown.store.join import is_native, join
from breakdown.store.keys import names_of_keys
from breakdown.store.messages import message_table
from breakdown.store.operations import resolve
from breakdown.store.requests import unfolded
from breakdown.store.tensorflow.convert import convert, handing_over
from breakdown.store.tensorflow.raw import NOTES as TENSORFLOW_NOTES
from breakdown.store.tensorflow.raw import TRACED_NOW, is_tensorflow

WARNING_NOTE = "warning"
"""The trace note by which a process tells the user something; its value is the text."""


@dataclass(frozen=True)
class CollectReport:
    """What the runner keeps of a collection in cell.json. Costs are ns a span, by node ("worker-0").

    `steps_left_out`: those of the warnings that say why steps which were found are not in the tables.
    """

    warnings: tuple[str, ...]
    recorder_cost_ns_per_span: dict[str, float]
    steps_left_out: tuple[str, ...] = ()


def collect(folder: CellFolder, run: int) -> CollectReport:
    """Adds the traces in `folder.raw_dir(run)` to the tables, then removes them.

    A trace that is cut off or damaged gives a warning and all of its whole records; one that cannot be read at all gives a
    warning and stays. Raises `TraceError` when no trace can be read or a table cannot be written; then all traces stay.
    """
    traces, warnings = _read_all(folder.raw_dir(run))
    vocabulary = Vocabulary()
    every = [trace for own in traces.values() for trace in own]
    names = names_of_keys(every)
    converted = convert([trace for trace in every if is_tensorflow(trace)], vocabulary)
    by_node = {
        node: join(own, [converted.get(trace.path) or _rows(trace, vocabulary, names) for trace in own], vocabulary)
        for node, own in traces.items()
    }
    by_node |= {
        node: handing_over(by_node[node], vocabulary)
        for node, own in traces.items()
        if any(trace.path in converted for trace in own)
    }
    noted = {node: [note for trace in own for note in trace.notes] for node, own in traces.items()}
    ahead_of_engine = {node for node, found in noted.items() if any(name == HANDS_OVER_NOTE for name, _ in found)}
    with_ends, ahead_warnings = settled(resolve(by_node, vocabulary), ahead_of_engine, vocabulary)
    by_node = dict(with_ends)
    decoded = {kind: [(node, found[kind]) for node, found in by_node.items()] for kind in _ROW_KINDS}
    messages, message_warnings = message_table(decoded[Kind.SENT], decoded[Kind.RECEIVED], run, vocabulary)
    clock, clock_warnings = clock_entry([(node, _clocked(own)) for node, own in traces.items()])
    _add_run(folder.clock, contents.Clock, run, clock)
    kept = {
        str(node): [list(note) for note in found if note[0] not in (NOTE, WARNING_NOTE, *TENSORFLOW_NOTES)]
        for node, found in noted.items()
    }
    _add_run(folder.notes, contents.Notes, run, {node: found for node, found in kept.items() if found})
    # behind these two: whoever reads meanwhile finds no row of which they do not know
    arrow.append(folder.table("messages"), "messages", messages, run)
    arrow.append(folder.table("spans"), "spans", _span_table(decoded[Kind.SPAN], run, vocabulary), run)
    arrow.append(folder.table("steps"), "steps", _step_table(decoded[Kind.STEP], run, vocabulary), run)
    for node, own in traces.items():
        warnings += [warning for trace in own for warning in trace.warnings]
        warnings += [f"{node}: {value}" for name, value in noted[node] if name == WARNING_NOTE]
        left_out = sum(found.left_out for found in by_node[node].values())
        if left_out:
            warnings.append(f"{node}: {left_out} records were left out: their stage, op, key or peer has no name")
        for trace in own:
            Path(trace.path).unlink()
    (folder.raw_dir(run) / TRACED_NOW).unlink(missing_ok=True)
    with suppress(OSError):  # an unreadable trace keeps the folder
        folder.raw_dir(run).rmdir()
        folder.raw_dir(run).parent.rmdir()
    costs = {str(node): _cost_ns_per_span(own) for node, own in traces.items()}
    return CollectReport((*warnings, *ahead_warnings, *message_warnings, *clock_warnings), costs, tuple(ahead_warnings))


_ROW_KINDS = (Kind.SPAN, Kind.SENT, Kind.RECEIVED, Kind.STEP)


def _rows(trace: TraceFile, vocabulary: Vocabulary, names: Mapping[str, str]) -> Mapping[Kind, Rows]:
    """All rows of a trace, by kind."""
    known = names if is_native(trace) else NO_NAMES
    return {kind: rows(trace, kind, vocabulary, known) for kind in _ROW_KINDS}


def _read_all(raw: Path) -> tuple[dict[Node, list[TraceFile]], list[str]]:
    """The readable traces by node, in order of role and rank, and a warning for each of the others."""
    traces: dict[Node, list[TraceFile]] = {}
    warnings = []
    for path in sorted(raw.glob("*.trace")):
        try:
            trace = unfolded(read_trace(str(path)))
            traces.setdefault(node_of_trace(trace), []).append(trace)
        except TraceError as error:
            warnings.append(str(error))
    if not traces:
        found = f": {' '.join(warnings)}" if warnings else "; no process got as far as recording. Read the log files."
        raise TraceError(f"there is no trace to collect in {raw}{found}")
    return {node: traces[node] for node in sorted(traces)}, warnings


def _clocked(traces: Sequence[TraceFile]) -> TraceFile:
    """Of a node's traces the one that holds clock pings; all are of one kernel."""
    return max(traces, key=lambda trace: any(name == NOTE for name, _ in trace.notes))


def _cost_ns_per_span(traces: Sequence[TraceFile]) -> float:
    """Of a node's recorders, each weighed by how much it recorded."""
    counts = [sum(block.count for block in trace.blocks) for trace in traces]
    costs = [float(trace.meta["cost_ns_per_span"]) for trace in traces]
    recorded = sum(counts)
    return sum(map(operator.mul, costs, counts)) / recorded if recorded else max(costs)


def _span_table(parts: Sequence[tuple[Node, Rows]], run: int, vocabulary: Vocabulary) -> pa.Table:
    stages = vocabulary.codes(STAGE_LABELS)
    tables = []
    for node, found in parts:
        values = found.columns
        tables.append(
            arrow.table(
                "spans",
                {
                    **_place(node, found, run, vocabulary),
                    **{
                        name: values[name] for name in ("step", "size_bytes", "start_ns", "end_ns", "request_id", "cause_id")
                    },
                    "stage": vocabulary.column(stages[values["stage"]]),
                    "op": vocabulary.column(values["op"]),
                    "key": vocabulary.column(values["key"]),
                    **{name: arrow.nullable(values[name], values[name] == NOT_MEASURED) for name in USED},
                },
            )
        )
    return pa.concat_tables(tables).unify_dictionaries()


def _step_table(parts: Sequence[tuple[Node, Rows]], run: int, vocabulary: Vocabulary) -> pa.Table:
    tables = []
    for node, found in parts:
        values = found.columns
        losses = np.ascontiguousarray(values["loss_bits"]).view(np.float64)
        tables.append(
            arrow.table(
                "steps",
                {
                    **_place(node, found, run, vocabulary),
                    **{name: values[name] for name in ("step", "start_ns", "end_ns", "samples")},
                    "warm_up": values["warm_up"].astype(bool),
                    "loss": arrow.nullable(losses, values["has_loss"] == 0),
                },
            )
        )
    return pa.concat_tables(tables).unify_dictionaries()


def _place(node: Node, found: Rows, run: int, vocabulary: Vocabulary) -> dict[str, Any]:
    """The columns that say who recorded a row."""
    return {
        "run": np.full(found.count, run),
        "role": vocabulary.column(np.full(found.count, vocabulary.codes([node.role.label])[0])),
        "rank": np.full(found.count, node.rank),
        "thread": vocabulary.column(found.columns["thread"]),
    }


def _add_run(path: Path, content: Any, run: int, entry: dict[str, Any]) -> None:
    """Sets one run's entry of a JSON file that has one a run."""
    entries = read_json(path, content) if path.exists() else {"runs": {}}
    write_json(path, {"runs": {**entries["runs"], str(run): entry}})
