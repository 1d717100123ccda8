"""Experiment files: what they expand to, and what their errors say."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from breakdown.config import matrix
from breakdown.config.cell import CONSISTENCIES, SERIALIZERS, Cell
from breakdown.config.experiment import load
from breakdown.config.override import parse, parse_all
from breakdown.errors import ConfigError


def read(folder: Path, text: str, **overrides: object) -> tuple[Cell, ...]:
    path = folder / "x.yaml"
    path.write_text(text)
    return load(path, overrides).cells


def test_all_keys(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(
        "name: trial\ndescription: >\n  two\n  lines\nrepetitions: 4\ndefaults: {steps: 7, learning_rate: 1e-3}\n"
    )
    experiment = load(path)
    assert (experiment.name, experiment.description, experiment.repetitions) == ("trial", "two lines", 4)
    assert experiment.cells == (Cell(steps=7, learning_rate=0.001),)
    assert experiment.source == str(path)


def test_name_defaults_to_the_files(tmp_path: Path) -> None:
    path = tmp_path / "first-try.yaml"
    path.write_text("defaults: {steps: 3}\n")
    assert load(path).name == "first-try"
    assert load(path).repetitions == 1


def test_axes_multiply_and_the_first_varies_slowest(tmp_path: Path) -> None:
    cells = read(tmp_path, "axes:\n  workers: [1, 2]\n  serializer: [raw, pickle]\n")
    assert [(cell.workers, cell.serializer) for cell in cells] == [(1, "raw"), (1, "pickle"), (2, "raw"), (2, "pickle")]


def test_include_adds_and_exclude_takes_from_the_product_only(tmp_path: Path) -> None:
    cells = read(
        tmp_path,
        """
defaults: {batch_size: 8}
axes: {workers: [1, 2], servers: [1, 2]}
include:
  - {backend: single}
  - {workers: 2, servers: 2, steps: 9}
exclude:
  - {workers: 2, servers: 2}
""",
    )
    assert [(cell.backend, cell.workers, cell.servers, cell.steps) for cell in cells] == [
        ("torch_ps", 1, 1, 50),
        ("torch_ps", 1, 2, 50),
        ("torch_ps", 2, 1, 50),
        ("single", 1, 1, 50),
        ("torch_ps", 2, 2, 9),
    ]
    assert {cell.batch_size for cell in cells} == {8}


def test_include_alone_is_the_whole_matrix(tmp_path: Path) -> None:
    assert [cell.workers for cell in read(tmp_path, "include: [{workers: 1}, {workers: 3}]")] == [1, 3]


def test_options_merge_one_by_one_or_are_replaced_whole(tmp_path: Path) -> None:
    cells = read(
        tmp_path,
        """
defaults: {workload_options: {hidden: 64, layers: 2}}
include:
  - {workload_options.hidden: 128}
  - {workload_options: {hidden: 32}}
