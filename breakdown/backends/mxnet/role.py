"""The entry of MXNet's role processes: `python -m breakdown.backends.mxnet.role SPEC.json`, in MXNet's environment.

Imports the standard library, mxnet, numpy, and breakdown's errors, model, clock and record. Exit codes as in
`breakdown.runner.role`: 0 done; 1 failed, with the reason on stderr; 143 ended by SIGTERM, after flushing the trace.
"""

from __future__ import annotations

import json
import sys
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, Dict, List

from breakdown.backends.mxnet import native_recorder
from breakdown.errors import BreakdownError, RunError
from breakdown.model.identity import Node, Role
from breakdown.record.api import Recorder
from breakdown.record.ending import Trace, leave, say
from breakdown.record.null import NullRecorder
from breakdown.record.recorder import FileRecorder


def main(arguments: List[str]) -> int:
    """Runs the role that the spec names. A failure ends the process at once, for MXNet would wait for its peers first."""
    path = Path(arguments[0])
    try:
        spec: Dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        say(f"cannot read the spec {path}: {error}")
        return 1
    if spec["role"] != Role.WORKER.label:
        import mxnet  # noqa: F401  # serves until all workers have left, then ends the process

        return 0
    trace = Trace(native_recorder.stop)
    trace.close_on_sigterm()
    try:
        _work(spec, trace)
        trace.close()
    except BreakdownError as error:
        say(f"{path.stem}: {error}")
        _give_up(trace)
    except Exception:
        with suppress(OSError):
            traceback.print_exc()
        _give_up(trace)
    return 0


def _work(spec: Dict[str, Any], trace: Trace) -> None:
    import mxnet as mx

    from breakdown.backends.mxnet.networks import build
    from breakdown.backends.mxnet.training import train

    cell, node = spec["cell"], Node(Role.WORKER, spec["rank"])
    recorder: Recorder = FileRecorder(spec["trace"], spec["run"], node) if cell["record"] else NullRecorder()
    trace.recorder = recorder
    store = None if cell["kvstore"] == "local" else mx.kv.create(cell["kvstore"])
    if store is not None and store.rank != node.rank:
        raise RunError(
            f"{node} became worker {store.rank} in MXNet: its port was taken by another program. Run it again (--resume)."
        )
    train(cell, build(cell["workload"], spec["workload_options"], cell["seed"]), store, recorder)


def _give_up(trace: Trace) -> None:
    with suppress(BreakdownError):
        trace.close()
    native_recorder.stop()
    leave(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
