"""Hooks for a user's own TensorFlow program: who the process is, where its steps begin and end, how many samples they have.

What TensorFlow does within a step is the native recorder's to tell. Everything here runs in the user's environment: standard
library, tensorflow where the program has imported it, and breakdown's errors, model, clock and record only.
"""

from __future__ import annotations

from typing import Any, Callable, List, Tuple

from breakdown.backends import injection
from breakdown.backends.tensorflow import tracing
from breakdown.backends.tensorflow.hooks import coordinator, functions, keras, servers, sessions
from breakdown.backends.tensorflow.hooks.program import Program
from breakdown.record import marker
from breakdown.record.ending import at_the_end

_Install = Callable[[Program], None]

_HOOKS: List[Tuple[str, _Install]] = [
    ("servers", servers.install),
    ("sessions", sessions.install),
    ("functions and datasets", functions.install),
    ("the coordinator", coordinator.install),
    ("Keras", keras.install),
]


def hook(tensorflow: Any) -> None:
    """Hooks a program that has just imported tensorflow; what cannot be hooked in its version is said, and left out."""
    program = Program(injection.traces(), injection.warmup_steps())
    guarded = program.hooks.guarded
    at_the_end(guarded(program.close, "the program's end"), guarded(tracing.stop, "os._exit"))
    problem = tracing.load(injection.traces(), run=0)
    if problem is not None:
        program.warn(problem)
    program.traces_only(tracing.only(tracing.Steps(injection.trace_every(), injection.warmup_steps()), injection.traces()))
    marker.listen(program.hooks.guarded(program.marks_step, "a mark of a step"))
    for what, install in _HOOKS:
        try:
            install(program)
        except (ImportError, AttributeError) as error:
            program.warn(f"TensorFlow {tensorflow.__version__} is not as expected, so {what} are not followed: {error}")
