"""The rows of remote eager execution: the coordinator's threads, what they ask of workers, functions of several processes.

coordinator  main (the worker's)  dispatch, encode, block until the operation is done or the function has run
             an operation         queue, request, queue, dispatch, hold(cause: the function that is run for it), dispatch,
                                  queue, answer
both         a function           queue(cause: the operation), dispatch, hold(cause: the last of its parts), dispatch
                                  (telling the others to forget it), hold(cause: the last of their answers), queue
             forgetting it        queue(cause: the function), request, queue, cleanup, queue, answer
"""

from __future__ import annotations

from dataclasses import replace

from breakdown.model.identity import NO_REQUEST
from breakdown.model.records import Direction, Verb
from breakdown.model.stages import Op, Stage
from breakdown.store.decode import MAIN_THREAD
from breakdown.store.tensorflow.calls import Call
from breakdown.store.tensorflow.eager import CLEANUP, EXECUTE, OPERATION, TENSOR, Drive, Function
from breakdown.store.tensorflow.messages import DISPATCH, message, queued, stage_at
from breakdown.store.tensorflow.raw import Activity
from breakdown.store.tensorflow.run import Run
from breakdown.store.tensorflow.written import What

FORGET = "cleanup"

_REQUEST, _REPLY = Direction.REQUEST, Direction.REPLY


def write(run: Run, call: Call) -> bool:
    """Writes the rows of a call, if it is an eager one that a step waits for."""
    if call.what in (OPERATION, TENSOR):
        drive = run.eager.drive(call.number)
        if drive is not None:
            _operation(run, call, drive)
            return True
    elif call.what == CLEANUP and call.number in run.eager.functions:
        _cleanup(run, call)
        return True
    return False


def write_function(run: Run, function: Function) -> None:
    """Writes the rows of a function's run. All calls must have been written before."""
    written, thread = run.place(function)
    number, own = function.number, run.master(function.number)
    cause = _asked_by(run, function)
    what = What(Stage.SERIALIZE, DISPATCH, "", run.step(number), own)
    hold = replace(what, stage=Stage.WAIT, op=Op.HOLD)
    written.state(thread, function.issue.start_ns, function.issue.start_ns, replace(what, op=Op.QUEUE, cause=cause))
    written.did(thread, function.issue.start_ns, function.issue.end_ns, what)
    ends = [(done_ns, request) for request, done_ns in run.ran.get(number, ())]
    cleaned = run.cleaned.get(number, ())
    until_ns = min([function.run.end_ns, *(made.start_ns for _, made, _ in cleaned)])
    part = run.part(function.node, number)
    last = part.last_done(until_ns) if part is not None else None
    if last is not None and last.done_ns is not None:
        ends.append((last.done_ns, run.operation(function.node, number, last)))
    if ends:
        done_ns, by = max(ends)
        written.state(thread, function.issue.end_ns, done_ns, replace(hold, cause=by))
    for _, made, _ in cleaned:
        run.written[function.node].did(made.thread, made.start_ns, made.end_ns, what)
    if cleaned:
        done_ns, by = max((answered_ns, request) for request, _, answered_ns in cleaned)
        written.state(thread, max(made.end_ns for _, made, _ in cleaned), done_ns, replace(hold, cause=by))
    if ends:
        woken = run.written[function.node]  # a thread of its own there, or the one that `main` stands for
        woken.state(function.run.thread, done_ns, function.run.end_ns, replace(what, op=Op.QUEUE))


def write_thread(run: Run, drive: Drive, activity: Activity) -> None:
    """Writes what the coordinator's thread for a worker did in a step of that worker."""
    if drive.worker not in run.written:
        return
    what = What(Stage.SERIALIZE, DISPATCH, "", drive.step, NO_REQUEST)
    if activity.name == EXECUTE:
        _main(run, drive, activity.start_ns, activity.end_ns, what)
    elif activity.kind == "request" and activity.name in (OPERATION, TENSOR):
        _main(run, drive, activity.start_ns, activity.end_ns, replace(what, op=Op.ENCODE))
        waited = run.eager.waited(drive.node, activity)
        request = _request(run, drive, activity.number)
        if waited is not None and request in run.asked:
            _block(run, drive, activity.end_ns, waited.end_ns, request)


