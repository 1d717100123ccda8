"""The matrix loop with the real single-node backend: what is written, what goes on, what is skipped."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest
from running_tool import experiment

from breakdown.config.cell import Experiment
from breakdown.config.experiment import load
from breakdown.errors import ConfigError, RunError, TraceError, UsageError
from breakdown.launch import local
from breakdown.launch.outcome import RunOutcome
from breakdown.launch.plan import RunPlan
from breakdown.runner import matrix
from breakdown.runner.left import collect_left
from breakdown.runner.matrix import Event, Outcome
from breakdown.runner.output import Existing
from breakdown.runner.unfinished import NOT_ENDED
from breakdown.store.folder import CellFolder
from breakdown.store.tables import load as load_tables

pytestmark = pytest.mark.e2e

ONE = "include: [{backend: single}]"


def measure(
    folder: Path, text: str, existing: Existing = Existing.REFUSE, repetitions: int = 1
) -> tuple[Outcome, list[Event], Path]:
    found = load(experiment(folder, text), {"repetitions": repetitions})
    events: list[Event] = []
    output = folder / "results"
    return matrix.run(found, output, existing, events.append), events, output


def kinds(events: Sequence[Event]) -> list[tuple[str, str, int, int]]:
    return [(event.kind, event.label, event.round, event.number) for event in events]


def only_cell(output: Path) -> CellFolder:
    (cell,) = output.glob("*/cell.json")
    return CellFolder(cell.parent)


def test_what_a_matrix_leaves(tmp_path: Path) -> None:
    text = "include: [{backend: single, steps: 3}, {backend: single, batch_size: 3}]"
    outcome, events, output = measure(tmp_path, text, repetitions=2)
    assert outcome == Outcome(output, 4, ())
    first, second = "single 1 core batch_size=2 steps=3", "single 1 core batch_size=3 steps=4"
    assert kinds(events) == [
        ("start", first, 1, 1),
        ("done", first, 1, 1),
        ("start", second, 1, 2),
        ("done", second, 1, 2),
        ("start", first, 2, 3),
        ("done", first, 2, 3),
        ("start", second, 2, 4),
        ("done", second, 2, 4),
    ]
    assert {event.total for event in events} == {4}
    about = json.loads((output / "experiment.json").read_text())
    assert (about["name"], len(about["cells"])) == ("trial", 2)
    for name in about["cells"]:
        folder = CellFolder(output / name)
        saved = folder.read()
        assert saved["cell_id"] == name
        assert saved["config"]["workload_options"] == {"features": 8, "hidden": 8, "layers": 1}
        assert saved["machine"]["cores"] == len(os.sched_getaffinity(0))
        assert [(entry["run"], entry["status"], entry["error"]) for entry in saved["runs"]] == [
            (0, "done", None),
            (1, "done", None),
        ]
        assert all(entry["wall_s"] > 0 and entry["recorder_cost_ns_per_span"]["worker-0"] > 0 for entry in saved["runs"])
        assert not (folder.path / "raw").exists()
        tables = load_tables(folder.path)
        assert set(tables.steps["run"]) == {0, 1}
        assert len(tables.steps) == 2 * (1 + saved["config"]["steps"])


def test_results_that_are_there_are_not_touched_unasked(tmp_path: Path) -> None:
    _, _, output = measure(tmp_path, ONE)
    before = only_cell(output).read()
    with pytest.raises(UsageError, match=r"holds results already\. .*--resume.*--fresh"):
        measure(tmp_path, ONE)
    assert only_cell(output).read() == before

    outcome, events, _ = measure(tmp_path, ONE, Existing.RESUME, repetitions=2)
    assert [event.kind for event in events] == ["skipped", "start", "done"]
    assert outcome.done == 2
    assert only_cell(output).read()["runs"][0] == before["runs"][0]
    assert [entry["run"] for entry in only_cell(output).read()["runs"]] == [0, 1]

    (output / "mine.txt").write_text("not a result")
    measure(tmp_path, ONE, Existing.FRESH)
    assert [entry["run"] for entry in only_cell(output).read()["runs"]] == [0]
    assert (output / "mine.txt").exists()


def test_resume_refuses_cells_of_another_experiment(tmp_path: Path) -> None:
    _, _, output = measure(tmp_path, ONE)
    with pytest.raises(UsageError, match=rf"cells that are not in this experiment: {only_cell(output).path.name}"):
        measure(tmp_path, "include: [{backend: single, steps: 5}]", Existing.RESUME)


@pytest.mark.parametrize("existing", list(Existing))
def test_a_folder_of_somebody_else_is_never_used(tmp_path: Path, existing: Existing) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "thesis.tex").write_text("")
    with pytest.raises(UsageError, match="holds files, but no results of this tool"):
        measure(tmp_path, ONE, existing)
    assert (tmp_path / "results" / "thesis.tex").exists()


def test_an_empty_folder_is_fine_and_a_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    assert measure(tmp_path, ONE)[0].done == 1
    found = load(experiment(tmp_path, ONE))
    with pytest.raises(UsageError, match="is a file"):
        matrix.run(found, tmp_path / "trial.yaml", Existing.FRESH, lambda event: None)


def test_a_wrong_workload_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown workload 'mpl'"):
        measure(tmp_path, "include: [{backend: single, workload: mpl, workload_options: {}}]")
    assert not (tmp_path / "results").exists()


def test_a_failure_is_kept_and_the_next_cell_goes_on(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        outcome, events, output = measure(tmp_path, f"include: [{{port: {port}}}, {{backend: single}}]", repetitions=2)
    assert [event.kind for event in events] == ["start", "failed", "start", "done"] * 2
    assert outcome.done == 2
    assert len(outcome.failures) == 2
    assert f"round 1: port {port} on 127.0.0.1 cannot be used" in outcome.failures[0]
    (failed,) = output.glob("torch_ps*")
    runs = CellFolder(failed).read()["runs"]
    assert [(entry["run"], entry["status"]) for entry in runs] == [(0, "failed"), (1, "failed")]
    assert "cannot be used" in runs[0]["error"]


def test_a_failed_repetition_is_measured_again_under_a_new_number(tmp_path: Path) -> None:
    measure(tmp_path, "include: [{backend: single, timeout_s: 0.3}]")
    folder = only_cell(tmp_path / "results")
    (entry,) = folder.read()["runs"]
    assert entry["status"] == "failed"
    assert entry["error"].startswith("still running after 0.3 s, ended: worker-0 (log: ")
    assert entry["log"] == "log/run-0/worker-0.log"
    assert (folder.path / entry["log"]).is_file()
    outcome, events, _ = measure(tmp_path, ONE, Existing.RESUME)  # the time limit is no part of what is measured
    assert (outcome.done, outcome.failures) == (1, ())
    assert [event.kind for event in events] == ["start", "done"]
    assert [(entry["run"], entry["status"]) for entry in folder.read()["runs"]] == [(0, "failed"), (1, "done")]


def test_what_a_killed_tool_left_is_collected_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tool dies when a repetition has run, and before its traces are collected."""
    original = local.run

    def dies(plan: RunPlan, guard: local.Guard) -> RunOutcome:
        original(plan, guard)
        raise SystemExit("killed")

    with monkeypatch.context() as patched:
        patched.setattr(local, "run", dies)
        with pytest.raises(SystemExit):
            measure(tmp_path, ONE)
    folder = only_cell(tmp_path / "results")
    (entry,) = folder.read()["runs"]
    assert (entry["status"], entry["error"]) == ("failed", NOT_ENDED)
    assert (folder.raw_dir(0) / "worker-0.trace").is_file()
    measure(tmp_path, ONE, Existing.RESUME)
    assert [entry["status"] for entry in folder.read()["runs"]] == ["failed", "done"]
    assert set(load_tables(folder.path).steps["run"]) == {0, 1}
    assert not (folder.path / "raw").exists()


