"""The rows of the trace grammar, from what the native recorders of all processes of a run saw of TensorFlow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from breakdown.model.identity import Node
from breakdown.model.stages import Op, Stage
from breakdown.record.layout import Kind
from breakdown.record.tracefile import TraceFile
from breakdown.store.decode import Rows, Vocabulary
from breakdown.store.tensorflow import alone, calls, exchange, raw, remote, work
from breakdown.store.tensorflow.raw import Process
from breakdown.store.tensorflow.run import Run

MEANINGS = {
    "session.run": (Stage.SERIALIZE, Op.SUBMIT),
    "train-step": (Stage.SERIALIZE, Op.SUBMIT),
    "read": (Stage.SERIALIZE, Op.SUBMIT),
    "take": (Stage.INPUT, "take"),  # the coordinator's next step is what a worker is given to work on
}
"""What is left of the calls that the program's own trace has of a step, once what lies within is known."""


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
    for function in run.eager.functions.values():
        remote.write_function(run, function)
        remote.write_waiting(run, function)
    for drive, activity in run.eager.threads:
        remote.write_thread(run, drive, activity)
    for process in processes:
        alone.write(run, process)
    return {node: written.rows(vocabulary) for node, written in run.written.items()}


def handing_over(rows: Mapping[Kind, Rows], vocabulary: Vocabulary) -> Mapping[Kind, Rows]:
    """What is left of a main thread's calls into TensorFlow, beside what lies within and its sleep, is its own work.

    In a step of which no sleep was found it stays unknown: it is not known then for how long it slept.
    """
    spans = rows[Kind.SPAN]
    op, stage, step = spans.columns["op"], spans.columns["stage"], spans.columns["step"]
    slept = step[op == vocabulary.codes((Op.BLOCK,))[0]]
    unknown = (stage == int(Stage.OTHER)) & np.isin(step, slept)
    for call, (meaning, name) in MEANINGS.items():
        code, new = vocabulary.codes((call, name)).tolist()
        mine = unknown & (spans.columns["op"] == code)
        op, stage = np.where(mine, new, op), np.where(mine, int(meaning), stage)
    return {**rows, Kind.SPAN: Rows({**spans.columns, "op": op, "stage": stage}, spans.count, spans.left_out)}
