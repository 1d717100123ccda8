"""What recording costs MXNet's training: one job that records in every second turn, and in the others does not.

    python benchmarks/mxnet_overhead.py [--pairs 60] [--seconds 0.6] [--only dist_sync] [--out FILE.json]

The quickstart's MLP, on a single node and with one server and two workers, started as `breakdown run` starts it. Its real
training loop runs in turns, some steps back to back until all that they handed to the engine is done; between two turns all
roles rest, and their recorders, the native one and Python's, are switched on or off. Two jobs, one of them with
`record: false`, would not do: jobs of one and the same cell differ from each other by several percent for as long as they
live. What is left of the recorder while it is off is a jump and the reading of a flag where each record would be.

A sample is a turn. Its time is from the first worker's start to the last one's end, its processor time that of all roles,
user and system. The turns end with a rest in which the recorders write what they hold, and that processor time counts too.
Every pair of turns changes what goes first. An overhead is the median over pairs of the paired ratio, minus one, with a
bootstrap 95 % interval. What a record costs is what the native recorder of each process measures of itself.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # at run time only where they are needed: MXNet's environment has none of them
    from collections.abc import Mapping

    from common import Claim

    from breakdown.config.cell import Cell

MOST_NS, MOST_SHARE = 1000, 0.02
STEP_MS = {"local": 30, "dist_sync": 60}
"""About: how many steps fill a turn."""

START_TIMEOUT_S = 60
REST_S = 0.6
"""Longer than the recorders wait before they write."""

CPU_CLOCK = 2  # of a process, all its threads: Linux's CPUCLOCK_SCHED


# --- a role (runs in MXNet's environment: standard library, mxnet, and breakdown's injected rooms) --------------------


def switch(word: str) -> bool:
    """Switches this process's native recorder "on" or "off", and says whether Python's is to record."""
    on = word.strip() == "on"
    ctypes.CDLL(None).breakdown_pause(int(not on))
    return on


class Turns:
    """A worker's recorder, and that of its main thread. At the end of each turn it waits for the word for the next one."""

    def __init__(self, inner: Any, steps_a_turn: int, turns: int) -> None:
        self.inner = inner
        self.intern, self.note = inner.intern, inner.note
        self.steps_a_turn, self.turns = steps_a_turn, turns
        self.on = True
        self.start_ns = time.monotonic_ns()

    def thread(self, name: str) -> Turns:
        self.main = self.inner.thread(name)
        return self

    def span(self, *row: int) -> None:
        if self.on:
            self.main.span(*row)

    def step(self, step: int, start_ns: int, end_ns: int, samples: int, warm_up: bool, loss: float) -> None:
        import mxnet as mx

        if self.on:
            self.inner.step(step, start_ns, end_ns, samples, warm_up, loss)
        turn, place = divmod(step + 1, self.steps_a_turn)
        if place:
            return
        mx.nd.waitall()
        print(self.start_ns, time.monotonic_ns(), flush=True)
        if turn < self.turns:
            self.on = switch(sys.stdin.readline())
            print("switched", flush=True)
            sys.stdin.readline()
        self.start_ns = time.monotonic_ns()


def play_role(spec_path: Path, turns: int) -> int:
    """What `breakdown.backends.mxnet.role` does, but in turns."""
    from breakdown.backends.mxnet import role

    spec = json.loads(spec_path.read_text())
    if spec["role"] != "worker":
        Thread(target=obey, daemon=True).start()
        return role.main([str(spec_path)])
    import mxnet as mx

    from breakdown.backends.mxnet.networks import build
    from breakdown.backends.mxnet.training import train
    from breakdown.model.identity import Node, Role
    from breakdown.record.recorder import FileRecorder

    cell = spec["cell"]
    recorder = FileRecorder(spec["trace"], spec["run"], Node(Role.WORKER, spec["rank"]))
    store = None if cell["kvstore"] == "local" else mx.kv.create(cell["kvstore"])
    task = build(cell["workload"], spec["workload_options"], cell["seed"])
    train(cell, task, store, Turns(recorder, cell["warmup_steps"], turns))  # type: ignore[arg-type]
    recorder.close()
    return 0


def obey() -> None:
    """In scheduler and server, whose main thread is MXNet's."""
    for line in sys.stdin:
        switch(line)
        print("switched", flush=True)


# --- the job ---------------------------------------------------------------------------------------------------------


