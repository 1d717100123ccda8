"""A whole experiment: baselines, speedup, COST, verdict, failures, summary, comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from cluster import Cluster
from golden import S0, W0, W1, Golden, ask

from breakdown.analysis import summary
from breakdown.analysis.compare import compare
from breakdown.analysis.experiment import analyse, analyse_cell
from breakdown.analysis.findings import Cost
from breakdown.analysis.scaling import costs
from breakdown.errors import TraceError
from breakdown.model.stages import Op, Stage
from breakdown.store.tables import Tables

MS = 1_000_000
PS_MS = {"forward": 2 * MS, "backward": 3 * MS, "push wire": 4 * MS, "reply wire": 2 * MS, "sum": MS, "update": MS}


def described(label: str, runs: int = 2, failed: tuple[int, ...] = (), **config: Any) -> dict[str, Any]:
    return {
        "cell_id": label.replace(" ", "-"),
        "label": label,
        "experiment": "test",
        "machine": {"cores": 2},
        "versions": {"torch": "2"},
        "config": {"workload": "mlp", "batch_size": 8, "optimizer": "sgd", "cores_per_worker": 1, **config},
        "runs": [
            {
                "run": run,
                "status": "failed" if run in failed else "done",
                "error": "server-0 was killed" if run in failed else None,
                "log": "log/server-0.log" if run in failed else None,
                "recorder_cost_ns_per_span": {"worker-0": 200.0, "worker-1": 300.0},
                "warnings": ["slow disk"] if run == 0 else [],
            }
            for run in range(runs)
        ],
    }


def single(label: str, step_ns: int, runs: int = 2, samples: int = 8, **config: Any) -> Tables:
    """Three steps a run; later runs are 1 % slower each, and the first step of each is warm-up and very slow."""
    golden = Golden(cell=described(label, runs, **{"backend": "single", "workers": 1, "servers": 0, **config}))
    for run in range(runs):
        golden.run, now = run, 0
        for step in range(4):
            length = step_ns * (100 + run) // 100 if step else 50 * step_ns
            golden.main(W0, Stage.COMPUTE, Op.FORWARD, now, now + length, "a", step, cpu=length, runnable=0)
            golden.step(W0, now, now + length, step, samples=samples, warm_up=step == 0)
            now += length
    return golden.tables()


def cluster(label: str, workers: int, servers: int = 1, runs: int = 2, slow: float = 1, **config: Any) -> Tables:
    golden = Golden(cell=described(label, runs, **{"backend": "torch_ps", "workers": workers, "servers": servers, **config}))
    for run in range(runs):
        golden.run = run
        Cluster(
            lambda kind: int(slow * PS_MS.get(kind, 10_000)), workers, servers, 2, 4, True, warm_up=1, golden=golden
        ).run()
    return golden.tables()


def test_speedup_efficiency_and_the_single_nodes_that_they_are_of() -> None:
    found = analyse(
        [
            single("single 1 core", 10 * MS),
            single("single whole", 5 * MS, cores_per_worker=0),
            single("another batch", 1 * MS, batch_size=99),
            cluster("ps", 2),
        ],
        "test",
        "why",
    )
    cell = found.cells[3]
    one, whole = found.cells[0], found.cells[1]
    # 8 samples in 10 ms, and in 10.1 ms in the other repetition: the median of two is their mean.
    assert one.samples_per_s == pytest.approx((800 + 800 / 1.01) / 2)
    # A speedup is the median over rounds, of each round's own ratio; so is that over the whole machine.
    over_one, over_whole = (
        np.median(np.array(cell.samples_per_s_by_run) / np.array(node.samples_per_s_by_run)) for node in (one, whole)
    )
    assert cell.speedup == pytest.approx(over_one, rel=1e-12)
    assert cell.speedup_interval is not None
    assert cell.efficiency == pytest.approx(cell.speedup / 2)
    assert cell.speedup_whole == pytest.approx(over_whole, rel=1e-12)
    assert one.speedup is None
    fall = found.waterfalls[0]
    assert (fall.baseline_id, fall.cell_id, len(found.waterfalls)) == ("single-1-core", "ps", 1)
    assert fall.baseline_ns + sum(bar.delta_ns for bar in fall.bars) == fall.step_ns == cell.step_ns
    assert found.machine == {"cores": 2}
    assert cell.warnings == ("repetition 0: slow disk",)


def test_warm_up_counts_nowhere() -> None:
    finding = analyse_cell(single("one", 10 * MS))
    assert finding.steps == 6
    assert finding.step_ns == 10_050_000  # the mean of three steps of 10 ms and three of 10.1 ms


def test_bytes_servers_and_recorder_cost_of_a_mean_step() -> None:
    finding = analyse_cell(cluster("ps", 2, servers=2))
    assert (finding.bytes_pushed, finding.bytes_pulled) == (2000, 2000)  # two keys of 1000 bytes
    first, second = finding.servers
    # Each server has one key: both workers push and pull it.
    assert (first.server, first.keys, first.bytes_in, first.bytes_out) == (0, 1, 2000, 2000)
    assert finding.server_skew == 1.0
    # A step's handler work: two decodes, two sums, one update, and two encodes of replies.
    assert first.busy_ns == 2 * 10_000 + 2 * MS + MS + 2 * 10_000
    assert second.queue_ns > 0
    # A worker's records in a step, by the simulation: 1 load, 2 forward, 2 backward, its blocks, and for each of two keys
    # 2 queues, 1 encode, 1 decode, 2 sent halves and 1 received half. Costs: 200 and 300 ns, on average 250.
    assert finding.recorder_cost_ns is not None
    assert 19 * 250 <= finding.recorder_cost_ns <= 21 * 250 + 1


def test_cost_is_the_smallest_number_of_workers_that_beats_the_single_node() -> None:
    ladder = [single("one", 4 * MS), *(cluster(f"ps {n}", n, slow=0.5) for n in (1, 2, 3))]
    found = analyse(ladder, "test")
    speedups = [cell.speedup for cell in found.cells[1:]]
    winners = [n for n, speedup in zip((1, 2, 3), speedups, strict=True) if speedup is not None and speedup > 1]
    assert list(found.cost.values()) == [Cost(min(winners, default=None), 3)]
    assert list(found.cost) == ["torch_ps 1s"]


def test_cost_is_none_where_no_tested_number_wins_and_families_are_told_apart() -> None:
    cells = [single("one", 1 * MS), cluster("fifo", 2, priority="fifo"), cluster("layer", 2, priority="layer")]
    found = analyse(cells, "test")
    assert found.cost == {"torch_ps 1s priority=fifo": Cost(None, 2), "torch_ps 1s priority=layer": Cost(None, 2)}
    assert any("none up to 2" in line for line in found.verdict.evidence)
    assert costs([]) == {}


def test_cost_names_only_fields_that_mean_something_to_the_backend_and_tell_its_cells_apart() -> None:
    ours = {"priority": "fifo", "transport": "tcp", "tf_mode": "graph", "kvstore": "dist_sync", "consistency": "bsp"}
    of_mxnet = {**ours, "backend": "mxnet", "optimizer": "sgd"}
    cells = [
        single("one", 1 * MS),
        single("local", 1 * MS, **{**of_mxnet, "kvstore": "local"}),
        cluster("ours", 2, **ours),
        cluster("sync", 2, **{**of_mxnet, "priority": "layer", "transport": "grpc"}),
        cluster("async", 2, **{**of_mxnet, "kvstore": "dist_async", "tf_mode": "strategy"}),
        cluster("async, ours", 2, **{**ours, "consistency": "async", "kvstore": "dist_async", "transport": "grpc"}),
        cluster("async, ours too", 2, **{**ours, "consistency": "async", "staleness": 3}),
    ]
    assert list(analyse(cells, "test").cost) == [
        "torch_ps 1s bsp",
        "mxnet 1s dist_sync",
        "mxnet 1s dist_async",
        "torch_ps 1s async transport=grpc",
        "torch_ps 1s async transport=tcp",
    ]


def test_each_distributed_cell_has_a_sentence() -> None:
    found = analyse(
        [single("one core", 5 * MS), cluster("fast", 2), cluster("slow", 2, slow=3), cluster("odd", 2, batch_size=9)]
    )
    assert found.verdict.sentence.startswith("fast, with 1 server and 2 workers, ")
    slow, odd = found.verdict.others
    assert slow.startswith("slow, with 1 server and 2 workers, runs at ")
    assert odd.startswith("odd trains ")
    assert "no single node" in odd


def test_a_cell_alone_is_compared_with_its_experiments_single_node() -> None:
    whole = analyse([single("one core", 5 * MS), cluster("ps", 2)])
    alone = analyse([cluster("ps", 2)], beside=[single("one core", 5 * MS)])
    assert [cell.label for cell in alone.cells] == ["ps"]
    assert alone.cells[0] == whole.cells[1]
    assert (alone.waterfalls, alone.verdict, alone.cost) == (whole.waterfalls, whole.verdict, whole.cost)


def test_notes_are_found() -> None:
    tables = cluster("ps", 2)
    tables.cell["notes"] = ["roles share cores"]
    assert analyse([tables]).cells[0].notes == ("roles share cores",)


def test_a_server_bound_by_its_update_is_told_so() -> None:
    """One worker pushes eight keys at once; the server takes 1 ms to update each, so that the last waits for seven."""
    golden = Golden(cell=described("bound", runs=1, backend="torch_ps", workers=1, servers=1))
    golden.main(W0, Stage.COMPUTE, Op.FORWARD, 0, MS, "k0")
    for n in range(8):
        request, start = ask(W0, n + 1), (n + 2) * MS
        golden.push(W0, S0, request, f"k{n}", (MS, MS + 10), (MS + 20, MS + 30))
        golden.of(S0, "handle-0", Stage.AGGREGATE, Op.QUEUE, MS + 30, start, request, f"k{n}")
        golden.of(S0, "handle-0", Stage.AGGREGATE, Op.UPDATE, start, start + MS, request, f"k{n}")
        golden.reply(W0, S0, request, f"k{n}", (start + MS, start + MS + 10), (start + MS + 20, start + MS + 30))
    golden.block(W0, MS, 10 * MS + 30, ask(W0, 8), "k7")
    golden.step(W0, 0, 10 * MS + 30)
    found = analyse([single("one", MS, runs=1), golden.tables()])
    queued = found.cells[1].stages[Stage.AGGREGATE].queued
    assert {(q.op, q.key): q.ns for q in queued} == {(Op.UPDATE, f"k{n}"): MS for n in range(7)}
    assert "(mostly queue behind update of k" in found.verdict.sentence
    assert any("most of it queue (7.00 ms), 7.00 ms of it behind update of k" in line for line in found.verdict.evidence)


def test_the_verdict_when_slower_names_the_biggest_reasons_with_their_figures() -> None:
    found = analyse([single("one core", 5 * MS), cluster("torch_ps 1s2w bsp", 2)], "test")
    fall, verdict = found.waterfalls[0], found.verdict
    cell, one = found.cells[1], found.cells[0]
    assert cell.speedup is not None
    assert cell.speedup < 0.97
    push = fall.bars[Stage.PUSH]
    assert f"{push.delta_ns / 1e6:.2f} ms ({100 * push.delta_ns / fall.gap_ns:.1f} %) is exposed push" in verdict.sentence
    assert f"runs at {cell.speedup:.2f}× the speed of one worker's node" in verdict.sentence
    assert f"({cell.samples_per_s:,.0f} against {one.samples_per_s:,.0f} samples/s)" in verdict.sentence
    assert len(verdict.evidence) > 3


def test_slower_compute_for_want_of_a_core_is_called_so() -> None:
    starved = cluster("ps", 2, slow=3)  # the simulation's compute lacks a core for an eighth of its wall time
    starved.spans["runnable_ns"] = starved.spans["runnable_ns"] * 6
    found = analyse([single("one core", 10 * MS), starved], "test")
    assert "is slower compute (mostly for want of a core)" in found.verdict.sentence
    assert any("compute's" in line and "without a core" in line for line in found.verdict.evidence)
    calm = analyse([single("one core", 10 * MS), cluster("ps", 2, slow=3)], "test")
    assert "for want of a core" not in calm.verdict.sentence


def test_compute_that_sleeps_is_called_blocked_and_no_want_of_a_core() -> None:
    asleep = cluster("ps", 2, slow=3)
    asleep.spans["cpu_ns"], asleep.spans["runnable_ns"] = asleep.spans["cpu_ns"] // 8, asleep.spans["runnable_ns"] * 0
    verdict = analyse([single("one core", 10 * MS), asleep], "test").verdict
    assert "is slower compute (mostly blocked)" in verdict.sentence
    assert any("of compute's" in line and "blocked: asleep, or waiting for a lock" in line for line in verdict.evidence)
    assert "without a core" not in " ".join((verdict.sentence, *verdict.evidence))


def test_where_nothing_tells_why_threads_did_not_run_the_verdict_says_so() -> None:
    old = [single("one core", 10 * MS), cluster("ps", 2, slow=3)]
    for tables in old:
        tables.spans["runnable_ns"] = pd.array([pd.NA] * len(tables.spans), dtype="Int64")
    verdict = analyse(old, "test").verdict
    assert "whether threads lacked a core or were blocked is not known: nothing recorded it" in verdict.evidence
    assert "for want of a core" not in verdict.sentence


def test_the_verdict_when_faster_says_so() -> None:
    found = analyse([single("one core", 60 * MS), cluster("ps", 2)], "test")
    assert "as fast as one worker's node" in found.verdict.sentence
    assert "shorter" in found.verdict.sentence
    assert "slower" not in found.verdict.sentence


def test_the_verdict_without_a_single_node_says_what_is_missing() -> None:
    assert "no single node" in analyse([cluster("ps", 2)], "test").verdict.sentence
    assert "Only single nodes" in analyse([single("one", MS)], "test").verdict.sentence
    assert "Nothing was measured" in analyse([], "test").verdict.sentence


def test_failed_repetitions_and_empty_cells_are_reported_and_left_out() -> None:
    golden = Golden(cell=described("broken", runs=1, warmup_steps=1))
    golden.step(W0, 0, 10, warm_up=True)
    half = single("half", 10 * MS, runs=2)
    whole = analyse_cell(half)
    half = Tables(half.spans, half.messages, half.steps, described("half", failed=(1,), backend="single"), {})
    found = analyse([half, golden.tables()], "test", failures=["cell x never started"])
    assert (whole.repetitions, found.cells[0].repetitions, found.cells[0].step_ns) == (2, 1, 10 * MS)
    assert found.failures == (
        "cell x never started",
        "half, repetition 1: server-0 was killed (log: log/server-0.log)",
        "broken: none of its 1 steps counts: the first 1 of each worker are warm-up (warmup_steps); they took <0.01 ms, "
        "so the cell is not in the tables",
        "broken, repetition 0: slow disk",
    )
    with pytest.raises(TraceError, match="'broken' has no measured step"):
        analyse_cell(golden.tables())


def test_a_comparison_balances_and_names_what_was_changed() -> None:
    found = compare(cluster("a", 1, servers=1), cluster("b", 2, servers=1))
    step, *stages = found.rows
    assert step.delta_ns == sum(row.delta_ns for row in stages) > 0
    assert found.changed_config == {"workers": (1, 2)}
    assert found.speed_ratio == pytest.approx(found.samples_per_s[1] / found.samples_per_s[0], rel=0.01)  # by rounds
    assert stages[Stage.WAIT].name == "wait"


def test_the_summary_has_a_row_a_cell_and_stages_that_add_up() -> None:
    found = analyse([single("one", 10 * MS), cluster("ps", 2)], "test")
    table = summary.frame(found)
    assert table["label"].tolist() == ["one", "ps"]
    exposed = table[[f"{stage.label}_exposed_ns" for stage in Stage]].sum(axis=1)
    assert exposed.tolist() == table["step_ns"].tolist()
    assert table["speedup"].isna().tolist() == [True, False]
    assert table["config_workers"].tolist() == [1, 2]


def test_a_strange_label_is_named() -> None:
    golden = Golden(cell=described("strange"))
    golden.main(W0, Stage.COMPUTE, Op.FORWARD, 0, 5)
    golden.step(W0, 0, 5)
    tables = golden.tables()
    tables.spans["stage"] = tables.spans["stage"].cat.rename_categories({"compute": "thinking"})
    with pytest.raises(TraceError, match="'stage' holds 'thinking', which is none of input, compute"):
        analyse_cell(tables)


def test_a_step_that_ends_before_it_starts_is_named() -> None:
    golden = Golden()
    golden.step(W1, 9, 3, step=4)
    with pytest.raises(TraceError, match="step 4 of worker 1 in repetition 0 ends before it starts"):
        analyse_cell(golden.tables())


def test_uneven_servers_show_as_skew() -> None:
    golden = Golden(cell=described("skewed"))
    golden.push(W0, S0, ask(W0, 1), "big", (0, 1), (1, 2), size=300)
    golden.message(*_push(W0, 2), size=100)
    golden.step(W0, 0, 10)
    finding = analyse_cell(golden.tables())
    assert finding.server_skew == pytest.approx(300 / 200)
    assert [load.bytes_in for load in finding.servers] == [300, 100]


def _push(worker: Any, number: int) -> tuple[Any, ...]:
    from golden import S1

    from breakdown.model.records import Direction, Verb

    return Verb.PUSH, Direction.REQUEST, worker, S1, ask(worker, number), "small", (0, 1), (1, 2)
