"""Folders of a result: where files lie, and what is said when one is missing, broken or of another version."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_traces import WORKERS, cell, record_worker
from support.saved import content_of

from breakdown.errors import BreakdownError, TraceError, UsageError
from breakdown.model.schema import FORMAT_VERSION
from breakdown.store.collect import collect
from breakdown.store.files import replacing
from breakdown.store.folder import CellFolder, ExperimentFolder
from breakdown.store.tables import load
from breakdown.store.version import current


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path / "experiment" / "cell")
    content = content_of("cell", label="größer")
    assert not folder.exists()
    folder.write(content)
    assert folder.exists()
    assert folder.read() == content
    assert os.listdir(folder.path) == ["cell.json"]


def test_every_file_has_its_place() -> None:
    folder = CellFolder(Path("cell"))
    assert folder.log_dir(2) == Path("cell/log/run-2")
    assert folder.raw_file(2, WORKERS[1]) == Path("cell/raw/run-2/worker-1.trace")
    assert folder.table("spans") == Path("cell/spans.parquet")


def test_cells_are_listed_by_id_and_the_matrix_has_its_own_order(tmp_path: Path) -> None:
    experiment = ExperimentFolder(tmp_path)
    for name in ("b", "a"):
        cell(tmp_path / name)
    (tmp_path / "plots").mkdir()
    experiment.write({"name": "x", "description": "", "cells": ["b", "a"]})
    assert experiment.cells() == [experiment.cell("a"), experiment.cell("b")]
    assert experiment.read()["cells"] == ["b", "a"]


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as new:
            new.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(TraceError, match=r"cannot write .*a\.json: No space left on device"):
        write_half()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.json", "old")]


@pytest.mark.parametrize(
    ("content", "kind", "text"),
    [
        (None, UsageError, "is not a saved cell: it has no cell.json"),
        ("{", TraceError, r"cannot read .*cell\.json"),
        ("[]", TraceError, "holds no JSON object"),
        ("{}", TraceError, "has no format_version"),
        (
            '{"format_version": 3}',
            TraceError,
            "written in format 3; this version of breakdown reads up to 2. Install a newer",
        ),
        ('{"format_version": 0}', TraceError, "written in format 0, which nothing leads from"),
    ],
)
def test_a_cell_that_cannot_be_read(tmp_path: Path, content: str | None, kind: type[BreakdownError], text: str) -> None:
    if content is not None:
        (tmp_path / "cell.json").write_text(content)
    for attempt in (CellFolder(tmp_path).read, lambda: load(tmp_path)):
        with pytest.raises(kind, match=text):
            attempt()


def test_a_missing_experiment_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no folder .*gone"):
        ExperimentFolder(tmp_path / "gone").cells()
    with pytest.raises(UsageError, match="is not a saved experiment"):
        ExperimentFolder(tmp_path).read()


def test_an_older_cell_goes_through_all_its_migrations(tmp_path: Path) -> None:
    def rename(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
        assert folder == tmp_path
        return {"cell_id": content["name"]}

    def add_label(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
        return {**content, "label": content["cell_id"].upper()}

    migrations = {1: rename, 2: add_label}
    found = current(tmp_path, {"format_version": 1, "name": "x"}, version=3, migrations=migrations)
    assert found == {"format_version": 3, "cell_id": "x", "label": "X"}


def test_a_result_of_format_1_lacks_what_it_did_not_record(tmp_path: Path) -> None:
    """A repetition that is added to it has it."""
    folder = cell(tmp_path)
    folder.write(content_of("cell", runs=(0, 1), format_version=1))
    for run in range(2):
        record_worker(folder, run, WORKERS[0])
        collect(folder, run)
        if run == 0:
            spans = pq.read_table(folder.table("spans"))
            pq.write_table(spans.drop_columns(["runnable_ns"]), folder.table("spans"))
            assert load(tmp_path).spans["runnable_ns"].isna().all()
    assert folder.read()["format_version"] == FORMAT_VERSION
    forward = load(tmp_path).spans.query("op == 'forward'")
    assert forward["cpu_ns"].tolist() == [0, 0]
    assert forward["runnable_ns"].tolist() == [pd.NA, 40]


def test_a_cell_without_tables_says_so(tmp_path: Path) -> None:
    cell(tmp_path)
    with pytest.raises(TraceError, match=r"has no spans\.parquet: no repetition of this cell was collected"):
        load(tmp_path)


def test_a_table_of_another_program_is_refused(tmp_path: Path) -> None:
    folder = cell(tmp_path)
    record_worker(folder, 0, WORKERS[0])
    collect(folder, 0)
    pq.write_table(pa.table({"run": [1]}), folder.table("steps"))
    with pytest.raises(TraceError, match=r"steps\.parquet has no column rank, thread"):
        load(tmp_path)
