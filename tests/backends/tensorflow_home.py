"""TensorFlow's environment, for tests that start real processes of it."""

from __future__ import annotations

import os
import subprocess

import pytest

from breakdown.errors import EnvironmentMissingError
from breakdown.launch import environments
from breakdown.launch.environments import Environment


def tensorflow_home() -> Environment:
    """Skips the test, with the reason, where there is none."""
    try:
        return environments.find("tensorflow")
    except EnvironmentMissingError as error:
        pytest.skip(str(error))


def run_there(code: str, *arguments: str) -> str:
    """What a program prints in TensorFlow's environment."""
    home = tensorflow_home()
    variables = {**os.environ, "PYTHONPATH": str(home.home), "CUDA_VISIBLE_DEVICES": "-1"}
    command = [home.python, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=variables, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
