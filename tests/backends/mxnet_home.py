"""MXNet's environment, for tests that start real processes of it."""

from __future__ import annotations

import os
import subprocess

import pytest

from breakdown.errors import EnvironmentMissingError
from breakdown.launch import environments
from breakdown.launch.environments import Environment


def mxnet_home() -> Environment:
    """Skips the test, with the reason, where there is none."""
    try:
        return environments.find("mxnet")
    except EnvironmentMissingError as error:
        pytest.skip(str(error))


def run_there(code: str, **env: str) -> str:
    """What a program prints in MXNet's environment."""
    home = mxnet_home()
    variables = {**os.environ, "PYTHONPATH": str(home.home), "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1", **env}
    done = subprocess.run([home.python, "-c", code], capture_output=True, text=True, timeout=60, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
