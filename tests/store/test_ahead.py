"""Steps of a program that runs ahead of its engine end with their own last work; others stay as they are."""

from __future__ import annotations

import numpy as np
import pytest

from breakdown.model.identity import NO_REQUEST, Node, Role, operation_id
from breakdown.model.stages import Op, Stage
from breakdown.record.layout import COLUMNS, Kind
from breakdown.store.ahead import LANE, settled
from breakdown.store.decode import MAIN_THREAD, Rows, Vocabulary
from breakdown.store.join import ByKind

WORKER = Node(Role.WORKER, 0)


def table(kind: Kind, rows: list[dict[str, int]]) -> Rows:
    names = (*COLUMNS[kind], "thread")
    return Rows({name: np.array([row.get(name, 0) for row in rows], dtype=np.int64) for name in names}, len(rows), 0)


class Loop:
    """A main thread that hands a step over every 10 ns, and an engine whose work for it takes `work_ns`."""

    def __init__(self, work_ns: int, steps: int = 8, unfinished: int = 0, *, recorded: bool = True) -> None:
        self.vocabulary = Vocabulary()
        main, engine = self.vocabulary.codes((MAIN_THREAD, "engine")).tolist()
        submit, work = self.vocabulary.codes(("submit", "dot")).tolist()
        handed, spans, free_ns = [], [], 0
        for step in range(steps):
            start, end = 10 * step, 10 * (step + 1)
            handed.append({"step": step, "start_ns": start, "end_ns": end, "samples": 4, "thread": main})
            spans.append({"thread": main, "op": submit, "step": step, "start_ns": start, "end_ns": end, "stage": 2})
            for number in range(2 if step < steps - unfinished else 1):
                begin = max(free_ns, start + 1)
                free_ns = begin + work_ns // 2
                spans.append(
                    {
                        "thread": engine,
                        "op": work,
                        "step": step,
                        "start_ns": begin,
                        "end_ns": free_ns,
                        "stage": int(Stage.COMPUTE),
                        "request_id": operation_id(WORKER, 2 * step + number),
                    }
                )
        spans = [row for row in spans if recorded or row["thread"] == main]
        self.kinds: ByKind = {Kind.STEP: table(Kind.STEP, handed), Kind.SPAN: table(Kind.SPAN, spans)}

    def settled(self, *, hands_over: bool = True) -> tuple[ByKind, list[str]]:
        found, warnings = settled({WORKER: self.kinds}, [WORKER] if hands_over else [], self.vocabulary)
        return found[WORKER], warnings

    def thread(self, kinds: ByKind, name: str) -> list[tuple[str, int, int]]:
        """(op, start, end) of each span, in order."""
        columns = kinds[Kind.SPAN].columns
        texts = {int(self.vocabulary.codes([text])[0]): text for text in ("submit", "dot", Op.BLOCK)}
        mine = np.flatnonzero(columns["thread"] == self.vocabulary.codes([name])[0])
        rows = sorted((int(columns["start_ns"][at]), int(columns["end_ns"][at]), int(columns["op"][at])) for at in mine)
        return [(texts[op], start, end) for start, end, op in rows]


def bounds(kinds: ByKind) -> list[tuple[int, int]]:
    columns = kinds[Kind.STEP].columns
    return list(zip(columns["start_ns"].tolist(), columns["end_ns"].tolist(), strict=True))


def test_a_step_lasts_from_the_end_of_the_one_before_to_the_end_of_its_own_last_work() -> None:
    loop = Loop(work_ns=100)
    found, warnings = loop.settled()
    assert bounds(found) == [(0, 101), *[(101 + 100 * step, 201 + 100 * step) for step in range(7)]]
    assert warnings == []
    assert found[Kind.STEP].columns["samples"].tolist() == [4] * 8


def test_the_main_thread_is_held_for_the_operation_that_ended_last_and_what_it_did_is_kept_apart() -> None:
    loop = Loop(work_ns=100)
    found, _ = loop.settled()
    blocks = [(Op.BLOCK, 10, 101), *[(Op.BLOCK, 101 + 100 * step, 201 + 100 * step) for step in range(7)]]
    assert loop.thread(found, MAIN_THREAD) == [("submit", 0, 10), *blocks]
    assert loop.thread(found, LANE) == [("submit", 10 * step, 10 * (step + 1)) for step in range(1, 8)]
    columns = found[Kind.SPAN].columns
    held = columns["cause_id"] != NO_REQUEST
    assert columns["cause_id"][held].tolist() == [operation_id(WORKER, 2 * step + 1) for step in range(8)]


@pytest.mark.parametrize("work_ns", [4, 9, 12])
def test_a_loop_whose_work_is_at_most_a_step_behind_stays_as_it_is(work_ns: int) -> None:
    loop = Loop(work_ns)
    found, warnings = loop.settled()
    assert found is loop.kinds
    assert warnings == []


def test_what_its_framework_does_at_once_stays_as_it_is() -> None:
    loop = Loop(work_ns=100)
    assert loop.settled(hands_over=False) == (loop.kinds, [])


def test_steps_whose_work_was_not_recorded_are_left_out_and_that_is_said() -> None:
    found, warnings = Loop(work_ns=100, recorded=False).settled()
    assert bounds(found) == []
    assert len(warnings) == 1
    assert warnings[0].startswith("worker-0: 8 steps were handed over to the engine, but what it did was not recorded")


def test_last_steps_that_lack_work_are_left_out_and_that_is_said() -> None:
    found, warnings = Loop(work_ns=100, unfinished=2).settled()
    assert len(bounds(found)) == 6
    assert warnings[0].startswith("worker-0: the last 2 of 8 steps have less work recorded than those before")
