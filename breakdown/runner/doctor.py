"""What works on this machine, found by trying it. Each check says what it saw and, where something is missing, the remedy.

Nothing outlives a check: the network namespace that is made is deleted, the process that is attached to is ended.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from breakdown.clock.clocks import now_ns
from breakdown.errors import EnvironmentMissingError
from breakdown.launch import environments, sampling
from breakdown.runner import machine

COMMAND_TIMEOUT_S = 30.0
"""Importing a framework from a cold disk takes 10 s; anything longer hangs."""

CLOCK_READS = 10_000
SLOW_CLOCK_NS = 1000
"""A clock that takes this long is read through the kernel (hpet, acpi_pm), not the processor (tsc: below 100 ns)."""


@dataclass(frozen=True)
class Check:
    """One thing that was tried. `ok` None: neither good nor bad. `remedy` is empty where there is nothing to do."""

    name: str
    ok: bool | None
    found: str
    remedy: str = ""


def checks() -> Iterator[Check]:
    """All checks, one by one, since some take seconds."""
    for check in _CHECKS:
        yield from check()


def _cores() -> Iterator[Check]:
    about = machine.describe()
    cores = about["cores"]
    yield Check(
        "cores",
        cores > 1,
        f"{cores}, {about['cpu_model']}",
        "" if cores > 1 else "workers and servers share one core: compare nothing with the single node here",
    )
    yield Check("memory", None, f"{about['memory_bytes'] / 2**30:.1f} GiB")
    yield Check("kernel", None, f"{about['system']} {about['kernel']}")


def _network() -> Iterator[Check]:
    root = os.geteuid() == 0
    as_root = "run as root: networks of a given rate are made of network namespaces"
    yield Check("root", root, "yes" if root else f"no, user {os.geteuid()}", "" if root else as_root)
    missing = [program for program in ("ip", "tc") if shutil.which(program) is None]
    if missing:
        yield Check("iproute2", False, f"{' and '.join(missing)} not found", "apt install iproute2")
        for name in ("network namespaces", "tbf (rate)", "netem (delay, loss)"):
            yield Check(name, False, "not tried: iproute2 is missing", "apt install iproute2")
        return
    yield Check("iproute2", True, _run(["ip", "-V"]).text)
    name = f"breakdown-doctor-{os.getpid()}"
    made = _run(["ip", "netns", "add", name])
    try:
        remedy = as_root if not root else "the kernel or the container forbids it: allow CAP_SYS_ADMIN and CAP_NET_ADMIN"
        works = "made one and deleted it"
        yield Check("network namespaces", made.ok, works if made.ok else made.text, "" if made.ok else remedy)
        for title, module, arguments in (
            ("tbf (rate)", "sch_tbf", ["tbf", "rate", "1gbit", "burst", "128kb", "latency", "50ms"]),
            ("netem (delay, loss)", "sch_netem", ["netem", "delay", "1ms"]),
        ):
            if not made.ok:
                yield Check(title, False, "not tried: no network namespace", remedy)
                continue
            tried = _run(["ip", "netns", "exec", name, "tc", "qdisc", "replace", "dev", "lo", "root", *arguments])
            needs = f"modprobe {module}, or a kernel that has it" if not tried.ok else ""
            yield Check(title, tried.ok, "set on a link" if tried.ok else tried.text, needs)
    finally:
        if made.ok:
            _run(["ip", "netns", "delete", name])


def _compilers() -> Iterator[Check]:
    for program in ("gcc", "g++", "make"):
        found = shutil.which(program)
        shown = _run([program, "--version"]).text if found else "not found"
        yield Check(program, found is not None, shown, "" if found else "apt install build-essential")


def _frameworks() -> Iterator[Check]:
    tried = _import(sys.executable, "torch")
    yield Check("torch", tried.ok, tried.text, "" if tried.ok else "pip install torch: backends single and torch_ps need it")
    for name in environments.RECIPES:
        yield _environment(name)


def _environment(name: str) -> Check:
    """A framework in an environment of its own: whether that is there, up to date, and imports."""
    try:
        home = environments.find(name)
    except EnvironmentMissingError as error:
        return Check(name, False, str(error).partition(" Make it:")[0], f"breakdown env create {name}")
    tried = _import(str(home.python), name)
    shown = f"{tried.text} in {home.path}"
    return Check(name, tried.ok, shown, "" if tried.ok else f"breakdown env create {name} --python {sys.executable}")


def _py_spy() -> Iterator[Check]:
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    try:
        setting = f"ptrace_scope {scope.read_text('utf-8').strip()}"
    except OSError:
        setting = "no ptrace_scope"
    program = sampling.program()
    if program is None:
        yield Check("py-spy", False, f"not installed, {setting}", "pip install py-spy")
        return
    with _sleeper() as pid:
        tried = _run([program, "dump", "--pid", str(pid)])
    shown = f"attached to a process, {setting}" if tried.ok else f"{tried.text}, {setting}"
    yield Check("py-spy", tried.ok, shown, "" if tried.ok else sampling.REMEDY)


def _clocks() -> Iterator[Check]:
    source = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    try:
        name = source.read_text("utf-8").strip()
    except OSError:
        name = "unknown source"
    begin = now_ns()
    for _ in range(CLOCK_READS):
        now_ns()
    cost = (now_ns() - begin) // CLOCK_READS
    resolution = time.get_clock_info("monotonic").resolution * 1e9
    fast = cost < SLOW_CLOCK_NS
    remedy = "" if fast else "a slow clock makes spans dear: boot with clocksource=tsc where the processor's is stable"
    yield Check("clock", fast, f"{name}, {cost} ns a reading, resolution {resolution:.0f} ns", remedy)


_CHECKS: Sequence[Callable[[], Iterator[Check]]] = (_cores, _network, _compilers, _frameworks, _py_spy, _clocks)


def _import(python: str, module: str) -> _Tried:
    return _run([python, "-W", "ignore", "-c", f"import {module}; print({module}.__version__)"])


@dataclass(frozen=True)
class _Tried:
    ok: bool
    text: str  # what it said: its output where it went well, else its complaint


def _run(command: list[str]) -> _Tried:
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=COMMAND_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _Tried(False, str(error))
    ok = done.returncode == 0
    lines = ((done.stdout if ok else done.stderr) or done.stdout or done.stderr).strip().splitlines()
    return _Tried(ok, (lines[0] if ok else lines[-1]) if lines else "")


@contextmanager
def _sleeper() -> Iterator[int]:
    """A Python process to attach to, once its interpreter is up."""
    script = "import sys, time; print('up', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            yield child.pid
        finally:
            child.kill()
