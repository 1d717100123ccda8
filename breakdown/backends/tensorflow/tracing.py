"""The seam between a role's training and the tracing of what TensorFlow does within a step.

Every role calls `start` once TensorFlow is imported, and `stop` once it has no work left; a process of a user's own command,
of which nobody knows yet who it is, `load`, and `identify` as soon as it is known. A worker (with
ParameterServerStrategy the coordinator, for the worker that it drives) tells the number of each step by `step` as it begins.
The tracing itself is native: `native/`, compiled into the environment, sees TensorFlow's own threads.
Where only every n-th step is traced, TensorFlow's activity is recorded in those alone, in all roles; messages always are.
Nothing here raises into the training. Runs in TensorFlow's environment: standard library, tensorflow, and breakdown's
errors, model, clock and record only.
"""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import asdict, dataclass
from typing import Dict, Optional

from breakdown.model.identity import Node
from breakdown.record.api import STEPS_NOTE, Recorder

LIBRARY_VARIABLE = "BREAKDOWN_NATIVE_LIBRARY"
"""Names the compiled recorder where it does not lie in this interpreter's own environment."""

UNKNOWN_ROLE = -1


@dataclass(frozen=True)
class Steps:
    """Which steps of each worker are traced: `first`, and then every n-th."""

    every: int = 1
    first: int = 0

    def __contains__(self, step: int) -> bool:
        return step >= self.first and (step - self.first) % self.every == 0


_library: Optional[ctypes.CDLL] = None
_steps = Steps()


def start(node: Node, run: int, folder: str, recorder: Recorder, threads: int = 0, steps: Steps = Steps()) -> None:
    """Tracing begins in this process.

    `folder`: of the run, for the files of traces; `recorder`: the process's own, for notes; `threads`: how many compute
    inside an operation, 0 where that is not known. With more than one an operation's processor time is not measured.
    """
    problem = load(folder, run, int(node.role), node.rank)
    if problem is not None or _library is None:
        recorder.note("warning", problem)
        return
    if threads == 1:
        _library.breakdown_measure_cpu_time()
    rule = only(steps, folder)
    if rule is not None:
        recorder.note(STEPS_NOTE, rule)


def load(folder: str, run: int, role: int = UNKNOWN_ROLE, rank: int = 0) -> Optional[str]:
    """Loads the native recorder, which begins to trace. What is wrong where it cannot be loaded, else None."""
    global _library
    import tensorflow as tf  # its libraries must be loaded before their calls can be redirected

    path = os.environ.get(LIBRARY_VARIABLE, os.path.join(sys.prefix, "lib", "breakdown_native.so"))
    try:
        library = ctypes.CDLL(path)
        library.breakdown_install.argtypes = [ctypes.c_char_p, ctypes.c_char_p, *[ctypes.c_int64] * 3]
        library.breakdown_identify.argtypes = [ctypes.c_int64] * 2
        library.breakdown_step.argtypes = [ctypes.c_int64]
        library.breakdown_drive.argtypes = [ctypes.c_int64] * 2
        library.breakdown_begin_step.argtypes = [ctypes.c_int64, ctypes.c_int]
        library.breakdown_only_traced_steps.argtypes = [ctypes.c_char_p]
        library.breakdown_install(tf.__version__.encode(), folder.encode(), run, role, rank)
        _library = library
    except (OSError, AttributeError) as error:
        return f"what TensorFlow does within a step is not recorded: {error}"
    return None


def only(steps: Steps, folder: str) -> Optional[Dict[str, int]]:
    """From here on these steps alone are traced. What each worker notes of that; None where all steps are traced."""
    global _steps
    _steps = steps
    if _library is None or steps.every <= 1 or _library.breakdown_only_traced_steps(folder.encode()) != 0:
        return None
    return asdict(steps)


def identify(node: Node) -> None:
    """This process turned out to be that node."""
    if _library is not None:
        _library.breakdown_identify(int(node.role), node.rank)


def step(number: int, worker: int, place: Optional[int] = None) -> None:
    """Step `number` of worker `worker` begins in the calling thread.

    `place`: which of the workers of this process it is, where its rank may not be known yet; else it goes by that.
    """
    if _library is not None:
        _library.breakdown_step(number)
        _library.breakdown_drive(number, worker)
        _library.breakdown_begin_step(worker if place is None else place, number in _steps)


def stop() -> None:
    """Tracing ends: what is still to be written is written. Called once, before the recorder is closed."""
    global _library
    library, _library = _library, None
    if library is not None:
        library.breakdown_activity(0)
        library.breakdown_stop()
