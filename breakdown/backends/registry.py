"""Backends by name. A backend's module, and with it its framework, is imported when it is asked for."""

from __future__ import annotations

import importlib
from typing import cast

from breakdown.backends.api import Backend
from breakdown.errors import unknown_name

BACKENDS = {
    "single": "breakdown.backends.single:SingleBackend",
    "torch_ps": "breakdown.backends.torch_ps:TorchPsBackend",
}


def backend(name: str) -> Backend:
    """Raises `ConfigError` listing the known names."""
    if name not in BACKENDS:
        raise unknown_name("backend", name, BACKENDS)
    module, _, class_name = BACKENDS[name].partition(":")
    return cast(Backend, getattr(importlib.import_module(module), class_name)())
