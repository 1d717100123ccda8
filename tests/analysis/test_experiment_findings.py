"""A whole experiment: baselines, speedup, COST, verdict, failures, summary, comparison."""

from __future__ import annotations

from typing import Any

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
    golden = Golden(cell=described(label, runs, backend="single", workers=1, servers=0, **config))
    for run in range(runs):
        golden.run, now = run, 0
        for step in range(4):
            length = step_ns * (100 + run) // 100 if step else 50 * step_ns
            golden.main(W0, Stage.COMPUTE, Op.FORWARD, now, now + length, "a", step)
            golden.step(W0, now, now + length, step, samples=samples, warm_up=step == 0)
            now += length
    return golden.tables()


def cluster(label: str, workers: int, servers: int = 1, runs: int = 2, slow: float = 1, **config: Any) -> Tables:
    golden = Golden(cell=described(label, runs, backend="torch_ps", workers=workers, servers=servers, **config))
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
    assert cell.speedup == pytest.approx(cell.samples_per_s / one.samples_per_s)
    assert cell.efficiency == pytest.approx(cell.speedup / 2)
    assert cell.speedup_whole == pytest.approx(cell.samples_per_s / whole.samples_per_s)
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
    starved = cluster("ps", 2, slow=3)  # the simulation's compute has CPU time for three quarters of its wall time
    starved.spans["cpu_ns"] = starved.spans["cpu_ns"] // 3
    found = analyse([single("one core", 10 * MS), starved], "test")
    assert "is slower compute (mostly for want of a core)" in found.verdict.sentence
    assert any("compute's" in line and "without a core" in line for line in found.verdict.evidence)
    calm = analyse([single("one core", 10 * MS), cluster("ps", 2, slow=3)], "test")
    assert "for want of a core" not in calm.verdict.sentence


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
    golden = Golden(cell=described("broken", runs=1))
    golden.step(W0, 0, 10, warm_up=True)
    half = single("half", 10 * MS, runs=2)
    whole = analyse_cell(half)
    half = Tables(half.spans, half.messages, half.steps, described("half", failed=(1,), backend="single"), {})
    found = analyse([half, golden.tables()], "test", failures=["cell x never started"])
    assert (whole.repetitions, found.cells[0].repetitions, found.cells[0].step_ns) == (2, 1, 10 * MS)
    assert found.failures == (
        "cell x never started",
        "half, repetition 1: server-0 was killed (log: log/server-0.log)",
        "broken: no repetition got past its warm-up, so the cell is not in the tables",
    )
    with pytest.raises(TraceError, match="'broken' has no measured step"):
        analyse_cell(golden.tables())


def test_a_comparison_balances_and_names_what_was_changed() -> None:
    found = compare(cluster("a", 1, servers=1), cluster("b", 2, servers=1))
    step, *stages = found.rows
    assert step.delta_ns == sum(row.delta_ns for row in stages) > 0
    assert found.changed_config == {"workers": (1, 2)}
    assert found.speed_ratio == pytest.approx(found.samples_per_s[1] / found.samples_per_s[0])
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
