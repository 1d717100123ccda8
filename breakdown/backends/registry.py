"""Backends by name. A backend's module, and with it its framework, is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from breakdown.backends.api import Backend, Home
from breakdown.errors import unknown_name

BACKENDS = {
    "single": "breakdown.backends.single:SingleBackend",
    "torch_ps": "breakdown.backends.torch_ps:TorchPsBackend",
    "mxnet": "breakdown.backends.mxnet.backend:MxnetBackend",
    "tensorflow": "breakdown.backends.tensorflow.backend:TensorflowBackend",
}


TRACERS = {
    "mxnet": "breakdown.backends.mxnet.backend:tracing",
}
"""Frameworks whose users' own programs can be recorded."""

Tracer = Callable[[Home, Path, int], Mapping[str, str]]
"""(home, folder for the traces, warm-up steps) -> the variables that make a command and all that it starts record."""


def tracer(framework: str) -> Tracer:
    """Raises `ConfigError` listing the known names."""
    if framework not in TRACERS:
        raise unknown_name("framework", framework, TRACERS)
    module, _, function = TRACERS[framework].partition(":")
    return cast(Tracer, getattr(importlib.import_module(module), function))


def backend(name: str) -> Backend:
    """Raises `ConfigError` listing the known names."""
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS)
    module, _, class_name = BACKENDS[name].partition(":")
    return cast(Backend, getattr(importlib.import_module(module), class_name)())
