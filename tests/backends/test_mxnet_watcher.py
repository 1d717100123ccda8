"""What the watcher of a main thread makes of what the hooks tell it: steps and spans, on a clock of the tests' own."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from breakdown.backends import watcher as shared
from breakdown.backends.mxnet import watcher as module
from breakdown.backends.mxnet.watcher import Finder, Watcher
from breakdown.model.stages import Op, Stage
from breakdown.record.layout import Kind
from breakdown.record.tracefile import TraceFile, read

LOAD, FORWARD, SUBMIT = (Stage.INPUT, Op.LOAD), (Stage.COMPUTE, Op.FORWARD), (Stage.SERIALIZE, "submit")


@dataclass
class Program:
    """A program's calls at given moments, and the trace that comes of them."""

    folder: Path
    warmup_steps: int = 0
    now: int = 1
    told: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watcher = Watcher(str(self.folder), self.warmup_steps, self.told.append)

    def at(self, now: int) -> Watcher:
        self.now = now
        return self.watcher

    def does(self, what: tuple[Stage, str], start: int, end: int) -> None:
        assert self.at(start).enter(*what)
        self.at(end).leave()

    def pushes(self, keys: list[Any], start: int, end: int) -> None:
        """A call of the kvstore by the program itself."""
        assert self.at(start).enter(*SUBMIT)
        self.watcher.pushes(keys)
        self.at(end).leave()
        self.watcher.store_returns()

    def trace(self) -> TraceFile:
        self.watcher.close()
        return read(str(self.folder / "worker-0.trace"))


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    return started(tmp_path, monkeypatch)


def started(folder: Path, monkeypatch: pytest.MonkeyPatch, **options: int) -> Program:
    found: list[Program] = []
    for place in (shared, module):
        monkeypatch.setattr(place, "now_ns", lambda: found[0].now if found else 1)
    found.append(Program(folder, **options))
    return found[0]


def spans(trace: TraceFile) -> list[tuple[int, str, int, int]]:
    """(step, op, start, end) of each span."""
    return [(row[3], trace.names[row[1]], row[5], row[6]) for _, row in trace.rows(Kind.SPAN)]


def steps(trace: TraceFile) -> list[tuple[int, ...]]:
    """(step, start, end, samples, warm-up) of each step."""
    return [row[:5] for _, row in trace.rows(Kind.STEP)]


def test_what_lies_in_another_call_interrupts_it(program: Program) -> None:
    program.at(10).enter(*FORWARD)
    program.does(LOAD, 14, 20)
    program.at(30).leave()
    assert not program.watcher.inside
    program.at(31).ends_step(Finder.TRAINER, 4)
    trace = program.trace()
    assert spans(trace) == [(0, "forward", 10, 14), (0, "load", 14, 20), (0, "forward", 20, 30)]
    assert steps(trace) == [(0, 10, 31, 4, 0)]


def test_a_step_begins_where_the_one_before_it_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = started(tmp_path, monkeypatch, warmup_steps=1)
    program.does(FORWARD, 10, 20)
    program.at(25).ends_step(Finder.TRAINER, 4)
    program.does(FORWARD, 40, 50)
    program.at(55).ends_step(Finder.TRAINER, 4)
    program.does(FORWARD, 60, 65)  # of a step that never ends
    assert steps(program.trace()) == [(0, 10, 25, 4, 1), (1, 25, 55, 4, 0)]
    assert program.told == [0, 1, 2]


def test_a_bare_loops_step_ends_with_the_last_call_before_a_key_is_pushed_again(program: Program) -> None:
    program.pushes([3], 10, 12)
    program.pushes([5], 14, 20)
    program.pushes([3], 30, 33)
    program.pushes([5], 34, 40)
    trace = program.trace()
    assert steps(trace) == [(0, 10, 20, 1, 0), (1, 20, 40, 1, 0)]
    assert spans(trace) == [(0, "submit", 10, 12), (0, "submit", 14, 20), (1, "submit", 30, 33), (1, "submit", 34, 40)]
    assert dict(trace.notes)["warning"].startswith("how many samples a step has could not be seen")


