"""MXNet's environment, for tests that start real processes of it."""

from __future__ import annotations

from support.homes import home, run_in

from breakdown.launch.environments import Environment


def mxnet_home() -> Environment:
    """Skips the test, with the reason, where there is none."""
    return home("mxnet")


def run_there(code: str, **env: str) -> str:
    """What a program prints in MXNet's environment."""
    return run_in(mxnet_home(), code, **{"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", **env})
