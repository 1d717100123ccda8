"""When a pull may be answered, and when contributions become a new version: BSP, async and SSP as event-driven state.

One rule covers the three. A worker's clock, for one key, is the last step of that key that it pushed (-1: none yet). A pull
for step s asks for the parameters that step s + 1 will use. It is answered when

    slowest clock >= s - staleness

which is the condition of stale-synchronous parallel, Ho et al., "More Effective Distributed ML via a Stale Synchronous
Parallel Parameter Server", NIPS 2013, section 2: a worker that reads at clock c (here c = s + 1 steps committed) sees all
updates of all workers with timestamps up to c - staleness - 1 (here s - staleness), so the fastest worker leads the slowest
by at most `staleness` steps. Bulk-synchronous is staleness 0 with the W contributions of a step joined into one update;
asynchronous has no bound. In SSP and async each push is an update of its own, with the whole learning rate, applied when it
comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from breakdown.errors import WireError, unknown_name

INITIAL_STEP = -1
"""The step of the messages that set and fetch the initial parameters."""


class Pull(NamedTuple):
    """A request for the parameters after `step`."""

    worker: int
    step: int
    request_id: int


class Outcome(NamedTuple):
    """What a push led to: whether an update is due now, and the held pulls that may be answered after it."""

    completes: bool
    released: tuple[Pull, ...]


class Consistency:
    """The state of one key. Not thread-safe: one handler thread owns it."""

    def __init__(self, workers: int, joined: bool, staleness: int | None) -> None:
        """`joined`: an update needs one contribution of each worker. `staleness` in steps; None: no bound."""
        self.workers = workers
        self.joined = joined
        self.staleness = staleness
        self.initialised = False
        self._clocks = [INITIAL_STEP] * workers
        self._held: list[Pull] = []

    @property
    def slowest(self) -> int:
        """The last step that every worker has pushed."""
        return min(self._clocks)

    def on_initial(self, worker: int, pull: Pull | None = None) -> tuple[Pull, ...]:
        """The initial value came, and maybe a pull with it. Gives the pulls that waited for it."""
        if self.initialised:
            raise WireError(f"worker-{worker} sent initial parameters twice")
        self.initialised = True
        return self._release(pull)

    def on_push(self, worker: int, step: int, pull: Pull | None = None) -> Outcome:
        """A gradient came, and maybe the pull of the same step with it: that one waits for this push, if not for more.

        Raises `WireError` when this push cannot come now: before the initial value, or not the worker's next step.
        """
        if not self.initialised:
            raise WireError(f"worker-{worker} pushed step {step} before the initial parameters were set")
        expected = self._clocks[worker] + 1
        if step != expected:
            raise WireError(f"worker-{worker} pushed step {step}, but its next step is {expected}")
        if self.joined and step != self.slowest + 1:
            raise WireError(f"worker-{worker} pushed step {step} before step {self.slowest + 1} was complete")
        self._clocks[worker] = step
        return Outcome(not self.joined or self.slowest == step, self._release(pull))

    def on_pull(self, pull: Pull) -> bool:
        """True: answer now. False: held, a later event releases it."""
        if pull.step > self._clocks[pull.worker]:
            last = self._clocks[pull.worker]
            raise WireError(f"worker-{pull.worker} asks for step {pull.step}, but pushed only up to step {last}")
        if self._may_answer(pull):
            return True
        self._held.append(pull)
        return False

    def _may_answer(self, pull: Pull) -> bool:
        return self.initialised and (self.staleness is None or self.slowest >= pull.step - self.staleness)

    def _release(self, newest: Pull | None) -> tuple[Pull, ...]:
        if newest is not None:
            self._held.append(newest)
        released = tuple(filter(self._may_answer, self._held))
        if released:
            self._held = [pull for pull in self._held if pull not in released]
        return released


_KINDS: dict[str, Callable[[int, int], Consistency]] = {
    "bsp": lambda workers, _staleness: Consistency(workers, joined=True, staleness=0),
    "async": lambda workers, _staleness: Consistency(workers, joined=False, staleness=None),
    "ssp": lambda workers, staleness: Consistency(workers, joined=False, staleness=staleness),
}


def consistency(name: str, workers: int, staleness: int = 0) -> Consistency:
    """A fresh state for one key. `staleness` is read for `ssp` only."""
    if name not in _KINDS:
        raise unknown_name("consistency", name, _KINDS)
    return _KINDS[name](workers, staleness)
