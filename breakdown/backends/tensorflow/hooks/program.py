"""What is known of the process in the course of time: its task, who trains in it, and how large its batches are."""

from __future__ import annotations

import contextlib
import enum
import json
import os
from typing import Any, Callable, Collection, Dict, Iterator, List, Optional, Tuple

from breakdown.backends import watcher
from breakdown.backends.serving import says_it_serves
from breakdown.backends.tensorflow import tracing
from breakdown.backends.watcher import Watcher
from breakdown.backends.wrapping import Hooks
from breakdown.model.identity import Node, Role
from breakdown.record.api import STEPS_NOTE

CHIEFS = ("chief", "master")
"""What TensorFlow calls the job of the first worker, where that is one of its own, or of the coordinator."""


class Finder(enum.IntEnum):
    """Who finds the steps; a higher one takes over from a lower one."""

    FUNCTION = 0  # a tf.function that trains has returned
    OPTIMIZER = 1  # an optimizer has applied gradients, outside of any tf.function
    FIT = 2  # Keras
    SESSION = 3
    CLOSURE = 4
    MARK = watcher.MARK


_EAGER = (Finder.FUNCTION, Finder.OPTIMIZER, Finder.FIT)
"""Those whose calls may return before their work is done."""

_ASYNCHRONOUS = (
    "TensorFlow executes eagerly without waiting here (set_synchronous_execution(False), or an asynchronous executor), so a "
    "step may end before its work has. Mark the steps where the program has waited for its results: "
    "from breakdown.record.marker import step"
)


class Program:
    """One process of the user's command."""

    def __init__(self, folder: str, warmup_steps: int) -> None:
        self.watcher = Watcher(folder, warmup_steps, lambda step: tracing.step(step, self.watcher.rank, place=0))
        self.batches = Batches(self.warn)
        self.hooks = Hooks(self.warn)
        self._folder = folder
        self._warmup_steps = warmup_steps
        self._node: Optional[Node] = None
        self._task: Optional[Tuple[str, int, bool]] = None  # job, index, whether the cluster has a chief
        self._driven: Dict[int, Watcher] = {}
        self._said: List[str] = []  # warnings, for the watchers that are yet to come
        self._traced: Optional[Dict[str, int]] = None  # which steps are; None: all
        self.steps_a_closure = 1  # of Keras, in what is being scheduled
        self.is_asynchronous: Callable[[], bool] = lambda: False  # whether eager calls return before their work is done
        self._handed_over = False  # a step, to such an executor

    @property
    def is_distributed(self) -> bool:
        """Whether it has a server of TensorFlow."""
        return self._task is not None

    def has_server(self, jobs: Collection[str], job: str, index: int) -> None:
        """A server of this task is about to be made, in a cluster of these jobs."""
        if self._task is not None:
            self.warn("this process makes several servers of TensorFlow: what each of them does cannot be told apart")
            return
        self._task = job, index, any(chief in jobs for chief in CHIEFS)
        if job == "ps":
            self._identify(Node(Role.SERVER, index))
        elif job == "worker" and not self._task[2]:
            self._identify(Node(Role.WORKER, index))

    def serves(self) -> None:
        """The main thread hands over to its server, and will not come back."""
        if self._task is None:
            return
        job, index, _ = self._task
        self._identify(Node(Role.WORKER if job == "worker" else Role.SERVER, index))
        says_it_serves(self._folder)

    def coordinates(self) -> None:
        """The process drives the workers: its own main thread has no steps."""
        self._identify(Node(Role.SCHEDULER, 0))
        self.watcher.close()

    def driven(self, rank: int, new: Callable[[str, int], Watcher]) -> Watcher:
        """The watcher of a worker that this process drives. `new`: makes it, in the thread that drives."""
        if rank not in self._driven:
            made = self._driven[rank] = new(self._folder, self._warmup_steps)
            made.rank = rank
            self._note_traced(made)
            for text in self._said:
                made.warn(text, aloud=False)
        return self._driven[rank]

    @contextlib.contextmanager
    def scheduling(self, steps: int) -> Iterator[None]:
        """Closures that are made meanwhile hold so many batches."""
        self.steps_a_closure = steps
        try:
            yield
        finally:
            self.steps_a_closure = 1

    def traces_only(self, steps: Optional[Dict[str, int]]) -> None:
        """What happens within a step is recorded in these alone; None: in all."""
        self._traced = steps
        self._note_traced(self.watcher)

    def marks_step(self, samples: int) -> None:
        """The program's own mark."""
        self.ends_step(Finder.MARK, samples)

    def ends_step(self, finder: Finder, samples: int = 0, who: Any = None) -> None:
        """A step of the main thread has ended."""
        self._trains()
        if not self._handed_over and finder in _EAGER and self.is_asynchronous():
            self._handed_over = True
            self.warn(_ASYNCHRONOUS)
        self.watcher.ends_step(finder, samples, who)

    def warn(self, text: str) -> None:
        """Says it on stderr, and in the run's warnings where this process trains, or drives who does."""
        self._said.append(text)
        self.watcher.warn(text)
        for one in self._driven.values():
            one.warn(text, aloud=False)

    def close(self) -> None:
        """The program ends. The native recorder goes on until the process has, for TensorFlow says farewell to its peers."""
        for one in (self.watcher, *self._driven.values()):
            one.close()

    def _note_traced(self, watcher: Watcher) -> None:
        if self._traced is not None:
            watcher.note(STEPS_NOTE, self._traced)

    def _trains(self) -> None:
        """It has no server, or its job does not say so: then it is a worker because it trains."""
        if self._node is not None:
            return
        job, index, has_chief = self._task or _task_in_environment() or ("worker", 0, False)
        rank = 0 if job in CHIEFS else index + has_chief
        self._identify(Node(Role.WORKER, rank))

    def _identify(self, node: Node) -> None:
        if self._node is None:
            self._node = node
            self.watcher.rank = node.rank
            tracing.identify(node)


