"""The rows of gRPC's calls.

a pull  queue(cause: the operation that asks), request, queue, handle, hold(cause: the operation that sends), encode,
        queue, answer, queue, decode
a push  the asking: queue(cause: the operation that asks), request, queue, handle
        the data: queue(cause: the later of asking and sending), encode, queue, the message, queue, decode
a part  queue(cause: the run), request, queue, hold(cause: its last operation), dispatch, queue, answer, queue;
        within it the operation `dispatch`, that its first operations wait for

What the coordinator fetches from a worker is a pull: there the worker stands for the server. `remote` has what eager
execution needs besides.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from breakdown.model.identity import NO_REQUEST, Node, Role
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Op, Stage
from breakdown.store.messages import NO_STEP
from breakdown.store.tensorflow import calls, remote
from breakdown.store.tensorflow.calls import Call
from breakdown.store.tensorflow.graphs import RECEIVES, SENDS
from breakdown.store.tensorflow.messages import DISPATCH, message, queued, stage_at
from breakdown.store.tensorflow.raw import RUN_GRAPH, Activity
from breakdown.store.tensorflow.run import ASK, DECODE, ENCODE, FETCHED, TAKE, Run
from breakdown.store.tensorflow.steps import COMPONENT
from breakdown.store.tensorflow.written import What

HANDLE = "handle"

_MEANINGS = {"CleanupGraph": (Verb.PULL, DISPATCH)}
"""Of calls that name no step though each step has them: a process may forget its part, which belongs to handing it out."""

_REQUEST, _REPLY = Direction.REQUEST, Direction.REPLY


def write(run: Run, call: Call) -> None:
    """Writes the rows of one call, in both processes."""
    if call.number and call.method == calls.RECV_TENSOR:
        (_push if call.client.role is Role.SERVER else _pull)(run, call)
    elif call.number and call.method in (RUN_GRAPH, COMPONENT):
        _run_part(run, call)
    elif not remote.write(run, call):
        verb, key = _MEANINGS.get(call.method, (Verb.CONTROL, call.method))
        what = What(verb.stage, "", key, NO_STEP, run.request(call.client, 0, id(call)))
        for direction in Direction:
            message(run, call, direction, verb, direction, what)


def _pull(run: Run, call: Call) -> None:
    worker, server = call.client, call.server
    what = _about(run, call, Stage.PULL, run.request(worker, call.number, "pull", call.rendezvous))
    _asked(run, call, what)
    message(run, call, _REQUEST, Verb.PULL, _REQUEST, what)
    take = _handled(run, call, replace(what, stage=stage_at(server)))
    encode = run.tensor(server, ENCODE, call.number, call.rendezvous)
    if encode is not None:
        if take is not None and encode.start_ns > take.end_ns:
            hold = replace(what, stage=Stage.WAIT, op=Op.HOLD, cause=_end_of(run, call, server, SENDS))
            run.written[server].state(encode.thread, take.end_ns, encode.start_ns, hold)
        _encoded(run, call, encode, what)
    message(run, call, _REPLY, Verb.PULL, _REPLY, what)
    _decoded(run, call, what)


def _push(run: Run, call: Call) -> None:
    server, worker = call.client, call.server
    ask = _about(run, call, Stage.PUSH, run.request(server, call.number, "ask", call.rendezvous))
    data = _about(run, call, Stage.PUSH, run.request(worker, call.number, "push", call.rendezvous))
    _asked(run, call, ask)
    message(run, call, _REQUEST, Verb.PUSH, _REQUEST, ask)
    take = _handled(run, call, ask)
    encode = run.tensor(worker, ENCODE, call.number, call.rendezvous)
    if encode is not None:
        was_there = take is not None and encode.start_ns <= take.end_ns
        cause = ask.request if was_there else _end_of(run, call, worker, SENDS)
        run.written[worker].state(encode.thread, encode.start_ns, encode.start_ns, replace(data, op=Op.QUEUE, cause=cause))
        _encoded(run, call, encode, data)
    message(run, call, _REPLY, Verb.PUSH, _REQUEST, data)
    _decoded(run, call, data)


def _run_part(run: Run, call: Call) -> None:
    """A process tells another one to run its part of a step, and is told when that is done."""
    master, server, number = call.client, call.server, call.number
    request = run.request(master, number, call.method, server)
    what = What(Stage.PULL, Op.QUEUE, DISPATCH, run.step(number), request)
    sent, received = call.halves.get((_REQUEST, True)), call.halves.get((_REQUEST, False))
    if sent is not None:
        told_ns = run.told_ns(master, number)  # after that gRPC has it, at the latest
        asked_ns = sent.start_ns if told_ns is None else min(told_ns, sent.start_ns)
        run.written[master].state(f"send-{server}", asked_ns, sent.start_ns, replace(what, cause=run.master(number)))
    message(run, call, _REQUEST, Verb.PULL, _REQUEST, what)
    part = run.part(server, number)
    if part is not None and part.dispatch is not None:
        here, told = run.written[server], part.dispatch
        waits = replace(what, stage=stage_at(server))
        if received is not None:
            here.state(told.thread, received.end_ns, told.start_ns, waits)
        dispatch = replace(waits, request=run.dispatch(server, number))
        here.state(told.thread, told.start_ns, told.start_ns, replace(dispatch, cause=request))
        here.did(told.thread, told.start_ns, told.end_ns, replace(dispatch, op=DISPATCH, key=""))
        if part.finish is not None:
            last, finish = part.last_done(part.finish.start_ns), part.finish
            cause = dispatch.request if last is None else run.operation(server, number, last)
            done_ns = told.end_ns if last is None or last.done_ns is None else last.done_ns
            hold = replace(what, stage=Stage.WAIT, op=Op.HOLD, cause=cause)
            here.state(finish.thread, told.start_ns, done_ns, hold)
            answer = call.halves.get((_REPLY, True))  # an eager part's is sent within the last of its work
            end_ns = finish.end_ns if answer is None else min(finish.end_ns, max(answer.start_ns, finish.start_ns))
            here.did(finish.thread, finish.start_ns, end_ns, replace(waits, op=DISPATCH, key=""))
            queued(run, call, server, end_ns, what)
    message(run, call, _REPLY, Verb.PULL, _REPLY, what)
    answered = call.halves.get((_REPLY, False))
    if answered is not None:
        run.ran.setdefault(number, []).append((request, answered.end_ns))


def _about(run: Run, call: Call, stage: Stage, request: int) -> What:
    key = FETCHED if run.is_fetched(call.number) else run.name(call.number, call.tensor, call.tensor)
    return What(stage, "", key, run.step(call.number), request)


def _end_of(run: Run, call: Call, node: Node, kinds: Collection[str]) -> int:
    """The id of the operation that sends or receives the tensor in a process."""
    part = run.part(node, call.number)
    if part is None or part.graph is None:
        return NO_REQUEST
    names = (name for name, own in part.graph.tensors.items() if own == call.tensor and part.graph.types[name] in kinds)
    operation = part.operation(next(names, ""), run.turn(call.client, call.number, call.rendezvous))
    return NO_REQUEST if operation is None else run.operation(node, call.number, operation)


def _asked(run: Run, call: Call, what: What) -> None:
    """From the asking to the first byte of the request."""
    ask = run.tensor(call.client, ASK, call.number, call.rendezvous)
    sent = call.halves.get((_REQUEST, True))
    if ask is not None and sent is not None:
        queue = replace(what, op=Op.QUEUE, cause=_end_of(run, call, call.client, RECEIVES))
        run.written[call.client].state(f"send-{call.server}", min(ask.start_ns, sent.start_ns), sent.start_ns, queue)


def _handled(run: Run, call: Call, what: What) -> Activity | None:
    """A thread takes the request, and answers it if the tensor is there."""
    take = run.tensor(call.server, TAKE, call.number, call.rendezvous)
    received = call.halves.get((_REQUEST, False))
    if take is not None:
        written = run.written[call.server]
        if received is not None:
            written.state(take.thread, received.end_ns, take.start_ns, replace(what, op=Op.QUEUE))
        written.did(take.thread, take.start_ns, take.end_ns, replace(what, op=HANDLE))
    return take


def _encoded(run: Run, call: Call, encode: Activity, what: What) -> None:
    work = replace(what, stage=Stage.SERIALIZE, op=Op.ENCODE)
    run.written[call.server].did(encode.thread, encode.start_ns, encode.end_ns, work, encode)
    queued(run, call, call.server, encode.end_ns, what)


def _decoded(run: Run, call: Call, what: What) -> None:
    decode = run.tensor(call.client, DECODE, call.number, call.rendezvous)
    received = call.halves.get((_REPLY, False))
    if decode is None:
        return
    written = run.written[call.client]
    if received is not None:
        written.state(decode.thread, received.end_ns, decode.start_ns, replace(what, op=Op.QUEUE))
    work = replace(what, stage=Stage.SERIALIZE, op=Op.DECODE)
    written.did(decode.thread, decode.start_ns, decode.end_ns, work, decode)
    turn = run.turn(call.client, call.number, call.rendezvous)
    run.brought[call.client, call.number, call.tensor, turn] = what.request, decode.end_ns
