"""What was measured and cannot be shown is named, in the terminal, on the page, and in what `read` returns."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from breakdown.cli.main import cli
from breakdown.cli.outputs import write
from breakdown.cli.results import read
from breakdown.errors import TraceError, UsageError
from breakdown.runner.left import collect_left
from breakdown.store.tables import load

SAVED = Path(__file__).parents[2] / "results" / "quickstart"
SINGLE, DISTRIBUTED = "single-1core-5306af3b", "torch_ps-1s2w-bsp-d276575a"


@pytest.fixture
def result(tmp_path: Path) -> Path:
    """Two cells of a real result."""
    folder = tmp_path / "result"
    for name in (SINGLE, DISTRIBUTED):
        shutil.copytree(SAVED / name, folder / name)
    about = {"name": "two", "description": "", "cells": [SINGLE, DISTRIBUTED]}
    (folder / "experiment.json").write_text(json.dumps(about))
    return folder


def set_key(file: Path, *path: str | int, value: object) -> None:
    """Puts a value in one place of a JSON file."""
    content = inner = json.loads(file.read_text())
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file.write_text(json.dumps(content))


def remove_tables(cell: Path) -> None:
    for table in cell.glob("*.parquet"):
        table.unlink()


def unrecorded(cell: Path) -> None:
    remove_tables(cell)
    set_key(cell / "cell.json", "config", "record", value=False)


def cut(cell: Path) -> None:
    path = cell / "spans.parquet"
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (shutil.rmtree, "has no folder"),
        (lambda cell: (cell / "cell.json").unlink(), "has no cell.json"),
        (lambda cell: (cell / "cell.json").write_text("{"), "cannot read"),
        (lambda cell: (cell / "steps.parquet").unlink(), "has no steps.parquet"),
        (lambda cell: (cell / "clock.json").unlink(), "has no clock.json"),
        (lambda cell: (cell / "notes.json").unlink(), "has no notes.json"),
        (remove_tables, "3 repetitions of it were done, but"),
        (unrecorded, "not recorded (record: false)"),
        (cut, "cannot read"),
        (lambda cell: set_key(cell / "cell.json", "runs", value=[]), "knows no repetition 0"),
        (lambda cell: set_key(cell / "clock.json", "runs", "1", "nodes", value={}), "knows no worker-0 in repetition 1"),
    ],
)
def test_a_cell_that_cannot_be_shown_is_named(result: Path, harm: Callable[[Path], None], text: str) -> None:
    harm(result / SINGLE)
    found = read(result)
    assert [cell.cell_id for cell in found.finding.cells] == [DISTRIBUTED]
    (line,) = found.finding.left_out
    assert line.startswith(f"{SINGLE}: ")
    assert text in line
    told = CliRunner().invoke(cli, ["explain", str(result)])
    assert told.exit_code == 0
    assert f"\nLeft out\n • {SINGLE}: " in told.output


def test_the_page_names_it(result: Path) -> None:
    cut(result / SINGLE)
    write(read(result))
    page = (result / "report.html").read_text()
    assert "1 cell of this result could not be shown" in page
    assert page.count(f"<b>Left out:</b> {SINGLE}: cannot read") == 1


def test_a_cell_tells_which_single_node_it_could_not_be_compared_with(result: Path) -> None:
    (result / SINGLE / "cell.json").write_text("[]")
    (line,) = read(result / DISTRIBUTED).finding.left_out
    assert line.startswith(f"not compared with {SINGLE}: ")
    assert "holds no JSON object" in line


def test_where_nothing_is_left_the_reasons_are_the_error(result: Path) -> None:
    cut(result / SINGLE)
    shutil.rmtree(result / DISTRIBUTED)
    with pytest.raises(TraceError, match=rf"holds no measured cell\.\n(.|\n)*{DISTRIBUTED}(.|\n)*{SINGLE}: cannot read"):
        read(result)
    with pytest.raises(TraceError, match=r"^cannot read .*spans\.parquet"):
        read(result / SINGLE)


def test_repetitions_without_rows_are_warned_of(result: Path) -> None:
    path = result / SINGLE / "cell.json"
    runs = json.loads(path.read_text())["runs"]
    set_key(path, "runs", value=[*runs, {**runs[0], "run": 7}])
    assert "repetition 7 was done, but has no row in spans.parquet and steps.parquet" in load(result / SINGLE).warnings


def test_samples_that_are_gone_are_warned_of(result: Path) -> None:
    set_key(result / SINGLE / "cell.json", "runs", 0, "sample_rate_hz", value=50)
    (warning,) = load(result / SINGLE).warnings
    assert warning == "nothing of what py-spy saw is shown: there is no samples.parquet"
    (result / SINGLE / "samples.parquet").write_text("x")
    (warning,) = load(result / SINGLE).warnings
    assert warning.startswith("nothing of what py-spy saw is shown: cannot read ")


def test_a_result_is_not_gone_on_with_where_a_new_repetition_would_replace_rows(result: Path) -> None:
    yaml = result.parent / "two.yaml"
    yaml.write_text("name: two\ndefaults: {warmup_steps: 5, steps: 40, batch_size: 64}\ninclude: [{backend: single}]\n")
    shutil.rmtree(result / DISTRIBUTED)
    set_key(result / "experiment.json", "cells", value=[SINGLE])
    resume = ["run", str(yaml), "--output", str(result), "--resume"]
    for harm in ((lambda path: set_key(path, "runs", value=[])), Path.unlink):
        harm(result / SINGLE / "cell.json")
        told = CliRunner().invoke(cli, resume)
        assert told.exit_code == 1, told.output
        assert "cell.json" in told.stderr
        assert (result / SINGLE / "steps.parquet").read_bytes() == (SAVED / SINGLE / "steps.parquet").read_bytes()


def test_traces_of_a_cell_that_is_gone_are_told_and_the_others_collected(result: Path) -> None:
    (result / SINGLE / "cell.json").unlink()
    raw = result / SINGLE / "raw" / "run-3"
    raw.mkdir(parents=True)
    (raw / "worker-0.trace").write_bytes(b"")
    with pytest.raises(TraceError, match=rf"not all can be collected:\n{SINGLE}: .* has no cell\.json"):
        collect_left(result)


@pytest.mark.parametrize(
    ("file", "path", "value", "text"),
    [
        ("cell.json", ("runs", 0, "status"), "maybe", "runs[0].status is 'maybe', not 'done' or 'failed'"),
        ("cell.json", ("config", "warmup_steps"), "5", "config.warmup_steps is '5', not a whole number from 0"),
        ("cell.json", ("label",), None, "label is null, not a text"),
        ("cell.json", ("runs", 0, "wall_s"), [], "runs[0].wall_s is an empty list, not a number"),
        ("cell.json", ("runs", 1, "run"), 0, "runs is a list of 3, not a list in which each repetition stands once"),
        ("clock.json", ("runs", "0", "nodes", "worker-0", "offset_ns"), 1.5, "offset_ns is 1.5, not a whole number"),
        ("clock.json", ("runs", "0", "nodes", "worker-0", "at_ns"), None, "are all null or none"),
        ("clock.json", ("runs",), {"x": {}}, "runs has the key 'x', which is not the number of a repetition"),
        ("notes.json", ("runs", "0", "worker-0"), {}, "runs['0']['worker-0'] is an empty object, not a list"),
        ("notes.json", ("runs", "0", "worker-0", 0), ["traced_steps", {"first": 0}], "an object with first and every"),
    ],
)
def test_a_wrong_value_is_told_with_its_key_and_what_was_wanted(
    result: Path, file: str, path: tuple[str | int, ...], value: object, text: str
) -> None:
    harmed = result / SINGLE / file
    set_key(harmed, *path, value=value)
    with pytest.raises(TraceError) as told:
        load(result / SINGLE)
    assert str(told.value).startswith(f"{harmed}: ")
    assert text in str(told.value)


@pytest.mark.parametrize(
    "content", ['{"name": NaN}', '{"name": "\\ud800"}', "[" * 100_000, '{"name": "x", "description": ""}']
)
def test_an_experiment_that_is_broken_is_no_traceback(result: Path, content: str) -> None:
    (result / "experiment.json").write_text(content)
    with pytest.raises((TraceError, UsageError), match=r"experiment\.json"):
        read(result)
