"""How long a saved run of 5 million spans takes to load and break down, and the most memory it needs.

    python benchmarks/analysis.py [--rounds 7] [--spans 5000000] [--out results/benchmarks/analysis.json]

The run is of a simulated cluster (2 workers, 1 server, 20 keys, BSP, about 250 spans a worker and step), written as
`breakdown run` writes it. Every round is a fresh process: its time counts from the first import to the finding. The files
are in the page cache after the first, unmeasured round. Goals: 10 s and 4 GB.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

GOAL_S = 10.0
GOAL_GB = 4.0
KEYS, WORKERS, SERVERS, TEMPLATE_STEPS = 20, 2, 1, 16
_MEAN_NS = {
    "forward": 400_000,
    "backward": 700_000,
    "push wire": 300_000,
    "reply wire": 250_000,
    "sum": 120_000,
    "load": 900_000,
}
_OTHER_NS = 20_000
"""Mean durations of the simulation: a step of about 25 ms, of which parts overlap and parts do not."""
_ORDER = {
    "spans": ("run", "role", "rank", "thread", "end_ns"),
    "messages": ("run", "send_start_ns"),
    "steps": ("run", "rank", "step"),
}


def write_run(folder: Path, spans: int) -> dict[str, int]:
    """Writes a cell of at least so many spans: 16 simulated steps, again and again, each time later and with new ids."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "analysis"))
    from cluster import Cluster
    from golden import Golden

    from breakdown.clock.offset import SAME_KERNEL
    from breakdown.model.schema import FORMAT_VERSION
    from breakdown.store.arrow import append
    from breakdown.store.files import write_json
    from breakdown.store.folder import CellFolder

    draw = random.Random(1)
    golden = Golden()
    Cluster(
        lambda kind: int(_MEAN_NS.get(kind, _OTHER_NS) * draw.uniform(0.5, 1.5)),
        WORKERS, SERVERS, KEYS, TEMPLATE_STEPS, bsp=True, golden=golden,
    ).run()  # fmt: skip
    template = golden.tables()
    times = -(-spans // len(template.spans))
    cell = CellFolder(folder)
    counts = {}
    for name in ("spans", "messages", "steps"):
        table = repeated(name, getattr(template, name), times, period_ns=int(template.steps["end_ns"].max()))
        append(cell.table(name), name, table, run=0)
        counts[name] = table.num_rows
    run = {"run": 0, "status": "done", "error": None, "log": None, "wall_s": 0.0, "warnings": []}
    run |= {"recorder_cost_ns_per_span": {}}
    config = {"backend": "torch_ps", "workload": "mlp", "warmup_steps": 0, "workers": WORKERS, "servers": SERVERS}
    about = {"format_version": FORMAT_VERSION, "cell_id": "simulated", "label": "simulated", "experiment": "benchmark"}
    about |= {"machine": {}, "versions": {}, "commit": None, "cores": {}, "notes": []}
    cell.write({**about, "config": {**config, "consistency": "bsp"}, "runs": [run]})
    nodes = [f"worker-{rank}" for rank in range(WORKERS)] + [f"server-{rank}" for rank in range(SERVERS)]
    same = {"kernel_id": "one", **asdict(SAME_KERNEL), "pings": []}
    write_json(cell.clock, {"runs": {"0": {"reference": nodes[-1], "nodes": dict.fromkeys(nodes, same)}}})
    write_json(cell.notes, {"runs": {"0": {}}})
    return counts


def repeated(name: str, frame: Any, times: int, period_ns: int) -> Any:
    """A template's rows, `times` over: times, steps and request ids move on, all else stays. In the order of the schema."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from breakdown.store.arrow import table

    counters = 2 * KEYS * TEMPLATE_STEPS  # a worker's requests in the template: a push and a pull a key and step
    shift = np.repeat(np.arange(times), len(frame))
    columns: dict[str, Any] = {}
    plain: dict[str, Any] = {}  # the same as numbers, to sort by
    for column in frame.columns:
        values = frame[column]
        if isinstance(values.dtype, pd.CategoricalDtype):
            plain[column] = np.tile(values.cat.codes.to_numpy().astype("int32"), times)
            texts = pa.array(list(values.cat.categories))
            columns[column] = pa.DictionaryArray.from_arrays(pa.array(plain[column]), texts)
            continue
        missing = np.tile(values.isna().to_numpy(), times)
        moved = np.tile(values.to_numpy(dtype=values.dtype.name.lower(), na_value=0), times)
        if column.endswith("_ns") and column not in ("cpu_ns", "runnable_ns"):
            moved = moved + shift * period_ns
        elif column == "step":
            moved = (moved + shift * TEMPLATE_STEPS).astype(np.int32)
        elif column in ("request_id", "cause_id"):
            moved = np.where(moved == 0, 0, moved + shift * counters)
        plain[column] = moved
        columns[column] = pa.array(moved, mask=missing) if missing.any() else pa.array(moved)
    order = np.lexsort([plain[column] for column in reversed(_ORDER[name])])
    return table(name, columns).take(pa.array(order))


def measure(folder: Path) -> dict[str, Any]:
    """One round, in this process: seconds from before the imports, and peak resident bytes."""
    begin, cpu = time.perf_counter(), time.process_time()
    from breakdown.analysis.experiment import analyse_cell
    from breakdown.store.tables import load

    imported = time.perf_counter()
    tables = load(folder)
    loaded = time.perf_counter()
    finding = analyse_cell(tables)
    end = time.perf_counter()
    return {
        "import_s": imported - begin,
        "load_s": loaded - imported,
        "analyse_s": end - loaded,
        "total_s": end - begin,
        "cpu_s": time.process_time() - cpu,  # tells a busy machine from a slow program
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "steps": finding.steps,
        "step_ns": finding.step_ns,
        "unexplained_share": finding.stages[-1].share,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--spans", type=int, default=5_000_000)
    parser.add_argument("--out", type=Path, help="default: results/benchmarks/analysis.json")
    parser.add_argument("--folder", type=Path, help="keep the simulated run here, and use it if it is there")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure is not None:
        print(json.dumps(measure(options.measure)))
        return 0
    from common import Claim, finish, load_average, measured

    load_before = load_average()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch) / "simulated"
        counts = write_run(folder, options.spans)
        samples = []
        for index in range(options.rounds + 1):
            command = [sys.executable, __file__, "--measure", str(folder)]
            done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
            sample = json.loads(done.stdout)
            print(f"round {index}: " + "  ".join(f"{name} {value:,.3g}" for name, value in sample.items()), flush=True)
            if index:
                samples.append(sample)
    what = f"load and break down {counts['spans'] / 1e6:.1f} million spans"
    claims = [
        Claim(f"{what}: time", "s", measured([sample["total_s"] for sample in samples]), at_most=GOAL_S),
        Claim(f"{what}: peak memory", "GB", measured([sample["peak_bytes"] / 1e9 for sample in samples]), at_most=GOAL_GB),
    ]
    detail = {
        "what": "a fresh process loads a saved run and breaks it down",
        "rows": counts,
        "rounds": options.rounds,
        "other_versions": {name: version(name) for name in ("pandas", "pyarrow")},
        "samples": samples,
    }
    return finish("analysis", claims, detail, load_before, options.out)


if __name__ == "__main__":
    sys.exit(main())
