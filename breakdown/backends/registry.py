"""Backends by name. A backend's module, and with it its framework, is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from breakdown.backends.api import Backend, Home
from breakdown.errors import unknown_name

BACKENDS = {
    "single": "breakdown.backends.single:SingleBackend",
    "torch_ps": "breakdown.backends.torch_ps:TorchPsBackend",
    "mxnet": "breakdown.backends.mxnet.backend:MxnetBackend",
    "tensorflow": "breakdown.backends.tensorflow.backend:TensorflowBackend",
}

Variables = Callable[[Home, Path, int], Mapping[str, str]]
"""(home, folder for the traces, warm-up steps) -> the variables that make a command and all that it starts record."""


@dataclass(frozen=True)
class Tracer:
    """How users' own programs of a framework are recorded.

    `way`: the fields of a cell that a program's notes tell, and what they are where it tells nothing.
    `steps`: what would have been a step, for who wonders why none was found.
    `all_steps`: why every step is recorded, "" where steps can be left out.
    """

    variables: Variables
    way: Mapping[str, str]
    steps: str
    all_steps: str


_TRACERS: Mapping[str, tuple[str, Mapping[str, str], str, str]] = {
    "mxnet": (
        "breakdown.backends.mxnet.backend:tracing",
        {"kvstore": "local"},
        "no worker called Trainer.step, Module.update or a kvstore's push twice",
        "its engine works on several steps at once, so there is no moment at which recording could pause, and it costs "
        "less than 2 %",
    ),
    "tensorflow": (
        "breakdown.backends.tensorflow.backend:tracing",
        {"tf_mode": "local", "consistency": ""},
        "no main thread ran a session or a tf.function that updates variables by gradients, Keras fitted nothing, and no "
        "coordinator scheduled such a function",
        "",
    ),
}
"""Frameworks whose users' own programs can be recorded."""


def tracer(framework: str) -> Tracer:
    """Raises `ConfigError` listing the known names."""
    if framework not in _TRACERS:
        raise unknown_name("framework", framework, _TRACERS)
    variables, way, steps, all_steps = _TRACERS[framework]
    return Tracer(cast(Variables, _load(variables)), way, steps, all_steps)


def backend(name: str) -> Backend:
    """Raises `ConfigError` listing the known names."""
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS)
    return cast(Backend, _load(BACKENDS[name])())


@cache
def _load(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    return cast(Callable[..., Any], getattr(importlib.import_module(module), name))
