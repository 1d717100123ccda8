"""How long `breakdown report` takes, and how large its page becomes, whatever the number of rows.

    python benchmarks/reporting.py [--rounds 7] [--out results/benchmarks/reporting.json]

Three results: that of the quickstart, copied; a million rows of many steps, written as `benchmarks/analysis.py` does; and
three steps of 66,000 operations each, imported from a profile that `benchmarks/importing.py` writes, which the timeline
shows all. A round is the command itself, from its start to its end. Goals: 6 s, 20 s, and a page of at most 15 MB.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from analysis import write_run
from common import RESULTS, Claim, finish, load_average, measured
from importing import write_profile
from planning import rounds_of

from breakdown.runner.imports import import_profile

QUICKSTART_S, MILLION_S = 6.0, 20.0
PAGE_MB = 15.0
ROWS = 1_000_000
WIDE_STEPS, WIDE_OPERATIONS = 3, 66_000


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/reporting.json")
    options = parser.parse_args()
    load_before = load_average()
    claims: list[Claim] = []
    detail: dict[str, Any] = {"rounds": options.rounds}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shutil.copytree(RESULTS.parent / "quickstart", folder / "quickstart")
        rows = sum(write_run(folder / "many steps", ROWS * 4 // 5).values())
        (folder / "profile").mkdir()
        write_profile(folder / "profile", WIDE_STEPS, WIDE_OPERATIONS)
        import_profile([folder / "profile"], folder / "large steps", 0, None, {})
        for name, what, at_most_s in (
            ("quickstart", "report of results/quickstart", QUICKSTART_S),
            ("many steps", f"report of {rows / 1e6:.1f} million rows", MILLION_S),
            ("large steps", f"report of {WIDE_STEPS} steps of {WIDE_OPERATIONS:,} operations", MILLION_S),
        ):
            samples = rounds_of(["report", str(folder / name)], options.rounds)
            page_mb = (folder / name / "report.html").stat().st_size / 1e6
            print(f"{name}: the page has {page_mb:.2f} MB", flush=True)
            claims.append(Claim(f"{what}: time", "s", measured([one["total_s"] for one in samples]), at_most=at_most_s))
            claims.append(Claim(f"{what}: page", "MB", measured([page_mb] * len(samples)), at_most=PAGE_MB))
            detail[name] = {"page_mb": page_mb, "samples": samples}
    return finish("reporting", claims, {**detail, "rows": rows}, load_before, options.out)


if __name__ == "__main__":
    sys.exit(main())
