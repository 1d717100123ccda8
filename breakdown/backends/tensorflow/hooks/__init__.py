"""Hooks for a user's own TensorFlow program: who the process is, where its steps begin and end, how many samples they have.

What TensorFlow does within a step is the native recorder's to tell. Everything here runs in the user's environment: standard
library, tensorflow where the program has imported it, and breakdown's errors, model, clock and record only.
"""

from __future__ import annotations

import atexit
from typing import Any, Callable, List, Tuple

from breakdown.backends import injection
from breakdown.backends.tensorflow import tracing
from breakdown.backends.tensorflow.hooks import coordinator, functions, keras, servers, sessions
from breakdown.backends.tensorflow.hooks.program import Program
from breakdown.record import marker

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
    atexit.register(program.close)
    problem = tracing.load(injection.traces(), run=0)
    if problem is not None:
        program.warn(problem)
    marker.listen(program.marks_step)
    for what, install in _HOOKS:
        try:
            install(program)
        except (ImportError, AttributeError) as error:
            program.warn(f"TensorFlow {tensorflow.__version__} is not as expected, so {what} are not followed: {error}")
