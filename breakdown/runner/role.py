"""The entry of every role process: `python -m breakdown.runner.role SPEC.json`. Runs one role of one repetition.

Exit codes: 0 done; 1 failed, with the reason on stderr (which is the log); 143 ended by SIGTERM, after flushing the trace.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from breakdown.backends.api import RoleContext
from breakdown.config.cell import Cell
from breakdown.errors import BreakdownError, RunError
from breakdown.model.identity import Node, Role
from breakdown.record.api import Recorder
from breakdown.record.null import NullRecorder
from breakdown.record.recorder import FileRecorder
from breakdown.runner.implementation import backend


def main(arguments: list[str]) -> int:
    """Runs the role that the spec names, and closes its trace in all cases."""
    trace = _Trace()
    trace.close_on_sigterm()
    spec_path = Path(arguments[0])
    code = 1
    try:
        _run(_read(spec_path), trace)
        code = 0
    except BreakdownError as error:
        _say(f"{spec_path.stem}: {error}")
    except Exception:
        with suppress(OSError):
            traceback.print_exc()
    try:
        trace.close()
    except BreakdownError as error:
        _say(f"{spec_path.stem}: {error}")
        code = 1
    return code


def _run(spec: dict[str, Any], trace: _Trace) -> None:
    cell = Cell(**spec["cell"])
    node = Node(Role[spec["role"].upper()], spec["rank"])
    recorder: Recorder = FileRecorder(spec["trace"], spec["run"], node) if cell.record else NullRecorder()
    trace.recorder = recorder
    implementation = backend(cell.backend)
    torch = sys.modules.get("torch")
    if torch is not None:  # OMP_NUM_THREADS says the same to what is loaded later
        torch.set_num_threads(spec["threads"])
    implementation.run_role(RoleContext(cell, spec["run"], node, spec["rendezvous"], spec["token"], recorder))


def _read(path: Path) -> dict[str, Any]:
    try:
        spec: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read the spec {path}: {error}") from error
    return spec


class _Trace:
    """The recorder, once there is one. Closed once, by the main thread or by the one that waits for SIGTERM."""

    def __init__(self) -> None:
        self.recorder: Recorder | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            if self.recorder is not None:
                self.recorder.close()
                self.recorder = None

    def close_on_sigterm(self) -> None:
        """A thread of its own takes the signal: it works while the main thread is deep in native code.

        Call it before any other thread is started, so that all inherit the mask.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=self._wait, name="sigterm", daemon=True).start()

    def _wait(self) -> None:
        signal.sigwait({signal.SIGTERM})
        try:
            self.close()
        except BreakdownError as error:
            _say(str(error))
        finally:
            _exit(128 + signal.SIGTERM)


def _say(text: str) -> None:
    with suppress(OSError):  # the log's disk may be full: the exit code still tells
        print(text, file=sys.stderr, flush=True)


def _exit(code: int) -> NoReturn:
    """Without waiting for threads that a failed backend may have left blocked on a peer."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    _exit(main(sys.argv[1:]))
