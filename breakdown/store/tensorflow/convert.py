"""The rows of the trace grammar, from what the native recorders of all processes of a run saw of TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from breakdown.model.identity import Node
from breakdown.model.stages import Stage
from breakdown.record.layout import Kind
from breakdown.record.tracefile import TraceFile
from breakdown.store.decode import Rows, Vocabulary
from breakdown.store.tensorflow import calls, exchange, raw, work
from breakdown.store.tensorflow.raw import Process
from breakdown.store.tensorflow.run import Run

CALL, SUBMIT = "session.run", "submit"
"""What the program's own trace calls the call that holds a step, and what of it is the main thread's own work."""


def convert(traces: Iterable[TraceFile], vocabulary: Vocabulary) -> Mapping[str, Mapping[Kind, Rows]]:
    """The rows of each native trace of one run, by its path."""
    found = [(trace.path, raw.read(trace)) for trace in traces]
    rows = rows_of([process for _, process in found], vocabulary)
    return {path: rows[process.node] for path, process in found}


def rows_of(processes: Sequence[Process], vocabulary: Vocabulary) -> Mapping[Node, Mapping[Kind, Rows]]:
    """The rows of all processes of one run."""
    run = Run(processes)
    for call in calls.join(processes):
        exchange.write(run, call)
    for own in run.parts.values():
        for part in own.values():
            work.write(run, part)
    return {node: written.rows(vocabulary) for node, written in run.written.items()}


def handing_over(rows: Mapping[Kind, Rows], vocabulary: Vocabulary) -> Mapping[Kind, Rows]:
    """What is left of a main thread's call of `session.run`, beside its sleep until the step is done, is its own work."""
    called, submit = vocabulary.codes((CALL, SUBMIT)).tolist()
    spans = rows[Kind.SPAN]
    mine = spans.columns["op"] == called
    renamed = {
        "op": np.where(mine, submit, spans.columns["op"]),
        "stage": np.where(mine, int(Stage.SERIALIZE), spans.columns["stage"]),
    }
    return {**rows, Kind.SPAN: Rows({**spans.columns, **renamed}, spans.count, spans.left_out)}