def test_several_keys_in_one_call_bound_a_step_like_one(program: Program) -> None:
    for start in (10, 20, 30):
        program.pushes(["a", "b"], start, start + 5)
    assert [step[1:3] for step in steps(program.trace())] == [(10, 15), (15, 25), (25, 35)]


@pytest.mark.parametrize("marked_from", [0, 2])
def test_marks_take_over_whenever_the_first_comes(program: Program, marked_from: int) -> None:
    for number in range(4):
        start = 100 * (number + 1)
        program.does(FORWARD, start, start + 50)
        program.at(start + 60).ends_step(Finder.TRAINER, 4)
        if number >= marked_from:
            program.at(start + 90).ends_step(Finder.MARK, 9)
    ends = [(step[2], step[3]) for step in steps(program.trace())]
    by_trainer = [(160, 4), (260, 4), (360, 4)][: marked_from + 1]  # the last of them before the first mark
    assert ends == [*by_trainer, *[(100 * (number + 1) + 90, 9) for number in range(marked_from, 4)]]


def test_a_store_within_a_trainer_bounds_no_step(program: Program) -> None:
    program.does(FORWARD, 10, 20)
    program.at(30).ends_step(Finder.TRAINER, 4)
    for start in (40, 50, 60):
        program.pushes([1], start, start + 5)
    program.at(70).ends_step(Finder.TRAINER, 4)
    assert [step[1:3] for step in steps(program.trace())] == [(10, 30), (30, 70)]


def test_a_program_that_only_marks_its_steps_begins_with_the_watching(program: Program) -> None:
    program.at(50).ends_step(Finder.MARK, 7)
    program.at(80).ends_step(Finder.MARK)
    assert steps(program.trace()) == [(0, 1, 50, 7, 0), (1, 50, 80, 1, 0)]


def test_the_batch_that_was_seen_tells_more_than_the_trainers_argument(program: Program) -> None:
    program.does(FORWARD, 10, 20)
    program.watcher.has_samples(16)
    program.at(30).ends_step(Finder.TRAINER, 4)
    program.at(40).ends_step(Finder.TRAINER, 4)
    assert [step[3] for step in steps(program.trace())] == [16, 4]


def test_other_threads_are_not_the_main_thread(program: Program) -> None:
    entered: list[bool] = []
    thread = threading.Thread(target=lambda: entered.append(program.watcher.enter(*FORWARD)))
    thread.start()
    thread.join()
    assert entered == [False]
    assert not program.watcher.inside


def test_the_last_note_of_a_name_is_written_with_the_next_step(program: Program) -> None:
    program.watcher.note("kvstore", "local")
    program.watcher.note("kvstore", "dist_sync")
    program.at(20).ends_step(Finder.MARK, 1)
    assert ("kvstore", "dist_sync") in program.trace().notes


def test_after_the_end_nothing_is_recorded(program: Program) -> None:
    program.at(20).ends_step(Finder.MARK, 1)
    assert len(steps(program.trace())) == 1
    assert not program.watcher.enter(*FORWARD)
    program.at(30).ends_step(Finder.MARK, 1)
    program.watcher.pushes([1])
    assert len(steps(program.trace())) == 1


def test_a_second_process_of_a_rank_writes_beside_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        program = started(tmp_path, monkeypatch)
        program.at(20).ends_step(Finder.MARK, 1)
        program.watcher.close()
    assert {path.name for path in tmp_path.iterdir()} == {"worker-0.trace", f"worker-0-pid{os.getpid()}.trace"}


def test_a_folder_that_cannot_be_written_to_is_said_once_and_the_program_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = started(tmp_path / "missing", monkeypatch)
    program.does(FORWARD, 10, 20)
    for end in (30, 40):
        program.at(end).ends_step(Finder.TRAINER, 4)
    program.watcher.close()
    assert capsys.readouterr().err.count("breakdown: ") == 1


def test_a_forked_child_records_nothing(program: Program) -> None:
    child = os.fork()
    if not child:
        os._exit(int(program.watcher.enter(*FORWARD)))
    assert os.waitpid(child, 0)[1] == 0
    assert program.watcher.enter(*FORWARD)