class Job:
    """The processes of one cell. The first turn is its warm-up."""

    def __init__(self, cell: Cell, turns: int, folder: Path) -> None:
        from breakdown.launch import child
        from breakdown.model.identity import Role
        from breakdown.runner.plan import prepare, write_specs
        from breakdown.store.folder import CellFolder

        self.raw = CellFolder(folder).raw_dir(0)
        self.steps_a_turn = cell.warmup_steps
        self.time_ms: dict[str, list[float]] = {"on": [], "off": []}
        self.cpu_ms: dict[str, list[float]] = {"on": [], "off": []}
        prepared = prepare(cell, "overhead", 0, CellFolder(folder), sorted(os.sched_getaffinity(0)))
        write_specs(prepared.specs)
        self._processes: list[subprocess.Popen[str]] = []
        self._workers: list[subprocess.Popen[str]] = []
        for one in prepared.plan.processes:
            role = (one.argv[0], os.path.abspath(__file__), "--role", one.argv[-1], "--pairs", str(turns))
            cores = "-" if one.cores is None else ",".join(map(str, one.cores))
            started = subprocess.Popen(
                [sys.executable, "-I", "-S", str(Path(child.__file__)), str(os.getpid()), cores, *role],
                env={**os.environ, **one.env},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._processes.append(started)
            if one.node.role is Role.WORKER:
                self._workers.append(started)

    def warm_up(self) -> None:
        """The first turn."""
        for worker in self._workers:
            self._hear(worker)

    def turn(self, mode: str) -> None:
        """One sample."""
        for process in self._processes:
            self._say(process, mode)
        for process in self._processes:
            self._hear(process)
        before_s = self._cpu_s()
        for worker in self._workers:
            self._say(worker, "go")
        times = [tuple(map(int, self._hear(worker).split())) for worker in self._workers]
        time.sleep(REST_S)
        self.cpu_ms[mode].append((self._cpu_s() - before_s) / self.steps_a_turn * 1e3)
        elapsed_ns = max(end for _, end in times) - min(start for start, _ in times)
        self.time_ms[mode].append(elapsed_ns / self.steps_a_turn / 1e6)

    def end(self) -> None:
        """All roles leave by themselves."""
        for process in self._processes:
            if process.wait(START_TIMEOUT_S):
                raise SystemExit(f"{process.args} ended with exit code {process.returncode}")

    def kill(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                assert stream is not None
                stream.close()

    def _cpu_s(self) -> float:
        return sum(time.clock_gettime(~process.pid << 3 | CPU_CLOCK) for process in self._processes)

    @staticmethod
    def _say(process: subprocess.Popen[str], word: str) -> None:
        assert process.stdin is not None
        process.stdin.write(f"{word}\n")
        process.stdin.flush()

    @staticmethod
    def _hear(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise SystemExit(f"{process.args} ended early, with exit code {process.wait(START_TIMEOUT_S)}")
        return line


def measure(cell: Cell, pairs: int) -> tuple[Job, dict[str, Any]]:
    """A job with its samples, and what it recorded."""
    with ExitStack() as stack:
        job = Job(cell, 1 + 2 * pairs, Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.callback(job.kill)
        job.warm_up()
        for number in range(pairs):
            for mode in ("off", "on") if number % 2 else ("on", "off"):
                job.turn(mode)
        job.end()
        return job, recorded(job.raw, job.steps_a_turn * (1 + pairs))


def recorded(raw: Path, steps: int) -> dict[str, Any]:
    """By process: records a step in which it recorded, and what one costs it."""
    from breakdown.record.tracefile import read

    found: dict[str, Any] = {}
    for path in sorted(raw.glob("*.trace")):
        trace = read(str(path))
        count = sum(block.count for block in trace.blocks)
        cost = trace.meta["cost_ns_per_span"]
        found[path.name.removesuffix(".trace")] = {"records_a_step": round(count / steps, 1), "ns_a_record": cost}
    return found


# --- what is claimed -------------------------------------------------------------------------------------------------


def cells() -> dict[str, Cell]:
    from breakdown.config.cell import Cell

    common: Mapping[str, Any] = {"backend": "mxnet", "workload": "mlp", "batch_size": 64, "cores_per_worker": 1}
    return {
        "local": Cell(**common, kvstore="local"),
        "dist_sync": Cell(**common, kvstore="dist_sync", servers=1, workers=2),
    }


def claims_of(name: str, job: Job) -> list[Claim]:
    from common import Claim, measured

    found = []
    for what, samples in (("time", job.time_ms), ("processor time of all roles", job.cpu_ms)):
        ratios = [100 * (on / off - 1) for on, off in zip(samples["on"], samples["off"], strict=True)]
        about = f"recording on against off, mxnet {name}, {what}, {statistics.median(samples['off']):.1f} ms a step"
        found.append(Claim(about, "%", measured(ratios), at_most=100 * MOST_SHARE))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.6, help="of a turn, about")
    parser.add_argument("--only", default="", choices=["", *STEP_MS])
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/mxnet_overhead.json")
    parser.add_argument("--role", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role is not None:
        return play_role(options.role, options.pairs)
    from dataclasses import asdict, replace

    from common import Claim, finish, load_average, measured

    load_before = load_average()
    claims: list[Claim] = []
    detail: dict[str, Any] = {}
    costs: list[float] = []
    for name, cell in cells().items():
        if options.only not in ("", name):
            continue
        steps = int(options.seconds * 1000 / STEP_MS[name])
        cell = replace(cell, steps=2 * steps * options.pairs, warmup_steps=steps)
        job, wrote = measure(cell, options.pairs)
        claims += claims_of(name, job)
        costs += [found["ns_a_record"] for process, found in wrote.items() if process.endswith(".native")]
        detail[name] = {
            "cell": asdict(cell),
            "steps_a_sample": steps,
            "samples_ms": job.time_ms,
            "cpu_ms": job.cpu_ms,
            "recorded": wrote,
        }
    a_record = Claim("a record of MXNet's native recorder, its two clock readings included", "ns", measured(costs), MOST_NS)
    return finish("mxnet_overhead", [a_record, *claims], {"pairs": options.pairs, **detail}, load_before, options.out)


if __name__ == "__main__":
    sys.exit(main())
