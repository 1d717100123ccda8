"""How long `breakdown import` takes to read a profile of 300,000 operations and save it as a result.

    python benchmarks/importing.py [--rounds 7] [--steps 300] [--operations 1000] [--out results/benchmarks/importing.json]

The profile is RunMetadata, a file a step: the same graph in each, of operations that need two of those before them. A round
is a fresh process: its time counts from the first import of a module to the saved tables. Goal: 5 s.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

GOAL_S = 5.0
_US = 1000


def write_profile(folder: Path, steps: int, operations: int) -> None:
    """Writes the files of all steps."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "store"))
    from profile_messages import WORKER, node

    from breakdown.store.profiles.protobuf import new

    draw = random.Random(1)
    needs = [[f"op{draw.randrange(max(0, at - 20), at)}" for _ in range(2)] if at else [] for at in range(operations)]
    for step in range(steps):
        first_us = step * operations * 12
        nodes = [
            node(f"op{at}", "MatMul", ", ".join(needs[at]), first_us + at * 10, first_us + at * 10 + draw.randrange(5, 20))
            for at in range(operations)
        ]
        device = new("DeviceStepStats", device=WORKER.format(0), node_stats=nodes)
        content = new("RunMetadata", step_stats=new("StepStats", dev_stats=[device])).SerializeToString()
        (folder / f"{step:04}.pb").write_bytes(content)


def measure(profile: Path) -> dict[str, float]:
    """One round, in this process."""
    begin, cpu = time.perf_counter(), time.process_time()
    from breakdown.runner.imports import import_profile

    with tempfile.TemporaryDirectory() as scratch:
        import_profile([profile], Path(scratch) / "result", 0, None, {})
        return {"total_s": time.perf_counter() - begin, "cpu_s": time.process_time() - cpu}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--operations", type=int, default=1000, help="a step")
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/importing.json")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.measure)))
        return 0
    from common import Claim, finish, load_average, measured

    load_before = load_average()
    samples: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        write_profile(Path(scratch), options.steps, options.operations)
        for index in range(options.rounds + 1):
            command = [sys.executable, __file__, "--measure", scratch]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
            sample = json.loads(done.stdout)
            print(f"round {index}: {sample['total_s']:.2f} s", flush=True)
            if index:  # the first only brings the files into the page cache
                samples.append(sample)
    what = f"import a profile of {options.steps * options.operations:,} operations: time"
    claim = Claim(what, "s", measured([sample["total_s"] for sample in samples]), at_most=GOAL_S)
    detail = {"rounds": options.rounds, "steps": options.steps, "operations_a_step": options.operations, "samples": samples}
    return finish("importing", [claim], detail, load_before, options.out)


if __name__ == "__main__":
    sys.exit(main())
