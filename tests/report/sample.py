"""Made-up findings that balance exactly, as an analysis would hand them over; the report is designed and tested on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from breakdown.analysis.findings import (
    Bar,
    CellFinding,
    Comparison,
    Cost,
    Delta,
    ExperimentFinding,
    Interval,
    KeyTime,
    Queued,
    ServerLoad,
    StageTime,
    Verdict,
    Waterfall,
)
from breakdown.config.cell import Cell
from breakdown.model.identity import Node, Role
from breakdown.model.stages import STAGES, Op, Stage

W0, S0 = Node(Role.WORKER, 0), Node(Role.SERVER, 0)

OPS: Mapping[Stage, tuple[str, ...]] = {
    Stage.INPUT: (Op.LOAD,),
    Stage.COMPUTE: (Op.FORWARD, Op.BACKWARD, Op.UPDATE),
    Stage.SERIALIZE: (Op.ENCODE, Op.DECODE),
    Stage.PUSH: (Op.WIRE,),
    Stage.AGGREGATE: (Op.QUEUE, Op.SUM, Op.UPDATE),
    Stage.PULL: (Op.WIRE, Op.HANDOVER),
    Stage.WAIT: (Op.HOLD,),
    Stage.OTHER: (Op.UNEXPLAINED,),
}
KEYS = ("fc1.weight", "fc2.weight", "fc3.weight", "conv2.weight", "fc1.bias", "fc2.bias", "conv1.weight")


def around(value: float, width: float) -> Interval:
    return Interval(value - width, value + width)


def split(total: int, parts: int) -> list[int]:
    """Parts that shrink by half and add up to the total."""
    out = []
    for _ in range(parts - 1):
        out.append(total // 2)
        total -= out[-1]
    return [*out, total]


def place_of(stage: Stage) -> Node:
    return S0 if stage in (Stage.AGGREGATE, Stage.PULL) else W0


def key_times(exposed: Sequence[int], keys: Sequence[str]) -> tuple[KeyTime, ...]:
    found = []
    for stage, total in zip(STAGES, exposed, strict=True):
        if stage in (Stage.INPUT, Stage.OTHER):
            found.append(KeyTime("", stage, W0, total))
        elif stage is Stage.SERIALIZE:
            worker, server = split(total, 2)
            found += [KeyTime(keys[0], stage, W0, worker), KeyTime(keys[0], stage, S0, server)]
        else:
            found += [KeyTime(k, stage, place_of(stage), t) for k, t in zip(keys, split(total, len(keys)), strict=True)]
    return tuple(sorted((k for k in found if k.exposed_ns), key=lambda k: -k.exposed_ns))


def queues(total: int) -> tuple[Queued, ...]:
    """Queue time behind two operations."""
    server = Node(Role.SERVER, 0)
    return Queued("update", KEYS[0], server, total - total // 4), Queued("sum", KEYS[1], server, total // 4)


def cell(
    cell_id: str,
    label: str,
    exposed: Sequence[int],
    rates: Sequence[float],
    config: Cell,
    servers: int = 0,
    keys: Sequence[str] = KEYS,
    **more: Any,
) -> CellFinding:
    """A cell whose account balances: stages, operations and keys all add up to the step."""
    step = sum(exposed)
    stages = tuple(
        StageTime(
            stage,
            total,
            total // 3 if stage is not Stage.COMPUTE else 0,
            total // 40,
            total // 50 if stage is Stage.COMPUTE else None,
            total / step if step else 0.0,
            around(total, total * 0.03),
            dict(zip(OPS[stage], split(total, len(OPS[stage])), strict=True)),
            {"compute": total - total // 5, "push": total // 5} if stage is Stage.WAIT and total else {},
            queues(split(total, len(OPS[stage]))[OPS[stage].index(Op.QUEUE)]) if Op.QUEUE in OPS[stage] and total else (),
        )
        for stage, total in zip(STAGES, exposed, strict=True)
    )
    middle = sorted(rates)[len(rates) // 2]
    loads = tuple(
        ServerLoad(rank, 21_000_000 + 900_000 * rank, 20_000_000 + 900_000 * rank, 9_400_000 + 700_000 * rank, 6_100_000, 7)
        for rank in range(servers)
    )
    return CellFinding(
        cell_id=cell_id,
        label=label,
        config=asdict(config),
        repetitions=len(rates),
        steps=50 * len(rates) * config.workers,
        step_ns=step,
        step_interval_ns=around(step, step * 0.015),
        samples_per_s=middle,
        samples_per_s_interval=Interval(min(rates), max(rates)),
        samples_per_s_by_run=tuple(rates),
        stages=stages,
        keys=key_times(exposed, keys),
        servers=loads,
        server_skew=1.04 if servers else None,
        bytes_pushed=10_494_000 if servers else 0,
        bytes_pulled=10_494_000 if servers else 0,
        recorder_cost_ns=38_400,
        **more,
    )


def waterfall(baseline: CellFinding, found: CellFinding) -> Waterfall:
    bars = tuple(
        Bar(b.stage, b.exposed_ns - a.exposed_ns, around(b.exposed_ns - a.exposed_ns, 40_000 + b.exposed_ns * 0.04))
        for a, b in zip(baseline.stages, found.stages, strict=True)
    )
    return Waterfall(baseline.cell_id, found.cell_id, baseline.label, found.label, baseline.step_ns, found.step_ns, bars)


SINGLE = cell(
    "single-1core-3f2a91",
    "single, 1 core",
    (212_431, 31_480_906, 0, 0, 0, 0, 0, 41_208),
    (2012.4, 2031.9, 2018.7),
    Cell(backend="single", workers=1, servers=0),
    speedup=1.0,
    speedup_interval=around(1.0, 0.01),
    efficiency=1.0,
    speedup_whole=0.57,
)
WHOLE = cell(
    "single-whole-8bd077",
    "single, whole machine",
    (214_002, 17_622_118, 0, 0, 0, 0, 0, 39_871),
    (3541.2, 3580.8, 3555.0),
    Cell(backend="single", workers=1, servers=0, cores_per_worker=0),
    speedup=1.76,
    speedup_interval=around(1.76, 0.02),
    speedup_whole=1.0,
)
ONE = cell(
    "torch_ps-1s1w-bsp-51c0de",
    "torch_ps 1s1w bsp",
    (214_377, 31_902_442, 3_104_981, 2_611_870, 6_930_415, 4_188_022, 0, 220_318),
    (1301.1, 1288.4, 1310.2),
    Cell(workers=1),
    servers=1,
    speedup=0.64,
    speedup_interval=around(0.64, 0.01),
    efficiency=0.64,
    speedup_whole=0.37,
)
TWO = cell(
    "torch_ps-1s2w-bsp-a41b7c",
    "torch_ps 1s2w bsp",
    (215_903, 36_771_250, 4_911_339, 4_020_114, 14_302_871, 7_415_667, 5_230_994, 391_200),
    (1748.2, 1801.6, 1762.9),
    Cell(workers=2),
    servers=1,
    speedup=0.87,
    speedup_interval=around(0.87, 0.02),
    efficiency=0.437,
    speedup_whole=0.5,
    warnings=("worker 1 was without a core for 6.2 % of its compute: 2 workers and 1 server share 2 cores.",),
    notes=("server-0: not pinned, no core is free of pinned roles",),
)


def experiment() -> ExperimentFinding:
    return ExperimentFinding(
        name="quickstart",
        description="A perceptron of 2.6 million parameters: one node against a parameter server with two workers.",
        machine={
            "host": "bench-1",
            "cpu": "Example CPU @ 2.4 GHz",
            "cores": 2,
            "memory_bytes": 25_769_803_776,
            "kernel": "6.1.0",
        },
        versions={"breakdown": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "numpy": "2.4.1"},
        cells=(SINGLE, WHOLE, ONE, TWO),
        waterfalls=(waterfall(SINGLE, ONE), waterfall(SINGLE, TWO)),
        cost={"torch_ps 1 server, bsp": Cost(None, 2)},
        verdict=Verdict(
            "Two workers train 13 % slower than one node, mostly since each step spends 14.30 ms at the server.",
            (
                "A step takes 73.26 ms against 31.73 ms on the single node: 41.52 ms more.",
                "aggregate is the largest part of the gap: 14.30 ms, of it 7.15 ms in the server's queue.",
                "The only server handles 21.0 MB a step and is busy for 9.40 ms of it.",
            ),
            others=("One worker and a server run at 0.64× the speed of one node.",),
        ),
        failures=("torch_ps-1s4w-bsp-0c33aa repetition 2: server 0 ended with exit code 137; see log/run-2/server-0.log.",),
    )


def comparison() -> Comparison:
    rows = [
        Delta(
            stage.label, a.exposed_ns, b.exposed_ns, b.exposed_ns - a.exposed_ns, around(b.exposed_ns - a.exposed_ns, 90_000)
        )
        for stage, a, b in zip(STAGES, TWO.stages, ONE.stages, strict=True)
    ]
    step = Delta("step", TWO.step_ns, ONE.step_ns, ONE.step_ns - TWO.step_ns, around(ONE.step_ns - TWO.step_ns, 400_000))
    return Comparison(
        TWO.label,
        ONE.label,
        (TWO.samples_per_s, ONE.samples_per_s),
        0.74,
        around(0.74, 0.02),
        (step, *rows),
        {"workers": (2, 1), "workload_options": ({"hidden": 512}, {})},
    )


def many(count: int) -> ExperimentFinding:
    """An experiment with `count` parameter-server cells under long labels, and its single node."""
    cells = []
    for index in range(count):
        stages = [stage.exposed_ns + index * 731_017 * (number % 3) for number, stage in enumerate(TWO.stages)]
        cells.append(
            cell(
                f"torch_ps-{index}",
                f"torch_ps {1 + index % 3}s{2 + index}w ssp staleness {index} split 2bit zmq",
                stages,
                (1500.0 + 37 * index, 1540.0 + 37 * index, 1490.0 + 37 * index),
                Cell(workers=2 + index, servers=1 + index % 3, consistency="ssp", staleness=index),
                servers=1 + index % 3,
                speedup=0.7 + index / 50,
                speedup_interval=around(0.7 + index / 50, 0.03),
                efficiency=0.3,
                speedup_whole=0.4,
            )
        )
    found = experiment()
    return replace(
        found,
        cells=(SINGLE, *cells),
        waterfalls=tuple(waterfall(SINGLE, one) for one in cells),
        cost={f"family {index}": Cost(index or None, 4) for index in range(3)},
    )


def bare() -> ExperimentFinding:
    """One cell, one repetition: no intervals, no servers, no waterfall, nothing compared, no keys."""
    none = Interval(None, None)
    only = replace(
        SINGLE,
        repetitions=1,
        step_interval_ns=none,
        samples_per_s_interval=none,
        samples_per_s_by_run=(2012.4,),
        stages=tuple(replace(stage, exposed_interval_ns=none) for stage in SINGLE.stages),
        keys=(),
        recorder_cost_ns=None,
        speedup=None,
        speedup_interval=None,
        efficiency=None,
        speedup_whole=None,
    )
    return replace(experiment(), cells=(only,), waterfalls=(), cost={}, failures=(), machine={}, versions={}, description="")
