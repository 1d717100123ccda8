"""Cuts one thread of a program into steps and spans, from what a framework's hooks tell it. Knows no framework.

Whoever finds where a step ends has a number (a `Finder` of the framework's hooks); the first that is seen decides for the
whole run, unless one with a higher number comes: the program's own marks come last and have the highest. Rows are kept until
their step ends. Runs in the user's environment: standard library and breakdown's errors, model, clock and record only.
"""

from __future__ import annotations

import os
import threading
from typing import Any, Callable, Dict, List, Optional, Tuple

from breakdown.backends.turns import Turns
from breakdown.clock.clocks import now_ns
from breakdown.errors import BreakdownError
from breakdown.model.identity import Node, Role
from breakdown.model.stages import Op, Stage
from breakdown.record.ending import say
from breakdown.record.recorder import FileRecorder

MARK = 9
"""The number of the finder that is above all others: the program's own marks."""

What = Tuple[Stage, str]
"""A stage, and an operation of it."""

LOADING: What = (Stage.INPUT, Op.LOAD)
"""The taking of a batch."""

BETWEEN: What = (Stage.INPUT, "program")
"""What a main thread does between two calls that are seen: the program's own work, mostly to get the next batch."""


class _Activity:
    """What the thread is in, and from when on that is not recorded yet."""

    def __init__(self, stage: Stage, op: str, since_ns: int) -> None:
        self.stage = stage
        self.op = op
        self.since_ns = since_ns


