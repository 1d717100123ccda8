"""What tests start has its default signals, also where pytest was started without them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

TRIED = """
import os, signal, subprocess, sys, time
from support.signals import ENDING, defaults, hand_down_defaults
number = signal.Signals(int(sys.argv[1]))
if number in ENDING:
    hand_down_defaults(*ENDING)
os.kill(os.getpid(), number)  # this process ignores it, as it was told to
sleep = ["sleep", "60"]
with defaults(number):
    other = subprocess.Popen(sleep)
other.send_signal(number)
assert other.wait() == -number, other.returncode
"""


@pytest.mark.parametrize("name", ["INT", "QUIT", "TERM", "HUP"])
def test_what_is_started_where_a_signal_is_ignored_heeds_it(name: str) -> None:
    number = signal.Signals[f"SIG{name}"]
    shell = ["sh", "-c", f'trap "" {name}; exec "$@"', "sh", sys.executable, "-c", TRIED, str(int(number))]
    done = subprocess.run(shell, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
