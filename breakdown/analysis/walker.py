"""The walk back along what made a step as long as it is, from its end to its start. Plain loops over plain integers.

All that is found goes through `_emit`, which moves the current moment back to the start of what was found and never past
the floor: so whatever the trace looks like, what is found tiles the step exactly. Every request is entered at most once and
threads are only followed backwards, so the walk ends.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from typing import Final

import numpy as np

from breakdown.analysis.codes import NONE, Ints
from breakdown.analysis.graph import BLOCK, HOLD, QUEUE, WIRE, WORK, Graph
from breakdown.analysis.rows import AT_SERVER
from breakdown.model.stages import Stage

SELF, HANDOVER, UNEXPLAINED, BEHIND = 0, 1, 2, 3
"""What a stretch is: the row's own work or state, a handover towards it, a gap that no record explains, or a request's
waiting at a server for the row's work, which was for another one."""
FOREIGN: Final = 4
"""Added to the above: found while following another worker, for whom this one was held."""

_AGGREGATE: Final = int(Stage.AGGREGATE)


def _view(column: Ints) -> memoryview[int]:
    """Reads as Python integers, at a third of the price of numpy's scalars, and copies nothing."""
    return np.ascontiguousarray(column).data


class Walker:
    """Walks steps, one after the other. Found stretches stand in `rows`, `kinds`, `starts_ns`, latest first in a step."""

    def __init__(self, graph: Graph) -> None:
        rows, threads, chains = graph.rows, graph.threads, graph.chains
        self.rows = array("q")
        self.kinds = array("q")
        self.starts_ns = array("q")
        self._now = 0
        self._floor = 0
        self._foreign = 0
        self._entered: set[int] = set()
        self._spans = rows.spans
        self._end = _view(rows.end_ns)
        self._stage = _view(rows.stage)
        self._thread = _view(rows.thread)
        self._request = _view(rows.request)
        self._cause = _view(rows.cause)
        self._leg_start = _view(rows.leg_start)
        self._leg_end = _view(rows.leg_end)
        self._shape = _view(graph.shape)
        self._ahead = _view(graph.ahead)
        self._push_of = _view(graph.push_of)
        self._main_of = _view(graph.main_of)
        self._requester = _view(rows.requester)
        self._thread_start = _view(threads.start_ns)
        self._thread_end = _view(threads.end_ns)
        self._thread_row = _view(threads.row)
        self._thread_first = _view(threads.first)
        self._thread_stop = _view(threads.stop)
        self._chain_start = _view(chains.start_ns)
        self._chain_end = _view(chains.end_ns)
        self._chain_row = _view(chains.row)
        self._chain_first = _view(chains.first)
        self._chain_stop = _view(chains.stop)

    def step(self, main: int, start_ns: int, end_ns: int) -> None:
        """Walks one step of the worker whose main thread is `main` (NONE: it left no records)."""
        self._now, self._floor, self._foreign = end_ns, start_ns, 0
        self._entered.clear()
        self._follow(main, NONE, NONE, NONE)

    def _emit(self, row: int, kind: int, start_ns: int) -> None:
        if start_ns < self._floor:
            start_ns = self._floor
        if start_ns < self._now:
            self.rows.append(row)
            self.kinds.append(kind | self._foreign)
            self.starts_ns.append(start_ns)
            self._now = start_ns

    def _follow(self, main: int, request: int, at: int, later: int) -> None:
        """Back to the floor: from entry `at` of the chain of `request`, or in the main thread where that is NONE."""
        while self._now > self._floor:
            if request == NONE:
                later = self._program_order(main)
                if later == NONE:
                    return
                request = self._cause[later]
                at = self._chain_stop[request] - 1
            at = self._chain(request, at, later)
            if self._now <= self._floor:
                return
            if at == NONE:  # the moment at which the request was submitted
                later = self._chain_row[self._chain_first[request]]
                submitter = self._cause[later] if self._shape[later] == QUEUE else NONE
                at = self._before(submitter)
                main, request = (self._main_of[request], NONE) if at == NONE else (main, submitter)
                continue
            later = self._chain_row[at]
            cause = self._cause[later]
            others = cause != NONE and self._requester[cause] != self._requester[request]
            if not self._enter(cause):  # for whom it was held is known, what they did is not
                self._emit(later, SELF if others else UNEXPLAINED, self._chain_start[at])
                at -= 1
            elif others and not self._foreign:
                request, at = self._other_worker(request, at, cause)
            else:
                request, at = cause, self._reached(cause)

    def _before(self, request: int) -> int:
        """The last entry of a request's chain that has begun before the current moment; NONE if there is none."""
        if request == NONE:
            return NONE
        at = self._chain_stop[request] - 1
        while at >= self._chain_first[request]:
            if self._chain_start[at] < self._now:
                return at
            at -= 1
        return NONE

    def _reached(self, request: int) -> int:
        """How far a request's chain has come at this moment: a way or a queue that it is still in is not behind it."""
        at, first = self._chain_stop[request] - 1, self._chain_first[request]
        while at > first and self._chain_end[at] > self._now and self._shape[self._chain_row[at]] in (QUEUE, WIRE):
            at -= 1
        return at

    def _other_worker(self, request: int, at: int, cause: int) -> tuple[int, int]:
        """Follows the push that released a hold back to the moment at which this worker's own push was done.

        Returns the request and the entry of its chain at which the own path goes on.
        """
        push = self._push_of[request]
        own = NONE
        if push != request and self._enter(push):
            own = self._chain_stop[push] - 1
            while own >= self._chain_first[push] and self._leg_end[self._chain_row[own]] != AT_SERVER:
                own -= 1
            if own < self._chain_first[push]:
                own = NONE
        begin = self._chain_start[at] if own == NONE else self._chain_end[own]
        floor = self._floor
        self._floor = max(floor, min(begin, self._now))
        self._foreign = FOREIGN
        self._follow(NONE, cause, self._reached(cause), self._chain_row[at])
        self._foreign = 0
        self._floor = floor
        return (request, at - 1) if own == NONE else (push, own)

    def _enter(self, request: int) -> bool:
        """Whether the chain of a request can be followed: there is one, and this step has not been along it."""
        if request == NONE or request in self._entered or self._chain_first[request] == self._chain_stop[request]:
            return False
        self._entered.add(request)
        return True

    def _program_order(self, main: int) -> int:
        """Back along a main thread: to the floor (returns NONE), or to a block whose request can be followed (its row)."""
        if main == NONE:
            self._emit(NONE, UNEXPLAINED, self._floor)
            return NONE
        first = self._thread_first[main]
        at = bisect_left(self._thread_start, self._now, first, self._thread_stop[main]) - 1
        while self._now > self._floor:
            if at < first:
                self._emit(NONE, UNEXPLAINED, self._floor)
                break
            row = self._thread_row[at]
            start = self._thread_start[at]
            self._emit(row, UNEXPLAINED, self._thread_end[at])
            if self._shape[row] != BLOCK:
                self._emit(row, SELF, start)
            elif not self._enter(self._cause[row]):
                self._emit(row, UNEXPLAINED, start)
            else:
                last = self._chain_stop[self._cause[row]] - 1
                if self._chain_end[last] > start:
                    return row
                answered = self._leg_end[self._chain_row[last]] == self._leg_start[row]
                self._emit(row, HANDOVER if answered else UNEXPLAINED, start)
            at -= 1
        return NONE

    def _chain(self, request: int, at: int, later: int) -> int:
        """Back along a chain, from its entry `at`: to its head or the floor (returns NONE), or to a hold (its entry)."""
        first = self._chain_first[request]
        while at >= first and self._now > self._floor:
            start = self._chain_start[at]
            if start < self._now:
                row = self._chain_row[at]
                end = self._chain_end[at]
                if end < self._now:
                    unbroken = later == NONE or self._leg_end[row] == self._leg_start[later]
                    self._emit(later, HANDOVER if unbroken else UNEXPLAINED, end)
                shape = self._shape[row]
                if shape == QUEUE:
                    self._queue(row, start, request)
                elif shape == WIRE:
                    self._wire(row, start)
                elif shape == HOLD:
                    return at
                else:
                    self._emit(row, SELF, start)
                later = row
            elif start == self._now:  # without duration, but a link of the chain
                later = self._chain_row[at]
            at -= 1
        return NONE

    def _queue(self, queue: int, start: int, request: int) -> None:
        """Back through a wait for a thread, by what that thread did meanwhile.

        At a handler, work for other requests is this one's queueing, under the key that was worked on. A sender's other work
        is named as what it is.
        """
        at_handler = self._stage[queue] == _AGGREGATE
        family = self._push_of[request]
        thread = self._thread[queue]
        first = self._thread_first[thread]
        at = bisect_left(self._thread_start, self._now, first, self._thread_stop[thread]) - 1
        while self._now > start and self._now > self._floor:
            if at < first or self._thread_end[at] <= start:
                self._emit(queue, HANDOVER, start)
                return
            self._emit(queue, HANDOVER, self._thread_end[at])
            busy = self._thread_row[at]
            if not at_handler or self._push_of[self._request[busy]] == family:  # push_of[NONE] is NONE
                self._emit(busy, SELF, max(self._thread_start[at], start))
            else:
                self._behind(busy, max(self._thread_start[at], start))
            at -= 1

    def _behind(self, busy: int, start: int) -> None:
        """Back through a handler's work for another request. Where it slept for that one, other threads worked on it."""
        request = NONE if self._request[busy] != NONE else self._cause[busy]
        if request != NONE:
            at, first = self._chain_stop[request] - 1, self._chain_first[request]
            while at >= first and self._chain_end[at] > start:
                row = self._chain_row[at]
                if self._shape[row] == WORK and self._chain_start[at] < self._now:
                    self._emit(busy, BEHIND, self._chain_end[at])
                    self._emit(row, BEHIND, max(self._chain_start[at], start))
                at -= 1
        self._emit(busy, BEHIND, start)

    def _wire(self, wire: int, start: int) -> None:
        """Back along a message: until the one before it on the connection had arrived, the link was that one's."""
        while self._now > start and self._now > self._floor:
            ahead = self._ahead[wire - self._spans]
            if ahead == NONE or self._end[ahead] <= start:
                self._emit(wire, SELF, start)
                return
            self._emit(wire, SELF, self._end[ahead])
            wire = ahead
