"""The backend of a cell. A framework that is not installed is the user's to fix, so it is said as such."""

from __future__ import annotations

from breakdown.backends import registry
from breakdown.backends.api import Backend
from breakdown.errors import EnvironmentMissingError


def backend(name: str) -> Backend:
    """Raises `ConfigError` for an unknown name, `EnvironmentMissingError` when its framework cannot be imported."""
    try:
        return registry.backend(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "breakdown":
            raise
        raise EnvironmentMissingError(
            f"backend '{name}' needs {error.name}, which this Python does not have. "
            f"Install it (pip install {error.name}); `breakdown doctor` shows what works here."
        ) from error
