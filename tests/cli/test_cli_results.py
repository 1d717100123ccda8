"""The commands over one real result: measured once, then explained, drawn, compared and exported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from breakdown.analysis.overview import pieces
from breakdown.cli import results
from breakdown.cli.main import cli

pytestmark = pytest.mark.e2e

EXPERIMENT = """
name: small
description: two cells, small enough for a test
repetitions: 2
defaults:
  workload_options: {features: 16, hidden: 16, layers: 2}
  batch_size: 4
  warmup_steps: 2
  steps: 6
include:
  - {backend: single}
  - {backend: torch_ps, workers: 2}
"""


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The folder of a real run, and what `breakdown run` said."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "small.yaml").write_text(EXPERIMENT)
    result = call("run", folder / "small.yaml", "--output", folder / "small")
    return folder / "small", result


def cells(result: Path) -> list[Path]:
    return [result / name for name in json.loads((result / "experiment.json").read_text())["cells"]]


def test_run_shows_progress_tables_and_verdict(measured: tuple[Path, Result]) -> None:
    folder, result = measured
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("[1/4] single 1 core, round 1: done in ")
    assert lines[1].startswith("[2/4] torch_ps 1s2w bsp, round 1: done in ")
    assert "speedup" in result.output
    assert "COST" in result.output
    assert f"wrote {folder / 'report.html'}" in lines


def test_run_writes_all_files(measured: tuple[Path, Result]) -> None:
    folder, _ = measured
    summary = pd.read_parquet(folder / "summary.parquet")
    assert list(summary["cell_id"]) == [cell.name for cell in cells(folder)]
    assert "</html>" in (folder / "report.html").read_text()
    assert {path.suffix for path in (folder / "plots").iterdir()} == {".svg", ".png"}
    for cell in cells(folder):
        assert {"cell.json", "clock.json", "spans.parquet", "messages.parquet", "steps.parquet", "log"} <= {
            path.name for path in cell.iterdir()
        }
        assert not (cell / "raw").exists()


def test_explain_says_the_same_again(measured: tuple[Path, Result]) -> None:
    folder, result = measured
    again = call("explain", folder)
    assert again.exit_code == 0, again.output
    told = result.output[result.output.index("\nsmall") + 1 : result.output.index("wrote ")]
    assert again.output == told


def test_explain_one_cell(measured: tuple[Path, Result]) -> None:
    found = call("explain", cells(measured[0])[1])
    assert found.exit_code == 0, found.output
    assert "torch_ps 1s2w bsp" in found.output
    # Its experiment's single node is what it is compared with, and has no row of its own.
    assert "single 1 core → torch_ps 1s2w bsp: " in found.output
    assert "\n single 1 core" not in found.output
    assert "one worker's node" in found.output


def test_report_needs_no_torch(measured: tuple[Path, Result]) -> None:
    folder, _ = measured
    (folder / "report.html").unlink()
    script = (
        "import sys\nsys.modules['torch'] = None\nfrom breakdown.cli.main import main\n"  # None: importing it raises
        f"main(['report', {str(folder)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / "report.html").is_file()
    assert f"wrote {folder / 'plots'}" in done.stdout


def test_compare_two_cells(measured: tuple[Path, Result]) -> None:
    single, distributed = cells(measured[0])
    found = call("compare", single, distributed)
    assert found.exit_code == 0, found.output
    assert "single 1 core" in found.output
    assert "torch_ps 1s2w bsp" in found.output


def test_compare_wants_cells(measured: tuple[Path, Result]) -> None:
    folder, _ = measured
    found = call("compare", folder, folder)
    assert found.exit_code == 2
    assert f"holds 2 cells. Give the folder of one of them: {cells(folder)[0].name}, " in found.stderr


def test_export(measured: tuple[Path, Result], tmp_path: Path) -> None:
    cell = cells(measured[0])[1]
    found = call("export", cell, "--format", "perfetto", "--output", tmp_path / "a.perfetto")
    assert found.exit_code == 0, found.output
    assert (tmp_path / "a.perfetto").stat().st_size > 1000
    assert call("export", cell, "--format", "perfetto").output == f"wrote {cell / 'trace.perfetto'}\n"
    assert (cell / "trace.perfetto").is_file()


def test_a_page_that_cannot_be_written_is_said(measured: tuple[Path, Result]) -> None:
    cell = cells(measured[0])[0]
    found = call("export", cell, "--format", "perfetto", "--output", cell / "cell.json" / "a.perfetto")
    assert found.exit_code == 1
    assert "cannot write" in found.stderr
    assert "Not a directory" in found.stderr


def test_run_refuses_to_overwrite_and_resumes(measured: tuple[Path, Result]) -> None:
    folder, _ = measured
    yaml = folder.parent / "small.yaml"
    refused = call("run", yaml, "--output", folder)
    assert refused.exit_code == 2
    assert "--resume" in refused.stderr
    assert "--fresh" in refused.stderr
    resumed = call("run", yaml, "--output", folder, "--resume")
    assert resumed.exit_code == 0
    assert [line for line in resumed.output.splitlines() if "done before" in line] == resumed.output.splitlines()[:4]


def test_without_a_record_there_is_nothing_to_explain(measured: tuple[Path, Result], tmp_path: Path) -> None:
    arguments = ("--output", tmp_path / "bare", "--set", "record=false", "--set", "repetitions=1")
    found = call("run", measured[0].parent / "small.yaml", *arguments)
    assert found.exit_code == 0
    assert "Nothing was recorded (record: false)" in found.output
    explained = call("explain", tmp_path / "bare")
    assert explained.exit_code == 2
    assert "holds no measured cell" in explained.stderr


def test_a_report_shows_on_a_terminal_how_far_it_is_and_keeps_standard_output_clean(measured: tuple[Path, Result]) -> None:
    folder, _ = measured
    command = [sys.executable, "-m", "breakdown.cli", "report", str(folder)]
    env = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "200"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert "report: page" in done.stderr
    assert all(line.startswith("wrote ") for line in done.stdout.splitlines())
    quiet = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "TTY_COMPATIBLE")}
    done = subprocess.run(command, env=quiet, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""


def test_a_page_draws_no_more_pieces_than_it_may(measured: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, _ = measured
    found = results.read(folder)
    full = [pieces(timeline) for timeline in results.timelines(found)]
    monkeypatch.setattr(results, "MOST_OF_PAGE", 2 * min(full) - 2)
    monkeypatch.setattr(results, "LEAST_OF_TIMELINE", 1)
    assert max(pieces(timeline) for timeline in results.timelines(found)) < min(full)
