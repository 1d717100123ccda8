"""What recording costs MXNet's training: one job that records in every second turn, and in the others does not.

    python benchmarks/mxnet_overhead.py [--pairs 60] [--seconds 0.6] [--only dist_sync] [--out FILE.json]

The quickstart's MLP, on a single node and with one server and two workers, started as `breakdown run` starts it. Its real
training loop runs in turns (`turns.py`), and a turn ends when all that it handed to the engine is done. The recorders, the
native one and Python's, are switched on or off.

An overhead is the median over pairs of the paired ratio, minus one, with its 95 % interval. What a record costs is
what the native recorder of each process measures of itself.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import statistics
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from turns import OFF, Job, Turns, obey, pause

if TYPE_CHECKING:  # at run time only where they are needed: MXNet's environment has none of them
    from collections.abc import Mapping

    from common import Claim

    from breakdown.config.cell import Cell

ON = "on"
MOST_NS, MOST_SHARE = 1000, 0.02
STEP_MS = {"local": 30, "dist_sync": 60}
"""About: how many steps fill a turn."""


def play_role(spec_path: Path, turns: int) -> int:
    """What `breakdown.backends.mxnet.role` does, but in turns. Runs in MXNet's environment."""
    from breakdown.backends.mxnet import role

    switch = partial(pause, ctypes.CDLL(None))
    spec = json.loads(spec_path.read_text())
    if spec["role"] != "worker":  # scheduler and server, whose main thread is MXNet's
        Thread(target=obey, args=(switch,), daemon=True).start()
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
    train(cell, task, store, Turns(recorder, cell["warmup_steps"], turns, switch, mx.nd.waitall))  # type: ignore[arg-type]
    recorder.close()
    return 0


def measure(cell: Cell, pairs: int) -> tuple[Job, dict[str, Any]]:
    """A job with its samples, and what it recorded."""
    with ExitStack() as stack:
        job = Job(cell, (ON, OFF), pairs, Path(stack.enter_context(tempfile.TemporaryDirectory())), __file__)
        stack.callback(job.kill)
        job.run()
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
        ratios = [100 * (on / off - 1) for on, off in zip(samples[ON], samples[OFF], strict=True)]
        about = f"recording on against off, mxnet {name}, {what}, {statistics.median(samples[OFF]):.1f} ms a step"
        found.append(Claim(about, "%", measured(ratios), at_most=100 * MOST_SHARE))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=0.6, help="of a turn, about")
    parser.add_argument("--only", default="", choices=["", *STEP_MS])
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/mxnet_overhead.json")
    parser.add_argument("--role", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--turns", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role is not None:
        return play_role(options.role, options.turns)
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
