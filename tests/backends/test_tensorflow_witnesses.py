"""Real TensorFlow runs, checked against witnesses that know nothing of the trace: the kernel, a program's own clock."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from support.saved import content_of
from tensorflow_home import tensorflow_home
from witnesses import PER_CENT, counted_and_traced_bytes

from breakdown.config.cell import Cell
from breakdown.launch import local
from breakdown.model.identity import Role
from breakdown.runner.plan import prepare, write_specs
from breakdown.store.collect import collect
from breakdown.store.folder import CellFolder
from breakdown.store.tables import load

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(150)]

FRAME_BYTES = 16384 + 9
"""Of HTTP/2 as TensorFlow's gRPC cuts it, with its head."""

STEPS, WARM_UP = 60, 5


def test_the_kernel_counted_the_bytes_that_the_trace_has(tmp_path: Path) -> None:
    """On the loopback interface of a namespace in which nothing else runs."""
    tensorflow_home()
    on_the_wire, traced, tables = counted_and_traced_bytes(
        tmp_path,
        "backend: tensorflow, tf_mode: graph, servers: 2, workers: 2, steps: 12, warmup_steps: 2, batch_size: 8, "
        "workload_options: {features: 512, hidden: 512, layers: 2}",
    )
    assert traced > 20e6
    assert traced in on_the_wire.within(PER_CENT)
    # What size_bytes leaves out: gRPC's heads, HTTP/2's frames. With them it is what the recorder saw go to the kernel,
    # but for what goes on before it is there and once it has stopped.
    notes = [dict(map(tuple, found)) for found in tables.notes["0"].values()]
    sent = sum(int(note["bytes_sent"]) for note in notes)
    assert sent in on_the_wire.within(PER_CENT / 10)
    assert traced * FRAME_BYTES / 16384 <= sent


TIMED = """
import json, sys, time
import tensorflow as tf
from breakdown.backends.tensorflow import role
session = tf.compat.v1.train.MonitoredSession
run_of_tensorflow = session.run
ends = []
def run(*arguments, **named):
    found = run_of_tensorflow(*arguments, **named)
    ends.append(time.time())
    return found
session.run = run
code = role.main(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    json.dump(ends, file)
role.leave(code)
"""


def test_a_programs_own_timer_says_the_same(tmp_path: Path) -> None:
    """Each worker notes by the wall clock when its `session.run` returned: from one to the next is a step."""
    tensorflow_home()
    script = tmp_path / "timed.py"
    script.write_text(TIMED)
    small = {"features": 256, "hidden": 512, "layers": 2}
    cell = Cell(
        backend="tensorflow", tf_mode="graph", workload_options=small, workers=2, steps=STEPS, warmup_steps=WARM_UP,
        timeout_s=100.0,
    )  # fmt: skip
    folder = CellFolder(tmp_path / "cell")
    prepared = prepare(cell, "cell", 0, folder, sorted(os.sched_getaffinity(0)))
    write_specs(prepared.specs)
    processes = [
        replace(one, argv=(one.argv[0], str(script), str(tmp_path / f"{one.node}.ends"), *one.argv[3:]))
        if one.node.role is Role.WORKER
        else one
        for one in prepared.plan.processes
    ]
    outcome = local.run(replace(prepared.plan, processes=tuple(processes)))
    assert outcome.error is None
    folder.write(content_of("cell"))
    collect(folder, 0)
    steps = load(folder.path).steps
    for rank in (0, 1):
        own = steps[(steps["rank"] == rank) & ~steps["warm_up"]]
        ends_s = json.loads((tmp_path / f"worker-{rank}.ends").read_text())
        assert len(own) == STEPS
        assert len(ends_s) == STEPS + WARM_UP
        traced_s = (own["end_ns"] - own["start_ns"]).sum() / 1e9
        assert traced_s == pytest.approx(ends_s[-1] - ends_s[WARM_UP - 1], rel=PER_CENT)