class Batches:
    """The sizes that the program gave `Dataset.batch`, for where a batch itself cannot be seen."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._sizes: List[int] = []
        self._told = False
        self._of_dataset: List[int] = []  # all since the making of one began

    @contextlib.contextmanager
    def making(self) -> Iterator[Callable[[], int]]:
        """One dataset is made meanwhile; gives what tells the size of its batches then, 0 where it has none.

        Of several sizes the last is taken: what comes later in a pipeline makes batches of what came before.
        """
        before, self._of_dataset = self._of_dataset, []
        own = self._of_dataset

        def size() -> int:
            if len(set(own)) > 1:
                sizes = ", ".join(map(str, own))
                self._warn(
                    f"a dataset is put into batches of {sizes}: steps are taken to have {own[-1]} samples, as the last"
                )
            return own[-1] if own else 0

        try:
            yield size
        finally:
            self._of_dataset = before

    def seen(self, size: int) -> None:
        """A dataset is put into batches of this size."""
        self._of_dataset.append(size)
        if size not in self._sizes:
            self._sizes.append(size)

    @property
    def size(self) -> int:
        """The first of them; 0 where there is none."""
        if len(self._sizes) > 1 and not self._told:
            self._told = True
            sizes = ", ".join(map(str, self._sizes))
            self._warn(f"datasets have batches of {sizes}: steps are taken to have {self._sizes[0]} samples, as the first")
        return self._sizes[0] if self._sizes else 0


def _task_in_environment() -> Optional[Tuple[str, int, bool]]:
    try:
        told = json.loads(os.environ.get("TF_CONFIG", ""))
        task = told["task"]
        return str(task["type"]), int(task["index"]), any(chief in told.get("cluster", ()) for chief in CHIEFS)
    except (ValueError, KeyError, TypeError):
        return None
