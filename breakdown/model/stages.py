"""The eight stages that share out a step, and the operations that name a piece of work inside one.

The numbers are written to trace files: add at the end, never renumber.
"""

from __future__ import annotations

import enum


class Stage(enum.IntEnum):
    """One of the eight reasons a nanosecond of a step can have."""

    INPUT = 0  # taking the batch
    COMPUTE = 1  # forward, backward, local update
    SERIALIZE = 2  # encode and decode, at worker and server
    PUSH = 3  # on the wire, worker to server
    AGGREGATE = 4  # at the server: queue, sum, update
    PULL = 5  # on the wire, server to worker, its request included
    WAIT = 6  # held for other workers
    OTHER = 7  # what none of the above explains; always shown

    @property
    def label(self) -> str:
        """The stage's name in tables and figures, for example `push`."""
        return self.name.lower()


STAGES = tuple(Stage)
STAGE_LABELS = tuple(stage.label for stage in STAGES)


class Op:
    """Operations that the analysis knows by name. A backend may record others; these have a meaning in the graph."""

    LOAD = "load"  # input
    FORWARD = "forward"  # compute, key = the layer's first parameter
    BACKWARD = "backward"  # compute, key = the parameter whose gradient became ready
    UPDATE = "update"  # compute at a worker, aggregate at a server
    SUBMIT = "submit"  # serialize: a worker's main thread hands its work over
    ENCODE = "encode"  # serialize
    DECODE = "decode"  # serialize
    SUM = "sum"  # aggregate
    BLOCK = "block"  # a worker's thread sleeps until the request in `cause_id` is answered
    QUEUE = "queue"  # a request waits for the thread that will serve it
    HOLD = "hold"  # a request waits at the server until the request in `cause_id` releases it; so does an operation
    LOCK = "python-lock"  # the part of an update that holds Python's lock; cut out of `update`
    LOCK_WAIT = "python-lock-wait"  # the part of an update that waits for Python's lock
    # The next two are never recorded: the analysis names what it finds between records.
    WIRE = "wire"  # a message on its way
    HANDOVER = "handover"  # between two records of one request: waking the next thread, taking the interpreter's lock
    UNEXPLAINED = "unexplained"  # a gap in a thread's program order


REQUEST_OPS = frozenset({Op.QUEUE, Op.HOLD})
"""Operations that are a state of a request. All others are activity of a thread, and never overlap within one thread."""
