"""The state of one wire key at its server: events in, actions out. No I/O, no clock, no thread.

The caller carries the actions out in order (`perform` for work on memory, `lend` for a reply), so it can time each of them.

The first contribution of a round is adopted: its receive buffer becomes the accumulator. Later ones are added to it in the
order in which they come. Floating-point addition commutes, so with up to two workers the sum does not depend on that order;
with more it does in the last bits. A fixed order would mean to hold early contributions: time on the critical path, for
nothing that training needs.

Replies are sent from the memory that holds the version, by other threads. A version is therefore not written while a reply
that was lent from it may still be read: the update goes to other memory then. A reader is done when its sender says so
(`Version.done`), or, sooner, when the same worker pushes this key again: it does so only when it holds the reply, so
the bytes have left. In BSP the second rule frees every version before the next update, which is why nothing is ever copied
there.

A version that no reply will be sent from any more is retired: its memory is free again with its last reader. A sum that
workers apply themselves is wanted once by each, so it is retired with the last of these replies and its memory receives the
next push while it is still in the cache. Kept until the key's next round, it made a round a twentieth slower.
"""

from __future__ import annotations

import contextlib
from typing import NamedTuple

from breakdown.errors import WireError
from breakdown.ps.consistency import INITIAL_STEP, Consistency, Pull
from breakdown.ps.optim import Optimizer
from breakdown.ps.pool import Buffer, Pool


class Version:
    """Memory that replies are sent from. `readers`: request ids of the replies that may still be read from it.

    The handler adds, a sender thread discards: single atomic set operations. A reader that is seen too long costs a copy;
    one is never missed.
    """

    __slots__ = ("_pool", "_unclaimed", "buffer", "readers")

    def __init__(self, buffer: Buffer, pool: Pool) -> None:
        self.buffer = buffer
        self.readers: set[int] = set()
        self._pool = pool
        self._unclaimed: list[Buffer] = []  # once retired: the buffer, for the one thread that takes it out

    def done(self, request_id: int) -> None:
        """This reply has left. Any thread, any number of times."""
        self.readers.discard(request_id)
        self._free()

    def retire(self) -> None:
        """No reply will be lent from this any more. For the handler."""
        self._unclaimed.append(self.buffer)
        self._free()

    def _free(self) -> None:
        # Both callers change their side first and then look at the other's, so one of them sees both.
        if self._unclaimed and not self.readers:
            with contextlib.suppress(IndexError):  # another thread was faster
                self._pool.give(self._unclaimed.pop())


class Initial(NamedTuple):
    """The contribution is the initial value."""

    value: Buffer


class Sum(NamedTuple):
    """The contribution joins the round's sum. `adopted`: it is the first, so nothing is computed."""

    contribution: Buffer
    adopted: bool


class Update(NamedTuple):
    """The sum is complete and becomes a new version. `scale`: 1 / the number of contributions in it."""

    scale: float


class Reply(NamedTuple):
    """The pull can be answered with the version that stands after the actions before it."""

    pull: Pull


Work = Initial | Sum | Update
Action = Work | Reply


class ShardState:
    """One key. One handler thread owns it; sender threads touch only the `readers` of a version that was lent to them."""

    def __init__(self, consistency: Consistency, optimizer: Optimizer | None, pool: Pool) -> None:
        """`optimizer` None: the sum itself is what workers get, and they update (`update_on: worker`)."""
        self._consistency = consistency
        self._optimizer = optimizer
        self._pool = pool
        self._accumulator: Buffer | None = None
        self._current: Version | None = None
        self._lent: dict[int, tuple[Version, int]] = {}  # worker -> its last reply: the version and the request id
        self._contributions = 0

    def on_push(self, worker: int, step: int, contribution: Buffer, pull: Pull | None = None) -> tuple[Action, ...]:
        """A worker's gradient, or with step -1 the initial value, and the pull that came with it.

        Raises `WireError` when it cannot come now.
        """
        if step == INITIAL_STEP:
            released = self._consistency.on_initial(worker, pull)
            return (Initial(contribution), *map(Reply, released))
        completes, released = self._consistency.on_push(worker, step, pull)
        if worker in self._lent:
            version, request = self._lent.pop(worker)
            version.done(request)
        self._contributions += 1
        total = Sum(contribution, self._contributions == 1)
        if not completes:
            return (total, *map(Reply, released))
        scale = 1.0 / self._contributions
        self._contributions = 0
        return (total, Update(scale), *map(Reply, released))

    def on_pull(self, pull: Pull) -> tuple[Reply, ...]:
        """A worker asks. No action: held until a later push releases it."""
        return (Reply(pull),) if self._consistency.on_pull(pull) else ()

    def perform(self, work: Work) -> None:
        """Does the work of one action on this key's memory."""
        if isinstance(work, Sum):
            self._sum(work.contribution)
        elif isinstance(work, Update):
            self._update(work.scale)
        else:
            self._current = Version(work.value, self._pool)

    def lend(self, reply: Reply) -> Version:
        """The version to answer with. Its memory stays as it is until the sender says that the reply is `done`."""
        current = self._need_current()
        worker, _, request = reply.pull
        current.readers.add(request)
        self._lent[worker] = current, request
        if self._optimizer is None and len(self._lent) == self._consistency.workers:
            self._replace(None)
        return current

    def _sum(self, contribution: Buffer) -> None:
        if self._accumulator is None:
            self._accumulator = contribution
            return
        self._accumulator.values.add_(contribution.values)
        self._pool.give(contribution)

    def _update(self, scale: float) -> None:
        total, self._accumulator = self._accumulator, None
        if total is None:
            raise WireError("an update without a contribution")
        if self._optimizer is None:
            self._replace(Version(total, self._pool))
            return
        self._optimizer.step(self._writable().buffer.values, total.values, scale)
        self._pool.give(total)

    def _writable(self) -> Version:
        """The current version if nobody reads it, else a copy that takes its place."""
        current = self._need_current()
        if current.readers:
            fresh = Version(self._pool.take(current.buffer.nbytes), self._pool)
            fresh.buffer.values.copy_(current.buffer.values)
            self._replace(fresh)
            return fresh
        return current

    def _replace(self, version: Version | None) -> None:
        """Retires the current version; `version` takes its place."""
        if self._current is not None:
            self._current.retire()
        self._current = version

    def _need_current(self) -> Version:
        if self._current is None:
            raise WireError("a value was asked for before there was one, or again after all workers had it")
        return self._current
