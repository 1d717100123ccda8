"""The local launcher with real processes: how runs end, and that nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from breakdown.errors import RunError
from breakdown.launch import local
from breakdown.launch.outcome import ProcessOutcome, Stop, judge, tail
from breakdown.launch.plan import ProcessPlan, RunPlan, describe
from breakdown.model.identity import Node, Role

SLEEPS = "import time; print('up', flush=True); time.sleep(60)"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {SLEEPS}"
END_S = 20
"""For what happens at once, or never: it ends a test that hangs, and is far below the minute for which `SLEEPS` sleeps."""

WITH_CHILD = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid)"


def plan(folder: Path, *scripts: str, timeout_s: float = 30, **env: str) -> RunPlan:
    """Worker i runs the i-th script."""
    processes = tuple(
        ProcessPlan(
            Node(Role.WORKER, rank), (sys.executable, "-c", script), env, None, folder / "log" / f"worker-{rank}.log"
        )
        for rank, script in enumerate(scripts)
    )
    return RunPlan("cell", 0, processes, timeout_s)


def once_up(folder: Path, rank: int, then: str) -> str:
    """A script that goes on once worker `rank` is up."""
    log = folder / "log" / f"worker-{rank}.log"
    return f"import sys, time\nwhile 'up' not in open({str(log)!r}).read():\n    time.sleep(0.02)\n{then}"


def alive(pid: int) -> bool:
    """Whether a process still runs; a zombie that nobody has reaped yet does not."""
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def gone(pid: int) -> bool:
    deadline = time.monotonic() + END_S
    while alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


@pytest.fixture(autouse=True)
def no_process_left() -> Iterator[None]:
    yield
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [child for child in children if alive(int(child))]


def test_all_end_well(tmp_path: Path) -> None:
    script = "import os, sys; print('and', file=sys.stderr); print(os.environ['GREETING'], os.getpid() == os.getsid(0))"
    outcome = local.run(plan(tmp_path, script, script, GREETING="hello"))
    assert outcome.error is None
    assert outcome.log is None
    assert [process.exit_code for process in outcome.processes] == [0, 0]
    assert outcome.processes[1].log.read_text() == "and\nhello True\n"
    assert 0 < outcome.processes[0].duration_s <= outcome.duration_s


def test_cores_are_pinned(tmp_path: Path) -> None:
    core = max(os.sched_getaffinity(0))
    script = "import os; print(sorted(os.sched_getaffinity(0)))"
    free = plan(tmp_path, script)
    process = free.processes[0]
    pinned = ProcessPlan(process.node, process.argv, process.env, (core,), process.log)
    assert local.run(RunPlan("cell", 0, (pinned,), 30)).error is None
    assert process.log.read_text() == f"[{core}]\n"
    assert local.run(free).error is None
    assert process.log.read_text() == f"{sorted(os.sched_getaffinity(0))}\n"


SERVES = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print('up', flush=True)
signal.sigwait({signal.SIGTERM})
print('told to end')
"""


def test_who_serves_is_ended_once_nobody_is_left_to_be_served(tmp_path: Path) -> None:
    of_two = plan(tmp_path, once_up(tmp_path, 1, "print('done')"), SERVES)
    worker, server = of_two.processes
    outcome = local.run(replace(of_two, processes=(replace(server, serves=True), worker)))
    assert outcome.error is None
    assert [process.exit_code for process in outcome.processes] == [0, 0]
    assert outcome.processes[0].log.read_text() == "up\ntold to end\n"
    assert outcome.processes[1].log.read_text() == "done\n"


def test_who_serves_and_fails_ends_the_run(tmp_path: Path) -> None:
    of_two = plan(tmp_path, SLEEPS, once_up(tmp_path, 0, "raise SystemExit(3)"))
    worker, server = of_two.processes
    outcome = local.run(replace(of_two, processes=(worker, replace(server, serves=True))))
    assert outcome.error is not None
    assert "worker-1 ended with exit code 3" in outcome.error


def test_the_first_failure_ends_the_others_and_is_named(tmp_path: Path) -> None:
    fails = once_up(tmp_path, 0, "sys.exit('the disk is made of cheese')")
    outcome = local.run(plan(tmp_path, SLEEPS, fails, SLEEPS))
    log = tmp_path / "log" / "worker-1.log"
    assert [process.exit_code for process in outcome.processes] == [-signal.SIGTERM, 1, -signal.SIGTERM]
    assert outcome.log == log
    assert outcome.error is not None
    assert outcome.error.startswith("worker-1 ended with exit code 1 after ")
    assert outcome.error.endswith(f"Log: {log}\nLast lines of {log}:\n  | the disk is made of cheese")
    assert [process.ended_by_launcher for process in outcome.processes] == [True, False, True]


