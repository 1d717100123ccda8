"""Graph mode: a step is one run of a session, by the main thread, that trains.

Sessions lie within each other (MonitoredSession, its hooks' wrappers, Session): the outermost call is the step's. What it
comes to run, hooks' fetches included, is known in the innermost. A run that does not train (of an initialiser, a summary, an
evaluation) ends no step; its time belongs to the step that goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Tuple

from breakdown.backends.tensorflow.closures import STEP
from breakdown.backends.tensorflow.hooks import samples, training
from breakdown.backends.tensorflow.hooks.program import BETWEEN, Finder, Program
from breakdown.backends.tensorflow.hooks.wrapping import wrap
from breakdown.model.stages import Stage

_CALL, _LOCAL = (Stage.OTHER, "session.run"), (Stage.COMPUTE, STEP)
"""What the outermost call is: where there is a server, its own records say what lies in it."""


@dataclass(frozen=True)
class _Known:
    """What is known of a set of fetches."""

    trains: bool
    is_synchronous: bool
    samples: int


class _Runs:
    def __init__(self, program: Program) -> None:
        self._program = program
        self._known: Dict[Tuple[Any, ...], _Known] = {}
        self._trained = False

    def outermost(self, real: Callable[..., Any], session: Any, *args: Any, **kwargs: Any) -> Any:
        """Around the `run` of any kind of session."""
        watcher = self._program.watcher
        if not watcher.watches or watcher.inside:
            return real(session, *args, **kwargs)
        watcher.enter(*(_CALL if self._program.is_distributed else _LOCAL), between=BETWEEN)
        self._trained = False
        try:
            result = real(session, *args, **kwargs)
        finally:
            watcher.leave()
        if self._trained:
            self._program.ends_step(Finder.SESSION)
        else:
            watcher.begin_again()
        return result

    def innermost(self, real: Callable[..., Any], session: Any, handle: Any, targets: Any, fetches: Any, feeds: Any,
                  *rest: Any) -> Any:  # fmt: skip
        """Around the one call that every run comes to, with operations, tensors, and {tensor's reference: array}."""
        if self._program.watcher.watches:
            self._sees(session.graph, targets, fetches, feeds)
        return real(session, handle, targets, fetches, feeds, *rest)

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
            watcher.note("consistency", "bsp" if known.is_synchronous else "async")
        count = samples.of_feeds(feeds) or known.samples
        if count:
            watcher.has_samples(count)

    def _look(self, targets: List[Any], fetches: List[Any]) -> _Known:
        operations = training.needed([*targets, *(tensor.op for tensor in fetches)])
        kinds = [(one.name, one.type) for one in operations]
        does = training.trains(kinds)
        size = samples.of_operations(operations, self._program.batches.size) if does else 0
        return _Known(does, training.is_synchronous(kinds), size)


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
        wrap(owner, name, runs.outermost)
    wrap(session.BaseSession, "_do_run", runs.innermost)
