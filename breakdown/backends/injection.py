"""How a framework's hooks get into a user's own program, which knows nothing of this tool.

The command gets variables, and with them all that it starts: the folder `startup` stands first on PYTHONPATH, so Python runs
its `sitecustomize`, which calls `install`. That only waits until the program itself imports the framework.
Runs in the user's environment: standard library only.
"""

from __future__ import annotations

import functools
import importlib
import importlib.abc
import importlib.machinery
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Callable, Dict, Optional

FRAMEWORK_VARIABLE = "BREAKDOWN_FRAMEWORK"
"""Whose hooks are installed: a package of `breakdown.backends`, and the name that the program imports."""

TRACES_VARIABLE, WARMUP_VARIABLE = "BREAKDOWN_TRACE_DIR", "BREAKDOWN_WARMUP_STEPS"
"""The folder for the traces; how many of a worker's first steps do not count."""

EVERY_VARIABLE = "BREAKDOWN_TRACE_EVERY"
"""Behind the warm-up, what happens within a step is recorded in every n-th; set only for a framework that can do so."""


def variables(framework: str, packages: Path, traces: Path, warmup_steps: int) -> Dict[str, str]:
    """What makes a command and all that it starts install the hooks. `packages`: a folder to import this package from."""
    path = (str(Path(__file__).parent / "startup"), str(packages), os.environ.get("PYTHONPATH", ""))
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        FRAMEWORK_VARIABLE: framework,
        TRACES_VARIABLE: str(traces.absolute()),
        WARMUP_VARIABLE: str(warmup_steps),
    }


def install() -> None:
    """Waits for the import of the framework, where the process is to be recorded."""
    framework = os.environ.get(FRAMEWORK_VARIABLE)
    if framework and os.environ.get(TRACES_VARIABLE):
        after_import(framework, functools.partial(_hook, framework))


def traces() -> str:
    """The folder for the traces."""
    return os.environ[TRACES_VARIABLE]


def warmup_steps() -> int:
    """How many of the worker's first steps do not count."""
    return int(os.environ.get(WARMUP_VARIABLE, "0"))


def trace_every() -> int:
    """What happens within a step is recorded in every n-th of a worker, behind its warm-up."""
    return int(os.environ.get(EVERY_VARIABLE, "1"))


def after_import(name: str, then: Callable[[Any], None]) -> None:
    """Calls `then` with the module of this name, when it has been executed; at once where it is there already.

    What `then` raises is said, and goes no further: whatever happens there, the user's program must run.
    """
    module = sys.modules.get(name)
    if module is not None:
        _told(name, then, module)
    else:
        sys.meta_path.insert(0, _AfterImport(name, functools.partial(_told, name, then)))


def _hook(framework: str, module: Any) -> None:
    importlib.import_module(f"breakdown.backends.{framework}.hooks").hook(module)


def _told(name: str, then: Callable[[Any], None], module: Any) -> None:
    try:
        then(module)
    except Exception as error:
        with suppress(Exception):
            print(f"breakdown: what this process does with {name} is not, or not all, recorded: {error!r}", file=sys.stderr)


class _AfterImport(importlib.abc.MetaPathFinder):
    """Finds a module as the others do, and calls a function when it has been executed."""

    def __init__(self, name: str, then: Callable[[Any], None]) -> None:
        self._name = name
        self._then = then

    def find_spec(self, name: str, path: Any, target: Any = None) -> Optional[importlib.machinery.ModuleSpec]:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec
        execute, then = spec.loader.exec_module, self._then

        def exec_module(module: Any) -> None:
            execute(module)
            then(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
