"""What asks the tool to end, and the watching of a user's processes: real signals, real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from support.signals import defaults

from breakdown.launch import guardian, signals
from breakdown.launch.watch import Ended, Watch


def test_a_signal_raises_and_its_earlier_handler_comes_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(signals.Interrupted) as raised, signals.raising():
        signal.raise_signal(signal.SIGTERM)
    assert raised.value.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_must_not_be_left_half_done_is_done_first() -> None:
    done = []

    def work() -> None:
        with defaults(signal.SIGHUP), signals.raising(), signals.held():
            signal.raise_signal(signal.SIGHUP)
            done.append(True)

    with pytest.raises(signals.Interrupted):
        work()
    assert done


def test_noted_signals_wake_and_do_not_raise() -> None:
    import select

    with defaults(signal.SIGHUP), signals.noted() as asked:
        os.kill(os.getpid(), signal.SIGHUP)
        assert select.select([asked.fileno()], [], [], 5)[0]
        asked.calm()
        assert asked.by == [signal.SIGHUP]


def test_what_is_ignored_at_the_start_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.raising(), signals.noted() as asked:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not asked.by
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_end_of_a_process_that_another_started_is_seen() -> None:
    mark = f"{os.getpid()}-watch"
    code = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
    code += "print(p.pid, flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "TEST_MARK": mark}, stdout=subprocess.PIPE, stdin=subprocess.PIPE
    )
    assert process.stdout is not None
    other = int(process.stdout.readline())
    watch, (wakes, woken_by) = Watch("TEST_MARK", mark), os.pipe()
    watch.look()
    assert watch.running == {process.pid, other}
    os.kill(other, signal.SIGKILL)  # its parent does not wait for it yet
    found: list[Ended] = []
    deadline = time.monotonic() + 10
    while not found and time.monotonic() < deadline:
        found = watch.wait(0.2, wakes)
    assert [(one.pid, one.code) for one in found] == [(other, -signal.SIGKILL)]
    process.communicate(b"\n", timeout=10)
    watch.close()
    os.close(wakes)
    os.close(woken_by)


@pytest.mark.parametrize("code", ["", "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "], ids=["", "deaf"])
def test_the_guardian_ends_what_has_the_mark_once_its_pipe_closes(code: str) -> None:
    mark = f"{os.getpid()}-guardian"
    kept_open, writes = os.pipe()
    argv = [sys.executable, "-I", "-S", guardian.__file__, "TEST_MARK", mark]
    command = [sys.executable, "-c", f"{code}print('up', flush=True); input()"]
    env = {**os.environ, "TEST_MARK": mark}
    child = subprocess.Popen(command, env=env, stdin=kept_open, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    try:
        with subprocess.Popen(argv, stdin=subprocess.PIPE) as guard:
            assert guard.stdin is not None
            assert child.stdout.readline() == "up\n"
            guard.stdin.close()
            assert guard.wait(10) == 0  # as promised: it gives up after `guardian.GIVE_UP_S`
        assert child.wait(10) == (-signal.SIGKILL if code else -signal.SIGTERM)
    finally:
        child.kill()
        child.communicate()
        os.close(kept_open)
        os.close(writes)