def test_a_killed_process_is_named_with_its_signal(tmp_path: Path) -> None:
    outcome = local.run(plan(tmp_path, SLEEPS, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    assert outcome.error is not None
    assert outcome.error.startswith("worker-1 was killed by SIGKILL after ")


@pytest.mark.parametrize(
    ("code", "how"), [(-9, "was killed by SIGKILL"), (143, "was killed by SIGTERM"), (-99, "was killed by signal 99")]
)
def test_a_killed_process_is_to_blame_whoever_failed_before_it_was_seen(code: int, how: str) -> None:
    log = Path("no.log")
    first = ProcessOutcome(Node(Role.WORKER, 0), 1, 0.1, log, False)
    killed = ProcessOutcome(Node(Role.SERVER, 0), code, 0.2, log, False)
    error = judge((first, killed), 1.0, None).error
    assert error is not None
    assert error.startswith(f"server-0 {how} after")
    assert error.endswith("after 0.2 s. Log: no.log\nThen: worker-0 (ended with exit code 1).")


def test_a_process_that_ignores_sigterm_is_killed_in_time(tmp_path: Path) -> None:
    outcome = local.run(plan(tmp_path, DEAF, once_up(tmp_path, 0, "raise SystemExit(3)")))
    deaf, failed = outcome.processes
    assert local.GRACE_S <= deaf.end_ns / 1e9 - failed.end_ns / 1e9 < 10  # README's promise: twice the grace
    assert [process.exit_code for process in outcome.processes] == [-signal.SIGKILL, 3]
    assert outcome.error is not None
    assert outcome.error.startswith("worker-1 ended with exit code 3")


def test_the_time_limit(tmp_path: Path) -> None:
    outcome = local.run(plan(tmp_path, SLEEPS, "pass", timeout_s=1))
    log = tmp_path / "log" / "worker-0.log"
    assert outcome.duration_s >= 1
    assert outcome.processes[0].exit_code == -signal.SIGTERM
    assert outcome.log == log
    assert outcome.error is not None
    assert outcome.error.startswith(f"still running after 1 s, ended: worker-0 (log: {log}). Raise timeout_s")


def test_the_guard_ends_a_run_with_its_reason(tmp_path: Path) -> None:
    stop, log = Stop("the moon is full", "Wait a week."), tmp_path / "log" / "worker-0.log"
    outcome = local.run(plan(tmp_path, SLEEPS), lambda: stop if log.read_text() else None)
    assert outcome.processes[0].exit_code == -signal.SIGTERM
    assert outcome.error is not None
    assert outcome.error.startswith(f"the moon is full, ended: worker-0 (log: {tmp_path}/log/worker-0.log). Wait a week.")


def test_the_guard_of_a_run_that_ends_in_time_is_not_to_blame(tmp_path: Path) -> None:
    finished = ProcessOutcome(Node(Role.WORKER, 0), 0, 0.1, tmp_path, False)
    assert judge((finished,), 0.1, Stop("the moon is full", "")).error is None


def test_what_a_process_leaves_behind_is_ended_too(tmp_path: Path) -> None:
    assert local.run(plan(tmp_path, WITH_CHILD)).error is None
    assert gone(int((tmp_path / "log" / "worker-0.log").read_text().split()[0]))


def test_a_command_that_is_not_there(tmp_path: Path) -> None:
    process = ProcessPlan(Node(Role.SERVER, 3), ("/no/such/program",), {}, None, tmp_path / "server-3.log")
    outcome = local.run(RunPlan("cell", 0, (process,), 30))
    assert outcome.error is not None
    assert "server-3 ended with exit code 1" in outcome.error
    assert "cannot start /no/such/program: No such file or directory" in outcome.error


def test_a_log_that_cannot_be_written_ends_what_was_started(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    good = plan(tmp_path, SLEEPS).processes[0]
    bad = ProcessPlan(Node(Role.SERVER, 0), good.argv, {}, None, tmp_path / "file" / "server-0.log")
    with pytest.raises(RunError, match=r"server-0 cannot be started: File exists\. Log: .*server-0\.log"):
        local.run(RunPlan("cell", 0, (good, bad), 30))


LAUNCHER = """
import sys
from pathlib import Path
from breakdown.launch import local
from breakdown.launch.plan import ProcessPlan, RunPlan
from breakdown.model.identity import Node, Role

folder = Path(sys.argv[1])
script = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
command = (sys.executable, "-c", script)
processes = [ProcessPlan(Node(Role.WORKER, rank), command, {}, None, folder / f"{rank}.log") for rank in range(2)]
try:
    local.run(RunPlan("cell", 0, tuple(processes), 60))
except KeyboardInterrupt:
    print("interrupted")
"""


def start_launcher(folder: Path) -> tuple[subprocess.Popen[str], list[int]]:
    """A launcher in a process of its own, and the ids of the two processes that it started."""
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(folder)], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + END_S
    pids: list[int] = []
    while len(pids) < 2 and time.monotonic() < deadline:
        texts = [log.read_text() for log in folder.glob("*.log")]
        pids = [int(text) for text in texts if text.endswith("\n")]
        time.sleep(0.02)
    assert len(pids) == 2
    return launcher, pids


def test_ctrl_c_ends_the_processes(tmp_path: Path) -> None:
    launcher, pids = start_launcher(tmp_path)
    launcher.send_signal(signal.SIGINT)
    out, _ = launcher.communicate(timeout=END_S)
    assert out == "interrupted\n"
    assert not any(alive(pid) for pid in pids)


def test_the_processes_end_when_the_launcher_is_killed(tmp_path: Path) -> None:
    launcher, pids = start_launcher(tmp_path)
    launcher.kill()
    launcher.communicate(timeout=END_S)
    assert all(gone(pid) for pid in pids)


def test_tail_reads_the_end_only(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert tail(log) == []
    log.write_bytes(b"x" * 100_000 + b"\n\nlast but one\n\xff last\n\n")
    assert tail(log, 2) == ["last but one", "\ufffd last"]


def test_a_plan_is_printable(tmp_path: Path) -> None:
    process = ProcessPlan(Node(Role.WORKER, 1), ("python", "-c", "a b"), {"B": "2", "A": "1"}, (0, 3), Path("w.log"))
    free = ProcessPlan(Node(Role.SERVER, 0), ("serve",), {}, None, Path("s.log"))
    assert describe(RunPlan("torch_ps-1s1w", 2, (process, free), 60.0, ("roles share cores",))) == (
        "torch_ps-1s1w, repetition 2, at most 60 s\n"
        "  worker-1     cores 0,3    log w.log\n"
        "    A=1 B=2 python -c 'a b'\n"
        "  server-0     not pinned   log s.log\n"
        "     serve\n"
        "  note: roles share cores"
    )
