"""What holds for all tests."""

from __future__ import annotations

from support.signals import ENDING, hand_down_defaults


def pytest_configure() -> None:
    hand_down_defaults(*ENDING)
