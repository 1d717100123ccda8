"""Properties of the accounts over random clusters: whole ones, and ones of which rows were lost."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from cluster import Cluster
from golden import W0, Golden
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from breakdown.analysis.account import CellAccount, account
from breakdown.analysis.compare import compare
from breakdown.analysis.critical_path import walk
from breakdown.analysis.waterfall import waterfall
from breakdown.model.stages import Op, Stage
from breakdown.store.tables import Tables

KINDS = ("load", "forward", "backward", "encode", "decode", "sum", "update", "wake", "release", "latency",
         "push call", "push wire", "ask call", "ask wire", "reply call", "reply wire")  # fmt: skip

clusters = st.fixed_dictionaries(
    {
        "workers": st.integers(1, 3),
        "servers": st.integers(1, 2),
        "keys": st.integers(1, 4) | st.just(40),
        "bsp": st.booleans(),
        "push_when_ready": st.booleans(),
        "warm_up": st.integers(0, 1),
    }
)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def simulate(shape: dict[str, int], seed: int, runs: int = 1) -> Tables:
    """A run of a random cluster: each kind of work has its own random scale, from nothing to long."""
    draw = random.Random(seed)
    scale = {kind: draw.choice((0, 5, 50, 500)) for kind in KINDS}
    golden = Golden(cell={"cell_id": f"seed-{seed}", "label": "random", "config": {"backend": "torch_ps"}})
    for run in range(runs):
        golden.run = run
        Cluster(lambda kind: draw.randint(0, scale.get(kind, 0)), steps=3, golden=golden, **shape).run()
    return golden.tables()


def damaged(tables: Tables, seed: int) -> Tables:
    """Loses a random part of all rows but the steps, and further halves of messages."""
    draw = np.random.default_rng(seed)
    keep = draw.choice((0.3, 0.8, 0.97))
    spans = tables.spans[draw.random(len(tables.spans)) < keep]
    messages = tables.messages[draw.random(len(tables.messages)) < keep].copy()
    for half in ("send", "recv"):
        lost = draw.random(len(messages)) > keep
        messages.loc[lost, [f"{half}_start_ns", f"{half}_end_ns"]] = None
    return replace(tables, spans=spans, messages=messages)


def check_account(tables: Tables) -> None:
    segments = walk(tables)
    assert (segments["end_ns"] > segments["start_ns"]).all()
    assert (segments["behind"].notna() == (segments["op"] == Op.QUEUE)).all()
    by_step = dict(iter(segments.groupby(["run", "worker", "step"], sort=False)))
    for step in tables.steps[~tables.steps["warm_up"]].itertuples():
        if step.end_ns == step.start_ns:
            continue
        group = by_step[step.run, step.rank, step.step]
        assert group["start_ns"].iloc[0] == step.start_ns
        assert group["end_ns"].iloc[-1] == step.end_ns
        assert (group["start_ns"].iloc[1:].to_numpy() == group["end_ns"].iloc[:-1].to_numpy()).all()
    finding = account(tables).finding
    assert sum(time.exposed_ns for time in finding.stages) == finding.step_ns
    assert sum(key.exposed_ns for key in finding.keys) == finding.step_ns
    for time in finding.stages:
        assert min(time.exposed_ns, time.hidden_ns, time.contention_ns or 0, time.blocked_ns or 0) >= 0
        assert (time.contention_ns is None) == (time.blocked_ns is None)
        assert (time.contention_ns or 0) + (time.blocked_ns or 0) <= time.exposed_ns + 1  # two roundings
        assert time.exposed_ns + time.hidden_ns <= finding.step_ns + 1  # two roundings
        assert sum(time.by_op_ns.values()) == time.exposed_ns
        assert sum(key.exposed_ns for key in finding.keys if key.stage == time.stage) == time.exposed_ns
        assert sum(queued.ns for queued in time.queued) == time.by_op_ns.get(Op.QUEUE, 0)
        assert all(queued.op not in ("", Op.QUEUE, Op.HOLD) for queued in time.queued)
    assert sum(finding.stages[Stage.WAIT].by_cause_ns.values()) <= finding.stages[Stage.WAIT].exposed_ns


@given(clusters, st.integers(0, 2**32 - 1))
@quick
def test_a_whole_trace_balances_and_leaves_nothing_unexplained(shape: dict[str, int], seed: int) -> None:
    tables = simulate(shape, seed)
    check_account(tables)
    segments = walk(tables)
    assert (segments["stage"] != "other").all()
    assert (segments["op"] != "unexplained").all()
    if shape["workers"] == 1:
        assert (segments["stage"] != "wait").all()
    if not shape["bsp"]:
        assert (segments["stage"] != "wait").all()


@given(clusters, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
@quick
def test_a_damaged_trace_balances_all_the_same(shape: dict[str, int], seed: int, damage: int) -> None:
    check_account(damaged(simulate(shape, seed), damage))


@given(clusters, clusters, st.integers(0, 2**32 - 1))
@settings(quick, max_examples=15)
def test_bars_and_deltas_add_up_to_the_gap(shape: dict[str, int], other: dict[str, int], seed: int) -> None:
    a, b = simulate(shape, seed, runs=3), simulate(other, seed + 1, runs=2)
    first, second = account(a), account(b)
    fall = waterfall(first, second)
    assert fall.baseline_ns + sum(bar.delta_ns for bar in fall.bars) == fall.step_ns
    assert [bar.stage for bar in fall.bars] == list(Stage)
    step, *stages = compare(a, b).rows
    assert step.delta_ns == sum(row.delta_ns for row in stages) == step.b_ns - step.a_ns == fall.gap_ns
    assert [row.name for row in stages] == [stage.label for stage in Stage]


def test_the_order_of_rows_does_not_matter() -> None:
    draw = random.Random(5)
    tables = Cluster(lambda kind: draw.randint(1, 50), workers=2, servers=2, keys=3, steps=3, bsp=True).run().tables()
    mixed = replace(
        tables,
        spans=tables.spans.sample(frac=1, random_state=1),
        messages=tables.messages.sample(frac=1, random_state=2),
        steps=tables.steps.sample(frac=1, random_state=3),
    )
    assert walk(mixed).astype(str).equals(walk(tables).astype(str))


def test_repetitions_do_not_mix_though_their_request_ids_are_the_same() -> None:
    tables = simulate({"workers": 2, "servers": 1, "keys": 3, "bsp": True}, seed=9, runs=2)
    alone = replace(
        tables,
        spans=tables.spans[tables.spans["run"] == 1],
        messages=tables.messages[tables.messages["run"] == 1],
        steps=tables.steps[tables.steps["run"] == 1],
    )
    both = walk(tables)
    assert walk(alone).astype(str).equals(both[both["run"] == 1].reset_index(drop=True).astype(str))


def single(step_ns: int) -> CellAccount:
    golden = Golden(cell={"cell_id": "one", "label": "one", "config": {"backend": "single"}})
    golden.main(W0, Stage.COMPUTE, Op.FORWARD, 0, step_ns)
    golden.step(W0, 0, step_ns)
    return account(golden.tables())


def test_a_waterfall_of_equal_cells_is_flat() -> None:
    fall = waterfall(single(100), single(100))
    assert fall.gap_ns == 0
    assert [bar.delta_ns for bar in fall.bars] == [0] * 8
    assert fall.bars[0].interval_ns.low is None  # one repetition says nothing about spread


def test_a_waterfall_names_slower_compute() -> None:
    fall = waterfall(single(100), single(130))
    assert {bar.stage: bar.delta_ns for bar in fall.bars if bar.delta_ns} == {Stage.COMPUTE: 30}


@pytest.mark.parametrize(("behind_ns", "said"), [(0, 0), (150, 0), (250, 1)])
def test_work_that_goes_on_long_behind_the_steps_is_said(behind_ns: int, said: int) -> None:
    golden = Golden(cell={"cell_id": "one", "label": "one", "config": {"backend": "single"}})
    for step in range(3):
        golden.main(W0, Stage.COMPUTE, Op.FORWARD, 100 * step, 100 * (step + 1), step=step)
        golden.step(W0, 100 * step, 100 * (step + 1), step)
    golden.of(W0, "engine", Stage.COMPUTE, "dot", 200, 300 + behind_ns, request=1, key="", step=2)
    warnings = account(golden.tables()).finding.warnings
    assert len(warnings) == said
    assert all("the steps of worker-0 add up to 0.000 s, but" in warning for warning in warnings)
