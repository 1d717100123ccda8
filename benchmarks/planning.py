"""How long `breakdown plan` takes for an experiment of 10,000 cells.

    python benchmarks/planning.py [--rounds 7] [--out results/benchmarks/planning.json]

The axes make a matrix of the parameter server in torch, one server and two workers: 40,000 processes, each told with its
cores, environment, command and log. A round is the command itself, from its start to the last line. Goal: 5 s.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from common import Claim, finish, load_average, measured

from breakdown.config.matrix import MAX_CELLS

GOAL_S = 5.0
EXPERIMENT = """
name: planning
repetitions: 3
defaults: {workload: mlp, backend: torch_ps, servers: 1, workers: 2}
axes:
  consistency: [bsp, async]
  optimizer: [sgd, momentum]
  batch_size: [16, 32, 64, 128, 256]
  learning_rate: [0.001, 0.01, 0.05, 0.1, 0.5]
  seed: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
  steps: [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
"""


def run(command: list[str]) -> tuple[dict[str, float], str]:
    """One round of a command of breakdown's, and what it printed."""
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = [sys.executable, "-m", "breakdown.cli", *command]
    done = subprocess.run(whole, capture_output=True, text=True, timeout=300, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"total_s": time.perf_counter() - begin, "cpu_s": cpu_s}, done.stdout


def rounds_of(command: list[str], rounds: int) -> list[dict[str, float]]:
    """The samples of so many rounds, behind one that only brings files into the page cache."""
    samples = []
    for index in range(rounds + 1):
        sample, _ = run(command)
        print(f"round {index}: {sample['total_s']:.2f} s, processor {sample['cpu_s']:.2f} s", flush=True)
        if index:
            samples.append(sample)
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/planning.json")
    options = parser.parse_args()
    load_before = load_average()
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "planning.yaml"
        file.write_text(EXPERIMENT)
        command = ["plan", str(file), "--output", f"{scratch}/result"]
        _, printed = run(command)
        if f": {MAX_CELLS} cells" not in printed.splitlines()[0]:
            raise SystemExit(f"the matrix is not what it should be: {printed.splitlines()[0]}")
        samples: list[dict[str, Any]] = rounds_of(command, options.rounds)
    what = f"plan an experiment of {MAX_CELLS:,} cells: time"
    claim = Claim(what, "s", measured([sample["total_s"] for sample in samples]), at_most=GOAL_S)
    detail = {"rounds": options.rounds, "cells": MAX_CELLS, "samples": samples}
    return finish("planning", [claim], detail, load_before, options.out)


if __name__ == "__main__":
    sys.exit(main())
