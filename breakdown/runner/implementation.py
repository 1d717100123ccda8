"""The backend of a cell. A framework that is not installed is the user's to fix, so it is said as such."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

from breakdown.backends import registry
from breakdown.backends.api import Backend
from breakdown.errors import EnvironmentMissingError


def backend(name: str) -> Backend:
    """Raises `ConfigError` for an unknown name, `EnvironmentMissingError` when its framework is not there.

    The framework is looked for, not imported: that takes seconds, and only the roles need it.
    """
    found = registry.backend(name)
    if found.framework is not None and not _is_there(found.framework):
        raise EnvironmentMissingError(
            f"backend '{name}' needs {found.framework}, which this Python does not have. "
            f"Install it (pip install {found.framework}); `breakdown doctor` shows what works here."
        )
    return found


@cache
def _is_there(package: str) -> bool:
    return find_spec(package) is not None
