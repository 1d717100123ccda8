"""The rows that all of gRPC's calls have: both ends of their messages, and waiting for the answer to be sent."""

from __future__ import annotations

from dataclasses import replace

from breakdown.model.identity import Node, Role
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Op, Stage
from breakdown.record.layout import Kind
from breakdown.store.tensorflow.calls import Call
from breakdown.store.tensorflow.run import Run
from breakdown.store.tensorflow.written import End, What

DISPATCH = "dispatch"
"""The operation of handing work out and taking it back, and the key of the messages about that."""

_REQUEST, _REPLY = Direction.REQUEST, Direction.REPLY


def stage_at(node: Node) -> Stage:
    """What the carrying out of a request is, and the waiting for a thread to do so."""
    return Stage.AGGREGATE if node.role is Role.SERVER else Stage.SERIALIZE


def queued(run: Run, call: Call, node: Node, since_ns: int, what: What) -> None:
    """Until the answer's first byte goes to the kernel."""
    sent = call.halves.get((_REPLY, True))
    if sent is not None and sent.start_ns > since_ns:
        run.written[node].state(f"send-{call.client}", since_ns, sent.start_ns, replace(what, op=Op.QUEUE))


def message(run: Run, call: Call, went: Direction, verb: Verb, called: Direction, what: What) -> None:
    """Both ends of the message that went in a direction, under the direction that it is `called` in the grammar."""
    for sent in (True, False):
        half = call.halves.get((went, sent))
        if half is None:
            continue
        at_client = sent == (went == _REQUEST)
        node, peer = (call.client, call.server) if at_client else (call.server, call.client)
        end = End(verb, called, what.key, what.step, half.size_bytes, what.request, peer.code, half.start_ns, half.end_ns)
        run.written[node].end(Kind.SENT if sent else Kind.RECEIVED, f"{'send' if sent else 'recv'}-{peer}", end)
