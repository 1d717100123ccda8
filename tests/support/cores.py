"""Processes and threads that share one core, so that each lacks it while the other runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_SPIN = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); print('spins', flush=True)\nwhile True: pass"


@contextmanager
def one_core() -> Iterator[int]:
    """This thread, and all that it starts meanwhile, on one core."""
    before = os.sched_getaffinity(0)
    core = min(before)
    os.sched_setaffinity(0, {core})
    try:
        yield core
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def busy_neighbour(core: int) -> Iterator[None]:
    """A process that keeps a core busy."""
    with subprocess.Popen([sys.executable, "-c", _SPIN, str(core)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"spins\n"
            yield
        finally:
            process.kill()
