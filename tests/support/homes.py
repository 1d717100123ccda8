"""A framework's own environment, for tests that start real processes of it."""

from __future__ import annotations

import os
import subprocess

import pytest

from breakdown.errors import EnvironmentMissingError
from breakdown.launch import environments
from breakdown.launch.environments import Environment

TIMEOUT_S = 110
"""A framework's import alone takes most of a minute where the machine is busy with others."""


def home(framework: str) -> Environment:
    """Skips the test, with the reason, where there is none."""
    try:
        return environments.find(framework)
    except EnvironmentMissingError as error:
        pytest.skip(str(error))


def run_in(environment: Environment, code: str, *arguments: str, **env: str) -> str:
    """What a program prints that runs there, with this checkout of the package."""
    variables = {**os.environ, "PYTHONPATH": str(environment.home), **env}
    command = [environment.python, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