def write_waiting(run: Run, function: Function) -> None:
    """The coordinator's thread sleeps while a function that it runs itself is run."""
    drive = run.eager.drive(function.number)
    if function.served is None and drive is not None:
        _block(run, drive, function.issue.end_ns, function.run.end_ns, run.master(function.number))


def _operation(run: Run, call: Call, drive: Drive) -> None:
    """The coordinator has a worker carry out an operation."""
    worker, number = call.server, call.number
    what = What(Stage.PULL, Op.QUEUE, DISPATCH, drive.step, _request(run, drive, number))
    run.asked.add(what.request)
    sent, received = call.halves.get((_REQUEST, True)), call.halves.get((_REQUEST, False))
    made = run.eager.request(call.client, call.what, number, sent.start_ns) if sent is not None else None
    if sent is not None and made is not None:
        run.written[call.client].state(f"send-{worker}", made.end_ns, sent.start_ns, what)
    message(run, call, _REQUEST, Verb.PULL, _REQUEST, what)
    served = run.eager.serve(worker, call.what, number)
    if served is not None:
        here, work = run.written[worker], replace(what, stage=stage_at(worker))
        if received is not None:
            here.state(served.thread, received.end_ns, served.start_ns, work)
        since_ns = served.start_ns
        for function in run.eager.within(served):
            here.did(served.thread, since_ns, function.issue.end_ns, replace(work, op=DISPATCH, key=""))
            hold = replace(work, stage=Stage.WAIT, op=Op.HOLD, cause=run.master(function.number))
            here.state(served.thread, function.issue.end_ns, function.run.end_ns, hold)
            since_ns = function.run.end_ns
        here.did(served.thread, since_ns, served.end_ns, replace(work, op=DISPATCH, key=""))
        queued(run, call, worker, served.end_ns, what)
    message(run, call, _REPLY, Verb.PULL, _REPLY, what)


def _cleanup(run: Run, call: Call) -> None:
    """A function has run, and its parts elsewhere may forget it."""
    client, server, number = call.client, call.server, call.number
    what = What(Stage.PULL, Op.QUEUE, DISPATCH, run.step(number), run.request(client, number, FORGET, server))
    sent, received = call.halves.get((_REQUEST, True)), call.halves.get((_REQUEST, False))
    made = run.eager.request(client, CLEANUP, number, sent.start_ns) if sent is not None else None
    if sent is not None and made is not None:
        head = replace(what, cause=run.master(number))
        run.written[client].state(f"send-{server}", made.end_ns, sent.start_ns, head)
    message(run, call, _REQUEST, Verb.PULL, _REQUEST, what)
    served = run.eager.serve(server, CLEANUP, number)
    if served is not None:
        here, work = run.written[server], replace(what, stage=stage_at(server))
        if received is not None:
            here.state(served.thread, received.end_ns, served.start_ns, work)
        here.did(served.thread, served.start_ns, served.end_ns, replace(work, op=FORGET, key=""))
        queued(run, call, server, served.end_ns, what)
    message(run, call, _REPLY, Verb.PULL, _REPLY, what)
    answered = call.halves.get((_REPLY, False))
    if made is not None and answered is not None:
        run.cleaned.setdefault(number, []).append((what.request, made, answered.end_ns))


def _request(run: Run, drive: Drive, operation: int) -> int:
    return run.request(drive.worker, 0, OPERATION, operation)


def _asked_by(run: Run, function: Function) -> int:
    """The operation that a function is run for; NO_REQUEST: a program's thread runs it of itself."""
    drive = run.eager.drive(function.number)
    if function.served is None or drive is None:
        return NO_REQUEST
    return _request(run, drive, function.served.number)


def _main(run: Run, drive: Drive, start_ns: int, end_ns: int, what: What) -> None:
    run.written[drive.worker].did(MAIN_THREAD, start_ns, end_ns, what)


def _block(run: Run, drive: Drive, start_ns: int, end_ns: int, cause: int) -> None:
    _main(run, drive, start_ns, end_ns, What(Stage.WAIT, Op.BLOCK, "", drive.step, NO_REQUEST, cause))