class Watcher:
    """Records one worker. Calls from threads other than the watched one are ignored; nothing raises into the program."""

    def __init__(
        self,
        folder: str,
        warmup_steps: int,
        tell_step: Callable[[int], None],
        thread: Optional[threading.Thread] = None,
        suffix: str = "",
    ) -> None:
        """`thread`: None is the main thread. `suffix`: of the trace's name, before its ending."""
        self._folder = folder
        self._warmup_steps = warmup_steps
        self._tell_step = tell_step
        self._thread = thread or threading.main_thread()
        self._suffix = suffix
        self._recorder: Optional[FileRecorder] = None
        self._over = False
        self._finder: Optional[int] = None
        self._step = 0
        self._made_ns = now_ns()
        self._start_ns = 0  # of the step; 0: nothing has happened yet
        self._left_ns = 0  # when the last call that lay in no other one ended; 0: none has in this step
        self._samples = 0
        self._turns = Turns()
        self._turn_samples = 0  # of the step that `_turns` holds open
        self._warned_of_turns = False
        self._loaded = False  # a batch was, since the last training call
        self._stack: List[_Activity] = []
        self._rows: List[Tuple[Stage, str, int, int]] = []
        self._notes: Dict[str, Any] = {}
        self._warnings: List[str] = []
        self.rank = 0
        os.register_at_fork(after_in_child=self._forget)

    @property
    def watches(self) -> bool:
        """Whether the calling thread is the one, and still recorded."""
        return not self._over and threading.current_thread() is self._thread

    @property
    def inside(self) -> bool:
        """Whether something that was entered still goes on."""
        return bool(self._stack)

    def enter(self, stage: Stage, op: str, between: Optional[What] = None) -> bool:
        """Something begins in the thread; False where it is not recorded. What it lies in stands still meanwhile.

        `between`: what the thread did in this step since it last left something, where that is known.
        """
        if not self.watches:
            return False
        now = now_ns()
        if not self._start_ns:
            self._start_ns = now
            self._tell_step(0)
        if self._stack:
            self._close(self._stack[-1], now)
        elif between is not None and self._left_ns:
            self._rows.append((*between, self._left_ns, now))
        self._loaded = self._loaded or (stage, op) == LOADING
        self._stack.append(_Activity(stage, op, now))
        return True

    def leave(self) -> None:
        """What `enter` began has ended."""
        now = now_ns()
        if self._stack:
            self._close(self._stack.pop(), now)
        if self._stack:
            self._stack[-1].since_ns = now
        else:
            self._left_ns = now

    def begin_again(self) -> None:
        """What was seen so far belongs to no step, where none has ended yet: the first begins with what comes next."""
        if not self._step:
            self._start_ns = self._left_ns = self._samples = 0
            self._rows = []

    def has_samples(self, count: int) -> None:
        """The step's batch has so many."""
        self._samples = count

    def note(self, name: str, value: Any) -> None:
        """A fact for the run's notes; the last one of a name counts."""
        self._notes[name] = value

    def warn(self, text: str, aloud: bool = True) -> None:
        """Says it in the run's warnings, and on stderr."""
        self._warnings.append(text)
        if aloud:
            say(f"breakdown: {text}")

    def ends_step(self, finder: int, samples: int = 0, who: Any = None) -> None:
        """One step has ended, says this finder; its batch had so many samples, unless that is known better.

        `who`: what has trained, where several may take turns in one step (see `turns`).
        """
        if self._over or not self._finds(finder):
            return
        self._start_ns = self._start_ns or self._made_ns  # a program that only marks its steps
        self._samples = samples if finder == MARK and samples else self._samples or samples
        now = now_ns()
        if who is None:
            self._end(now)
            return
        ended = self._turns.trained(who, self._loaded, now)
        self._loaded = False
        if self._turns.warning and not self._warned_of_turns:
            self._warned_of_turns = True
            self.warn(self._turns.warning)
        for end_ns in ended:
            self._ends_turn(end_ns, now)
        if self._turns.open_ns:
            self._turn_samples, self._left_ns = self._samples, now
            if not self._turns.learned:
                self._tell_step(self._step + 1)  # most programs have but one that trains

    def _ends_turn(self, end_ns: int, now: int) -> None:
        samples = self._samples
        if end_ns < now:
            self._samples = self._turn_samples
        self._end(end_ns)
        if end_ns < now:
            self._samples = samples

    def close(self) -> None:
        """The program ends."""
        if self._over:
            return
        self._close_turn()
        self._over = True
        if self._recorder is not None:
            try:
                self._write_notes(self._recorder)
                self._recorder.close()
            except BreakdownError as error:
                say(f"breakdown: {error}")

    def _finds(self, finder: int) -> bool:
        if self._finder is None or finder > self._finder:
            self._close_turn()
            self._finder, self._turns = finder, Turns()
        return finder == self._finder

    def _close_turn(self) -> None:
        for end_ns in self._turns.closed():
            self._ends_turn(end_ns, now_ns())

    def _close(self, activity: _Activity, now: int) -> None:
        if now > activity.since_ns:
            self._rows.append((activity.stage, activity.op, activity.since_ns, now))

    def _end(self, end_ns: int) -> None:
        recorder = self._opened()
        if recorder is None or not self._start_ns or end_ns <= self._start_ns:
            return
        later = [row for row in self._rows if row[2] >= end_ns]
        for stage, op, start, end in self._rows:
            if start < end_ns:
                self._main.span(stage, recorder.intern(op), 0, self._step, 0, start, end)
        if not self._samples and not self._step:
            self._warnings.append("how many samples a step has could not be seen: samples/s counts steps")
        recorder.step(self._step, self._start_ns, end_ns, self._samples or 1, self._step < self._warmup_steps)
        self._write_notes(recorder)
        self._rows, self._samples = later, 0
        self._start_ns = end_ns
        if self._left_ns:
            self._left_ns = max(self._left_ns, end_ns)
        self._step += 1
        self._tell_step(self._step)

    def _write_notes(self, recorder: FileRecorder) -> None:
        for name, value in (*self._notes.items(), *(("warning", text) for text in self._warnings)):
            recorder.note(name, value)
        self._notes, self._warnings = {}, []

    def _opened(self) -> Optional[FileRecorder]:
        """The recorder; made when the first step has ended, for by then the worker's rank is known."""
        if self._recorder is None:
            name = os.path.join(self._folder, f"worker-{self.rank}")
            path = f"{name}{self._suffix}.trace"
            if os.path.exists(path):
                path = f"{name}-pid{os.getpid()}{self._suffix}.trace"
            try:
                self._recorder = FileRecorder(path, 0, Node(Role.WORKER, self.rank))
            except BreakdownError as error:
                say(f"breakdown: {error}")
                self._over = True
                return None
            self._main = self._recorder.thread("main")
        return self._recorder

    def _forget(self) -> None:
        """In a forked child, which has the buffers but no flusher."""
        self._over = True
