"""Cuts a program's main thread into steps and spans, from what the hooks tell it. Knows nothing of MXNet.

Where a step ends, in order of preference: at the program's own marks; at the end of each `Trainer.step` or `Module.update`;
in a bare loop over a kvstore, when a key is pushed a second time: then the step ended with the last call before it. The
first of these that is seen decides for the whole run, a mark at any time. Rows are kept until their step ends.
"""

from __future__ import annotations

import enum
import os
import threading
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from breakdown.clock.clocks import now_ns
from breakdown.errors import BreakdownError
from breakdown.model.identity import Node, Role
from breakdown.model.stages import Stage
from breakdown.record.ending import say
from breakdown.record.recorder import FileRecorder


class Finder(enum.IntEnum):
    """Who finds the steps; a higher one takes over from a lower one."""

    STORE = 0
    TRAINER = 1
    MARK = 2


class _Activity:
    """What the main thread is in, and from when on that is not recorded yet."""

    def __init__(self, stage: Stage, op: str, since_ns: int) -> None:
        self.stage = stage
        self.op = op
        self.since_ns = since_ns


class Watcher:
    """Records one worker. Calls from other threads than the main one are ignored; nothing here raises into the program."""

    def __init__(self, folder: str, warmup_steps: int, tell_step: Callable[[int], None]) -> None:
        self._folder = folder
        self._warmup_steps = warmup_steps
        self._tell_step = tell_step
        self._recorder: Optional[FileRecorder] = None
        self._over = False
        self._finder: Optional[Finder] = None
        self._step = 0
        self._made_ns = now_ns()
        self._start_ns = 0  # of the step; 0: nothing has happened yet
        self._samples = 0
        self._stack: List[_Activity] = []
        self._rows: List[Tuple[Stage, str, int, int]] = []
        self._pushed: Set[Any] = set()
        self._store_end_ns = 0
        self._notes: Dict[str, Any] = {}
        self.rank = 0
        os.register_at_fork(after_in_child=self._forget)

    def enter(self, stage: Stage, op: str) -> bool:
        """Something begins in the main thread; False where it is not recorded. What it lies in stands still meanwhile."""
        if self._over or threading.current_thread() is not threading.main_thread():
            return False
        now = now_ns()
        if not self._start_ns:
            self._start_ns = now
            self._tell_step(0)
        if self._stack:
            self._close(self._stack[-1], now)
        self._stack.append(_Activity(stage, op, now))
        return True

    def leave(self) -> None:
        """What `enter` began has ended."""
        now = now_ns()
        if self._stack:
            self._close(self._stack.pop(), now)
        if self._stack:
            self._stack[-1].since_ns = now

    @property
    def inside(self) -> bool:
        """Whether something that was entered still goes on."""
        return bool(self._stack)

    def has_samples(self, count: int) -> None:
        """The step's batch has so many."""
        self._samples = count

    def note(self, name: str, value: Any) -> None:
        """A fact for the run's notes; the last one of a name counts."""
        self._notes[name] = value

    def pushes(self, keys: List[Any]) -> None:
        """A kvstore is about to be given values of these keys, by the program itself."""
        if self._over or not self._finds(Finder.STORE):
            return
        if self._pushed.intersection(keys):
            self._end(self._store_end_ns)
        self._pushed.update(keys)

    def store_returns(self) -> None:
        """A call of a kvstore, by the program itself, has returned."""
        self._store_end_ns = now_ns()

    def ends_step(self, finder: Finder, samples: int = 0) -> None:
        """One step has ended, says this finder; its batch had so many samples, unless that is known better."""
        if self._over or not self._finds(finder):
            return
        self._start_ns = self._start_ns or self._made_ns  # a program that only marks its steps
        self._samples = samples if finder is Finder.MARK and samples else self._samples or samples
        self._end(now_ns())

    def close(self) -> None:
        """The program ends. A bare loop's last step has ended with its last call."""
        if self._over:
            return
        if self._finder is Finder.STORE and self._pushed:
            self._end(self._store_end_ns)
        self._over = True
        if self._recorder is not None:
            try:
                self._recorder.close()
            except BreakdownError as error:
                say(f"breakdown: {error}")

    def _finds(self, finder: Finder) -> bool:
        if self._finder is None or finder > self._finder:
            self._finder = finder
        return finder is self._finder

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
            self._notes["warning"] = "how many samples a step has could not be seen: samples/s counts steps"
        recorder.step(self._step, self._start_ns, end_ns, self._samples or 1, self._step < self._warmup_steps)
        for name, value in self._notes.items():
            recorder.note(name, value)
        self._rows, self._notes, self._samples = later, {}, 0
        self._pushed.clear()
        self._start_ns = end_ns
        self._step += 1
        self._tell_step(self._step)

    def _opened(self) -> Optional[FileRecorder]:
        """The recorder; made when the first step has ended, for by then the worker's rank is known."""
        if self._recorder is None:
            path = os.path.join(self._folder, f"worker-{self.rank}.trace")
            if os.path.exists(path):
                path = os.path.join(self._folder, f"worker-{self.rank}-pid{os.getpid()}.trace")
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