def test_a_killed_tool_that_recorded_nothing_leaves_nothing_to_collect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(plan: RunPlan, guard: local.Guard) -> RunOutcome:
        raise SystemExit("killed")

    monkeypatch.setattr(local, "run", dies)
    with pytest.raises(SystemExit):
        measure(tmp_path, ONE)
    folder = only_cell(tmp_path / "results")
    assert "`breakdown collect` brings in" in folder.read()["runs"][0]["error"]
    assert collect_left(tmp_path / "results") == ()
    assert folder.read()["runs"][0]["error"] == "the tool ended before this repetition did"


def test_ctrl_c_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[RunPlan] = []
    original = local.run

    def interrupted(plan: RunPlan, guard: local.Guard) -> RunOutcome:
        calls.append(plan)
        done = original(plan, guard)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(local, "run", interrupted)
    with pytest.raises(RunError, match=r"interrupted during repetition 1 of single-1core-.*--resume"):
        measure(tmp_path, ONE, repetitions=3)
    folder = only_cell(tmp_path / "results")
    assert [(entry["status"], entry["error"]) for entry in folder.read()["runs"]] == [
        ("done", None),
        ("failed", "interrupted"),
    ]
    assert set(load_tables(folder.path).steps["run"]) == {0, 1}


def test_recording_off_leaves_no_tables(tmp_path: Path) -> None:
    outcome, _, output = measure(tmp_path, "include: [{backend: single, record: false}]")
    assert (outcome.done, outcome.failures) == (1, ())
    folder = only_cell(output)
    assert folder.read()["runs"][0]["wall_s"] > 0
    assert not (folder.path / "raw").exists()
    assert not folder.table("steps").exists()


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    found: Experiment = load(experiment(tmp_path, ONE))
    with pytest.raises(TraceError, match=r"cannot write .*experiment\.json"):
        matrix.run(found, Path("/proc/nowhere/results"), Existing.REFUSE, lambda event: None)
