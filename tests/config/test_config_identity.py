"""Cell ids: stable over time, different where the measurement is."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakdown.config import validate
from breakdown.config.cell import Cell
from breakdown.config.identity import (
    NOT_MEASURED,
    NOT_OF_MXNET,
    NOT_OF_TENSORFLOW,
    PS_FIELDS,
    canonical,
    cell_id,
    is_one_node,
    label,
    labels,
)  # fmt: skip
from breakdown.errors import ConfigError


def test_ids_are_what_they_were() -> None:
    """Committed results are found by these. A change here orphans them."""
    assert cell_id(Cell()) == "torch_ps-1s1w-bsp-44136fa3"
    assert cell_id(Cell(backend="single")).startswith("single-1core-")
    assert cell_id(Cell(workers=2, compression="2bit", steps=20)) == "torch_ps-1s2w-bsp-2bit-9525e8ea"
    assert cell_id(Cell(backend="mxnet", workers=2)) == "mxnet-1s2w-dist_sync-caefd90a"
    assert cell_id(Cell(backend="tensorflow", workers=2)) == "tensorflow-1s2w-graph-bsp-8c3806b5"


def test_the_order_of_options_makes_no_difference() -> None:
    a = Cell(workload_options={"hidden": 1, "layers": 2})
    b = Cell(workload_options={"layers": 2, "hidden": 1})
    assert cell_id(a) == cell_id(b)
    assert label(a) == label(b) == "torch_ps 1s1w bsp hidden=1 layers=2"


@pytest.mark.parametrize("field", sorted(PS_FIELDS | NOT_MEASURED))
def test_what_means_nothing_to_a_single_node_does_not_count(field: str) -> None:
    other = {"servers": 3, "consistency": "async", "update_on": "worker", "sharding": "split", "push_when": "end"}
    default = getattr(Cell(), field)
    value = other.get(field, f"{default}x" if isinstance(default, str) else default + 1)
    single = Cell(backend="single")
    assert cell_id(replace(single, **{field: value})) == cell_id(single)


def test_conditional_fields_count_only_under_their_condition() -> None:
    assert cell_id(Cell(split_bound_bytes=8)) == cell_id(Cell())
    assert cell_id(Cell(sharding="split", split_bound_bytes=8)) != cell_id(Cell(sharding="split"))
    assert cell_id(Cell(compression_threshold=0.1)) == cell_id(Cell())
    assert cell_id(Cell(compression="2bit", compression_threshold=0.1)) != cell_id(Cell(compression="2bit"))
    assert cell_id(Cell(consistency="ssp", staleness=1)) != cell_id(Cell(consistency="ssp"))


def _values(field: str) -> st.SearchStrategy[Any]:
    rule = validate.RULES[field]
    if rule.kind is bool:
        return st.booleans()
    if rule.kind is str:
        return st.sampled_from(rule.choices) if rule.choices else st.sampled_from(["mlp", "cnn"])
    if rule.kind is float:
        return st.floats(0.001, 1000)
    return st.integers(int(rule.low or 0), min(int(rule.high or 10_000), 10_000))


CELLS = st.builds(
    Cell,
    workload_options=st.dictionaries(st.sampled_from(["hidden", "layers"]), st.integers(1, 9)),
    **{field.name: _values(field.name) for field in fields(Cell) if field.name != "workload_options"},
)


@given(CELLS, CELLS)
def test_ids_differ_exactly_when_the_measurement_does(a: Cell, b: Cell) -> None:
    assert (cell_id(a) == cell_id(b)) == (canonical(a) == canonical(b))


@given(
    CELLS, st.sampled_from([f.name for f in fields(Cell) if f.name not in {"workload_options", *NOT_MEASURED}]), st.data()
)
def test_one_changed_field_changes_the_id(cell: Cell, field: str, data: st.DataObject) -> None:
    changed = replace(cell, **{field: data.draw(_values(field))})
    same = canonical(changed) == canonical(cell)
    assert (cell_id(changed) == cell_id(cell)) == same
    mxnet, tensorflow = cell.backend == "mxnet", cell.backend == "tensorflow"
    silent = (
        (is_one_node(cell) and field in PS_FIELDS)
        or (field in NOT_OF_MXNET if mxnet else field == "kvstore")
        or (field in NOT_OF_TENSORFLOW if tensorflow else field in ("tf_mode", "trace_every"))
        or (field == "staleness" and cell.consistency != "ssp")
        or (field == "split_bound_bytes" and cell.sharding != "split" and not mxnet)
        or (field == "compression_threshold" and cell.compression != "2bit")
    )
    assert same == (silent or getattr(changed, field) == getattr(cell, field))


@given(CELLS)
def test_ids_fit_a_folders_name_and_labels_one_line(cell: Cell) -> None:
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", cell_id(cell))
    assert "\n" not in label(cell)


def test_labels() -> None:
    assert label(Cell(backend="single")) == "single 1 core"
    assert label(Cell(backend="single", cores_per_worker=4)) == "single 4 cores"
    assert label(Cell(backend="single", cores_per_worker=0)) == "single whole machine"
    assert label(Cell(workers=2)) == "torch_ps 1s2w bsp"
    assert label(Cell(backend="mxnet", kvstore="local", cores_per_worker=0)) == "mxnet local whole machine"
    assert label(Cell(backend="mxnet", kvstore="dist_async", workers=2, servers=2)) == "mxnet 2s2w dist_async"
    assert label(Cell(backend="tensorflow", tf_mode="local")) == "tensorflow local 1 core"
    assert label(Cell(backend="tensorflow", workers=2)) == "tensorflow 1s2w graph bsp"
    assert label(Cell(backend="tensorflow", workers=2, trace_every=1)) == "tensorflow 1s2w graph bsp trace_every=1"
    strategy = Cell(backend="tensorflow", workers=2, servers=2, tf_mode="strategy", consistency="async")
    assert label(strategy) == "tensorflow 2s2w strategy async"
    assert label(Cell(servers=2, workers=4, consistency="ssp", staleness=3)) == "torch_ps 2s4w ssp 3"
    assert label(Cell(transport="zmq", compression="2bit", record=False, learning_rate=0.5)) == (
        "torch_ps 1s1w bsp learning_rate=0.5 2bit zmq record=off"
    )


def test_labels_beside_others_leave_out_what_is_the_same() -> None:
    a = Cell(steps=9, batch_size=8)
    b = Cell(steps=9, batch_size=8, serializer="pickle")
    single = Cell(steps=9, batch_size=8, backend="single")
    assert labels((a, b, single)) == ["torch_ps 1s1w bsp", "torch_ps 1s1w bsp pickle", "single 1 core"]


def test_every_field_has_a_rule() -> None:
    assert set(validate.RULES) | {"workload_options"} == set(validate.FIELDS)
    validate.check(Cell())


@pytest.mark.parametrize("backend", ["single", "torch_ps", "mxnet", "tensorflow"])
def test_check_refuses_a_wrong_cell_however_it_was_made(backend: str) -> None:
    validate.check(Cell(backend=backend))
    with pytest.raises(ConfigError, match="steps must be at least 1"):
        validate.check(Cell(backend=backend, steps=0))
    with pytest.raises(ConfigError, match="an option's name must be text"):
        validate.check(Cell(workload_options={3: 1}))  # type: ignore[dict-item]
