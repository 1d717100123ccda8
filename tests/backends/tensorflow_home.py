"""TensorFlow's environment, for tests that start real processes of it."""

from __future__ import annotations

from support.homes import home, run_in

from breakdown.launch.environments import Environment


def tensorflow_home() -> Environment:
    """Skips the test, with the reason, where there is none."""
    return home("tensorflow")


def run_there(code: str, *arguments: str) -> str:
    """What a program prints in TensorFlow's environment."""
    return run_in(tensorflow_home(), code, *arguments, CUDA_VISIBLE_DEVICES="-1")