""",
    )
    assert [dict(cell.workload_options) for cell in cells] == [{"hidden": 128, "layers": 2}, {"hidden": 32}]


def test_anchors_and_merge_keys(tmp_path: Path) -> None:
    cells = read(tmp_path, "include:\n  - &base {workers: 2, steps: 5}\n  - {<<: *base, workers: 3}\n")
    assert [(cell.workers, cell.steps) for cell in cells] == [(2, 5), (3, 5)]


def test_an_override_wins_everywhere_and_shrinks_its_axis(tmp_path: Path) -> None:
    text = "defaults: {steps: 3}\naxes: {workers: [1, 2, 4], servers: [1, 2]}\ninclude: [{backend: single, steps: 8}]\n"
    cells = read(tmp_path, text, steps=2, servers=1)
    assert [(cell.backend, cell.workers, cell.servers, cell.steps) for cell in cells] == [
        ("torch_ps", 1, 1, 2),
        ("torch_ps", 2, 1, 2),
        ("torch_ps", 4, 1, 2),
        ("single", 1, 1, 2),
    ]
    assert len(read(tmp_path, "axes: {workers: [1, 2]}\n", workers=3)) == 1


def test_repetitions_can_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("repetitions: 5\n")
    assert load(path, {"repetitions": 2}).repetitions == 2
    with pytest.raises(ConfigError, match="repetitions must be a whole number from 1 to 1000, not 0"):
        load(path, {"repetitions": 0})


ERRORS = {
    "unknown top key": ("nam: x\n", r"line 1: unknown key 'nam'\. Did you mean 'name'\? Known: axes, "),
    "unknown field": (
        "\ndefaults:\n  worker: 2\n",
        r"line 3: unknown key 'worker'\. Did you mean 'workers'\?",
    ),
    "unknown field in include": ("include:\n  - workers: 2\n    stepps: 1\n", r"line 3: unknown key 'stepps'"),
    "unknown axis": ("axes:\n  a: [1]\n", r"line 2: unknown key 'a'"),
    "duplicate key": ("name: a\ndescription: b\nname: c\n", r"line 3: key 'name' is there twice, first in line 1"),
    "duplicate inner key": ("defaults:\n  steps: 1\n  steps: 2\n", r"line 3: key 'steps' is there twice, first in line 2"),
    "unknown backend": (
        "defaults: {backend: torchps}\n",
        r"line 1: unknown backend 'torchps'\. Did you mean 'torch_ps'\?",
    ),
    "wrong type": ("defaults: {steps: many}\n", r"line 1: steps must be a whole number, not 'many'"),
    "bool is no number": ("defaults: {steps: true}\n", r"steps must be a whole number, not True"),
    "fraction is no count": ("defaults: {workers: 1.5}\n", r"workers must be a whole number, not 1\.5"),
    "too small": ("axes:\n  steps: [5, 0]\n", r"line 2: steps must be at least 1, not 0"),
    "too big": ("defaults: {port: 65536}\n", r"port must be at most 65535, not 65536"),
    "not above": ("defaults: {learning_rate: 0}\n", r"learning_rate must be above 0, not 0"),
    "infinite": ("defaults: {timeout_s: .inf}\n", r"timeout_s must be a finite number, not inf"),
    "nothing": ("defaults:\n  steps:\n", r"line 2: steps must be a whole number, not nothing"),
    "empty text": ("defaults: {workload: ''}\n", r"workload must not be empty"),
    "list for a value": ("defaults: {workers: [1, 2]}\n", r"workers must be a whole number, not a list"),
    "options": ("defaults: {workload_options: 3}\n", r"workload_options must be a mapping of option: value, not 3"),
    "nested option": ("defaults: {workload_options.a: [1]}\n", r"workload_options\.a must be a number, text"),
    "single with workers": (
        "include:\n  - backend: single\n    workers: 2\n",
        r"line 3: backend 'single' is one node",
    ),
    "staleness": ("defaults:\n  staleness: 2\n", r"line 2: staleness 2 needs consistency ssp, but consistency is bsp"),
    "inproc": ("defaults: {transport: inproc}\n", r"line 1: transport 'inproc' stays inside one process"),
    "update on worker": ("defaults: {update_on: worker, consistency: async}\n", r"update_on worker needs consistency bsp"),
    "equal cells": ("include:\n  - {steps: 3}\n  - {steps: 3}\n", r"line 3: cells 1 and 2 of the matrix measure the same"),
    "equal single": (
        "defaults: {backend: single}\naxes: {servers: [1, 2]}\n",
        r"line 2: cells 1 and 2 of the matrix measure the same: 'single 1 core'",
    ),
    "exclude without axes": ("exclude: [{steps: 3}]\n", r"line 1: exclude takes cells out of the axes' product"),
    "exclude without match": ("axes: {steps: [1, 2]}\nexclude:\n  - {steps: 3}\n", r"line 3: this exclude matches no cell"),
    "nothing left": ("axes: {steps: [1]}\nexclude: [{steps: 1}]\n", r"x\.yaml: the excludes leave no cell"),
    "axis not a list": ("axes: {workers: 3}\n", r"axis 'workers' must be a list of values"),
    "empty axis": ("axes: {workers: []}\n", r"axis 'workers' must be a list of values"),
    "axes not a mapping": ("axes: [1]\n", r"axes must be a mapping"),
    "include not a list": ("include: {workers: 2}\n", r"line 1: include must be a list of cells"),
    "bad name": ("name: ../up\n", r"line 1: name '\.\./up' must be letters"),
    "bad description": ("description: [a]\n", r"description must be text"),
    "repetitions": ("\nrepetitions: 0\n", r"line 2: repetitions must be a whole number from 1 to 1000, not 0"),
    "not a mapping": ("- a\n", r"an experiment file is a mapping of name, "),
    "empty file": ("", r"an experiment file is a mapping of name, "),
    "broken YAML": ("name: [a\nb: c\n", r"x\.yaml line 2: "),
    "python object": ("name: !!python/object/apply:os.system [ls]\n", r"line 1: could not determine a constructor"),
    "recursive": ("axes: &a\n  workers: [*a]\n", r"line 1: found unconstructable recursive node"),
    "bad timestamp": ("name: 2026-99-99\n", r"not valid YAML: month must be in 1\.\.12"),
    "deep": ("[" * 3000, r"nested too deeply"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_name_file_line_and_remedy(case: str, tmp_path: Path) -> None:
    text, pattern = ERRORS[case]
    with pytest.raises(ConfigError, match=pattern) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "x.yaml") in str(caught.value)
    assert caught.value.exit_code == 2


def test_too_many_cells_are_refused_before_they_are_made(tmp_path: Path) -> None:
    values = list(range(1, 200))
    with pytest.raises(ConfigError, match="the matrix has 39601 cells, more than 10000"):
        read(tmp_path, f"axes: {{steps: {values}, batch_size: {values}}}\n")
    assert matrix.MAX_CELLS == 10_000


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no file .*none\.yaml"):
        load(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        load(tmp_path)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load(tmp_path / "binary.yaml")


@given(
    workers=st.sets(st.integers(1, 64), min_size=1, max_size=4),
    consistency=st.sets(st.sampled_from(CONSISTENCIES), min_size=1),
    serializer=st.sets(st.sampled_from(SERIALIZERS), min_size=1),
)
def test_the_product_has_every_combination_once(workers: set[int], consistency: set[str], serializer: set[str]) -> None:
    axes = {"workers": workers, "consistency": consistency, "serializer": serializer}
    settings = {key: tuple(matrix.Setting(value, "") for value in sorted(values, key=str)) for key, values in axes.items()}
    cells = matrix.expand(matrix.Matrix({}, settings, (), (), {}))
    assert len(cells) == len(workers) * len(consistency) * len(serializer)
    assert len({(cell.workers, cell.consistency, cell.serializer) for cell in cells}) == len(cells)


def test_overrides_are_parsed_and_checked() -> None:
    assert parse("steps=20") == ("steps", 20)
    assert parse("learning_rate=1") == ("learning_rate", 1.0)
    assert parse("learning_rate=1e-3") == ("learning_rate", 0.001)
    assert parse("record=false") == ("record", False)
    assert parse("workload_options.hidden=512") == ("workload_options.hidden", 512)
    assert parse(" transport = zmq") == ("transport", "zmq")
    assert parse_all(["steps=2", "repetitions=1"]) == {"steps": 2, "repetitions": 1}


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("steps", r"'steps' is not of the form key=value"),
        ("=3", r"is not of the form key=value"),
        ("stepps=3", r"unknown key 'stepps' in 'stepps=3'\. Did you mean 'steps'\?"),
        ("steps=", r"'steps=': steps must be a whole number, not nothing"),
        ("steps=[1]", r"'steps=\[1\]': '\[1\]' is not one value"),
        ("steps={", r"'\{' is not a value"),
        ("workload_options={a: 1}", r"set one option, for example workload_options\.hidden=512"),
    ],
)
def test_wrong_overrides(text: str, pattern: str) -> None:
    with pytest.raises(ConfigError, match=pattern):
        parse(text)


def test_an_override_given_twice() -> None:
    with pytest.raises(ConfigError, match="'steps' is set twice"):
        parse_all(["steps=1", "steps=2"])


def test_a_conflict_made_by_an_override_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--set workers=2: backend 'single' is one node"):
        read(tmp_path, "include: [{backend: single}]\n", workers=2)
