"""Graph mode: a step is one run of a session, by the main thread, that trains.

Sessions lie within each other (MonitoredSession, its hooks' wrappers, Session): the outermost call is the step's. What it
comes to run, hooks' fetches included, is known in the innermost. A run that does not train (of an initialiser, a summary, an
evaluation) ends no step; its time belongs to the step that goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Dict, List, Tuple

from breakdown.backends.tensorflow.closures import STEP
from breakdown.backends.tensorflow.hooks import samples, training
from breakdown.backends.tensorflow.hooks.program import Finder, Program
from breakdown.backends.watcher import BETWEEN
from breakdown.backends.wrapping import Call, Observation
from breakdown.model.stages import Stage

_CALL, _LOCAL = (Stage.OTHER, "session.run"), (Stage.COMPUTE, STEP)
"""What the outermost call is: where there is a server, its own records say what lies in it."""


@dataclass(frozen=True)
class _Known:
    """What is known of a set of fetches."""

    trains: bool
    consistency: str
    samples: int


class _Runs:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._known: Dict[Tuple[Any, ...], _Known] = {}
        self._trained = False

    def outermost(self, call: Call) -> Observation:
        """Of the `run` of any kind of session."""
        watcher = self._program.watcher
        if watcher.inside or not watcher.enter(*(_CALL if self._program.is_distributed else _LOCAL), between=BETWEEN):
            return
        self._trained = False
        try:
            yield
        finally:
            watcher.leave()
        if self._trained:
            self._program.ends_step(Finder.SESSION)
        else:
            watcher.begin_again()

    def innermost(self, call: Call) -> None:
        """Of the one call that every run comes to, with operations, tensors, and {tensor's reference: array}."""
        if self._program.watcher.watches:
            self._sees(call.owner.graph, call["target_list"], call["fetch_list"], call["feed_dict"])

    def _sees(self, graph: Any, targets: List[Any], fetches: List[Any], feeds: Any) -> None:
        key = (graph, *(one.name for one in targets), *(one.name for one in fetches))
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._look(targets, fetches)
        if not known.trains:
            return
        self._trained = True
        watcher = self._program.watcher
        if self._program.is_distributed:
            watcher.note("tf_mode", "graph")
            watcher.note("consistency", known.consistency)
        count = samples.of_feeds(feeds) or known.samples
        if count:
            watcher.has_samples(count)

    def _look(self, targets: List[Any], fetches: List[Any]) -> _Known:
        operations = training.needed([*targets, *(tensor.op for tensor in fetches)])
        kinds = [(one.name, one.type) for one in operations]
        does = training.trains(kinds)
        if not does:
            return _Known(False, "", 0)
        batch = training.needed(training.gradients(operations), by_data_only=True)
        size = samples.of_operations(batch, self._program.batches.size)
        drawn = 0 if size else samples.of_random(batch)
        if drawn:
            self._program.warn(
                f"no batch is fed or read: steps are taken to have {drawn} samples, as what is drawn at random"
            )
        together = training.is_synchronous(kinds) or training.takes_tokens(operations)
        return _Known(True, "bsp" if together else "async", size or drawn)


def install(program: Program) -> None:
    """Of all kinds of sessions."""
    from tensorflow.python.client import session
    from tensorflow.python.training import monitored_session

    runs = _Runs(program)
    for owner, name in (
        (monitored_session._MonitoredSession, "run"),
        (monitored_session._MonitoredSession, "run_step_fn"),
        (session.BaseSession, "run"),
    ):
        program.hooks.watch(owner, name, runs.outermost)
    program.hooks.watch(session.BaseSession, "_do_run", runs.innermost)
