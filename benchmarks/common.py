"""What all benchmarks share: intervals, claims that can fail, and result files that name the machine.

A benchmark ends in claims: a measured figure with its 95 % interval beside the bound that it is held to. The README's table
of claims is made from these files (`make readme`), and a benchmark whose claim does not hold ends with exit code 1.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from breakdown.analysis import repetitions
from breakdown.runner import machine

RESULTS = Path(__file__).resolve().parent.parent / "results" / "benchmarks"
MIN_ROUNDS = 7


@dataclass(frozen=True)
class Measured:
    """A median with its 95 % interval, in the unit of its samples."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:,.4g} [{self.low:,.4g}, {self.high:,.4g}]"


def measured(samples: Sequence[float]) -> Measured:
    """The median of paired rounds with its interval (`analysis.repetitions`). Raises ValueError at a single round."""
    values = np.array(samples, dtype=np.float64)
    found = repetitions.median(values)
    if found.low is None or found.high is None:
        raise ValueError("one round says nothing about the spread of rounds: measure at least two")
    return Measured(float(np.median(values)), found.low, found.high)


@dataclass(frozen=True)
class Claim:
    """One sentence that a measurement can refute: its median has to be `at_most` or `at_least` the bound."""

    what: str
    unit: str
    value: Measured
    at_most: float | None = None
    at_least: float | None = None

    @property
    def holds(self) -> bool:
        below = self.at_most is None or self.value.median <= self.at_most
        return below and (self.at_least is None or self.value.median >= self.at_least)

    def __str__(self) -> str:
        bound = f"at most {self.at_most:g}" if self.at_most is not None else f"at least {self.at_least:g}"
        return f"{'holds' if self.holds else 'FAILS'}: {self.what}: {self.value} {self.unit} ({bound})"


def load_average() -> list[float]:
    """To be read before the benchmark itself loads the machine: how quiet it was."""
    return list(os.getloadavg())


def finish(
    name: str, claims: Sequence[Claim], detail: dict[str, Any], load_before: Sequence[float], out: Path | None
) -> int:
    """Prints the claims, writes `results/benchmarks/<name>.json` (or `out`), and gives the exit code."""
    for claim in claims:
        print(claim)
    result = {
        "benchmark": name,
        "machine": {**machine.describe(), "load_average_before": list(load_before)},
        "versions": machine.versions(),
        "commit": machine.commit(),
        "claims": [{**asdict(claim), "holds": claim.holds} for claim in claims],
        **detail,
    }
    path = out or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"wrote {path}")
    return 0 if all(claim.holds for claim in claims) else 1
