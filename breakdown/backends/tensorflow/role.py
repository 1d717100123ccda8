"""The entry of TensorFlow's role processes: `python -m breakdown.backends.tensorflow.role SPEC.json [serve]`.

With `serve` it serves the others until SIGTERM. Runs in TensorFlow's environment: imports the standard library, tensorflow,
numpy, and breakdown's errors, model, clock and record. Exit codes as in `breakdown.runner.role`: 0 done; 1 failed, with the
reason on stderr; 143 ended by SIGTERM before its work was done, after flushing the trace.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any, Dict, List

from breakdown.backends.tensorflow import tracing
from breakdown.backends.tensorflow.quiet import import_tensorflow
from breakdown.errors import BreakdownError
from breakdown.model.identity import Node, Role
from breakdown.record.api import Recorder
from breakdown.record.ending import Trace, leave
from breakdown.record.null import NullRecorder
from breakdown.record.recorder import FileRecorder

SERVE = "serve"


class Recorders:
    """Those of a process: its own, and for the coordinator one of each worker that it drives."""

    def __init__(self, spec: Dict[str, Any]) -> None:
        self._spec = spec
        self._all: List[Recorder] = []

    def add(self, node: Node, path: Path) -> Recorder:
        """A new one, that writes to this file."""
        recorder = FileRecorder(str(path), self._spec["run"], node) if self._spec["cell"]["record"] else NullRecorder()
        self._all.append(recorder)
        return recorder

    def close(self) -> None:
        """Closes all. Raises the first `RecordError`."""
        errors: List[BreakdownError] = []
        for recorder in self._all:
            try:
                recorder.close()
            except BreakdownError as error:
                errors.append(error)
        if errors:
            raise errors[0]


def main(arguments: List[str]) -> int:
    """Runs the role that the spec names, and closes its trace in all cases."""
    path, serves = Path(arguments[0]), SERVE in arguments[1:]
    trace = Trace(tracing.stop)
    if serves:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # its main thread will wait for it
    else:
        trace.close_on_sigterm()
    return trace.close_after(lambda: _run(json.loads(path.read_text(encoding="utf-8")), serves, trace), path.stem)


def _run(spec: Dict[str, Any], serves: bool, trace: Trace) -> None:
    node, file = Node(Role[spec["role"].upper()], spec["rank"]), Path(spec["trace"])
    trace.recorder = recorders = Recorders(spec)
    recorder = recorders.add(node, file)
    import_tensorflow()
    if spec["cell"]["record"]:
        steps = tracing.Steps(spec["cell"]["trace_every"], spec["cell"]["warmup_steps"])
        tracing.start(node, spec["run"], str(file.parent), recorder, spec["threads"], steps)
    try:
        if serves:
            _serve(spec, node)
        else:
            _work(spec, node, recorders, recorder)
    finally:
        tracing.stop()


def _serve(spec: Dict[str, Any], node: Node) -> None:
    from breakdown.backends.tensorflow import cluster

    cell = spec["cell"]
    operations = cell["server_threads"] if node.role is Role.SERVER else spec["threads"]
    if cell["tf_mode"] == "strategy":
        # A function that a worker calls on a server holds a thread there while its operations wait for others.
        operations = max(operations, cell["workers"] + 1)
    cluster.serve(spec["threads"], operations)


def _work(spec: Dict[str, Any], node: Node, recorders: Recorders, recorder: Recorder) -> None:
    from breakdown.backends.tensorflow import networks

    cell, threads = spec["cell"], spec["threads"]
    task = networks.build(cell["workload"], spec["workload_options"], cell["seed"])
    recorder.note("workload", networks.describe(cell, task))
    if cell["tf_mode"] == "strategy":
        from breakdown.backends.tensorflow import strategy

        workers = [Node(Role.WORKER, rank) for rank in range(cell["workers"])]
        folder = Path(spec["trace"]).parent
        driven = [recorders.add(worker, folder / f"{worker}.coordinator.trace") for worker in workers]
        strategy.coordinate(cell, task, threads, driven)
    elif cell["tf_mode"] == "graph":
        from breakdown.backends.tensorflow import graph

        graph.train(cell, task, node.rank, threads, recorder)
    else:
        from breakdown.backends.tensorflow import function

        function.train(cell, task, threads, recorder)


if __name__ == "__main__":
    leave(main(sys.argv[1:]))  # TensorFlow's servers have threads that never end
