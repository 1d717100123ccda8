"""The rows of a process's part in a step: its operations, and the master's handing out and taking back of the step.

worker  main         block until the run
worker  master       queue(run), dispatch, hold(run, cause: the answer of the last part, or the last operation), dispatch
worker  runner       submit: from the end of its last run to the asking for this one, where that thread is not the main one
both    tf_Compute   queue(operation, cause: the last of those that it needs), its work, and where that is asynchronous
                     hold(cause: the request that brings it, or the operation within which it was released)
"""

from __future__ import annotations

from dataclasses import replace

from breakdown.model.identity import NO_REQUEST, Role, is_operation
from breakdown.model.stages import Op, Stage
from breakdown.store.decode import MAIN_THREAD
from breakdown.store.messages import NO_STEP
from breakdown.store.tensorflow.graphs import FETCH, QUEUED, RECEIVES, SENDS, TAKES
from breakdown.store.tensorflow.messages import DISPATCH
from breakdown.store.tensorflow.run import ASK, FETCHED, Run
from breakdown.store.tensorflow.steps import Operation, Part
from breakdown.store.tensorflow.written import What

SENDING = "send"

_QUEUE = "input queue"
"""The thread, which is none, of waiting for a batch from a queue."""


def write(run: Run, part: Part) -> None:
    """Writes the rows of one part. The calls of the run must have been written before."""
    for operation in part.runs():
        _operation(run, part, operation)
    if part.run is not None:
        _master(run, part)


def _operation(run: Run, part: Part, operation: Operation) -> None:
    written, node, number = run.written[part.node], part.node, part.number
    what = _meaning(run, part, operation)
    needed = operation.waits_for
    if needed is not None and needed.done_ns is not None:
        cause, ready_ns = run.operation(node, number, needed), needed.done_ns
    else:  # it could run at once
        told_ns = run.told_ns(node, number)
        cause, ready_ns = run.dispatch(node, number), operation.start_ns if told_ns is None else told_ns
    ready_ns = min(ready_ns, operation.start_ns)
    written.state(operation.thread, ready_ns, operation.start_ns, replace(what, op=Op.QUEUE, cause=cause))
    written.did(operation.thread, operation.start_ns, operation.end_ns, what, operation)
    done_ns = operation.done_ns
    if done_ns is None or done_ns <= operation.end_ns:
        return
    if operation.worked is not None:
        took = operation.worked
        written.state(took.thread, operation.end_ns, took.start_ns, replace(what, op=Op.QUEUE))
        written.did(took.thread, max(took.start_ns, operation.end_ns), done_ns, what)
        return
    if what.stage is Stage.INPUT and operation.kind.startswith((QUEUED, *TAKES)):  # whoever brings it: a batch is waited for
        written.did(_QUEUE, operation.end_ns, done_ns, what)
        return
    if operation.kind in RECEIVES:
        cause, read_ns = run.brought.get((node, number, _tensor(part, operation), operation.turn), (NO_REQUEST, done_ns))
        done_ns = min(done_ns, read_ns)  # what comes then is the handing over of what was read
    else:
        cause = NO_REQUEST if operation.released_by is None else run.operation(node, *operation.released_by)
    written.state(operation.thread, operation.end_ns, done_ns, replace(what, stage=Stage.WAIT, op=Op.HOLD, cause=cause))


def _master(run: Run, part: Part) -> None:
    asked, written, number = part.run, run.written[part.node], part.number
    assert asked is not None
    own, step, thread = run.master(number), run.step(number), asked.thread
    woken_ns = asked.end_ns if part.partitions is None else part.partitions.end_ns
    queue = What(Stage.SERIALIZE, Op.QUEUE, "", step, own)
    dispatch = replace(queue, op=DISPATCH)
    before = run.before(part)
    if before is not None and before.run is not None:
        free_ns = before.run.end_ns
        runner = f"runner-{asked.name}"
        written.state(runner, free_ns, free_ns, replace(queue, cause=run.master(before.number)))
        written.did(runner, free_ns, asked.size, replace(queue, op=Op.SUBMIT))
    written.state(thread, asked.size, asked.start_ns, queue)
    ends, issued_ns = [], asked.start_ns
    for request, answered_ns in run.ran.get(number, ()):
        answer = What(Stage.PULL, Op.QUEUE, DISPATCH, step, request)
        written.state(thread, answered_ns, woken_ns, answer)
        ends.append((answered_ns, request))
    if part.dispatch is not None:
        told, local = part.dispatch, run.dispatch(part.node, number)
        issued_ns = told.end_ns
        written.did(thread, asked.start_ns, told.start_ns, dispatch)
        written.state(told.thread, told.start_ns, told.start_ns, replace(queue, request=local, cause=own))
        written.did(told.thread, told.start_ns, told.end_ns, replace(dispatch, request=local))
        last = part.last_done(woken_ns)
        if last is not None and last.done_ns is not None:
            ends.append((last.done_ns, run.operation(part.node, number, last)))
    elif part.partitions is not None:
        issued_ns = part.partitions.start_ns
        written.did(thread, asked.start_ns, issued_ns, dispatch)
    if ends:
        done_ns, cause = max(ends)
        until_ns = done_ns if is_operation(cause) else woken_ns  # an answer waits for this thread to wake
        written.state(thread, issued_ns, until_ns, replace(queue, stage=Stage.WAIT, op=Op.HOLD, cause=cause))
    written.did(thread, woken_ns, asked.end_ns, dispatch)
    if step != NO_STEP:
        block = What(Stage.WAIT, Op.BLOCK, "", step, NO_REQUEST, own)
        written.did(MAIN_THREAD, asked.size, asked.end_ns, block)


def _tensor(part: Part, operation: Operation) -> str:
    return part.graph.tensors.get(operation.name, "") if part.graph is not None else ""


def _meaning(run: Run, part: Part, operation: Operation) -> What:
    at_server, kind = part.node.role is Role.SERVER, operation.kind
    key = run.name(part.number, _tensor(part, operation), operation.name)
    request = run.operation(part.node, part.number, operation)
    is_fetched = run.is_fetched(part.number)
    if kind in RECEIVES:
        stage, op = (Stage.PUSH if at_server else Stage.PULL), ASK
    elif kind in SENDS and not operation.name.startswith(FETCH):
        stage, op = (Stage.PULL if at_server or is_fetched else Stage.PUSH), SENDING
    elif is_fetched:
        stage, op = Stage.SERIALIZE, kind
    elif run.is_batch(part, operation) or run.is_input(part):
        stage, op = Stage.INPUT, Op.LOAD
    elif not at_server:
        forward = part.graph is not None and operation.name in part.graph.forward
        stage, op = Stage.COMPUTE, (Op.FORWARD if forward else Op.BACKWARD)
    elif "Accumulator" in kind and "Apply" in kind:
        stage, op = Stage.AGGREGATE, Op.SUM
    elif "Apply" in kind or kind.startswith("Assign"):
        stage, op = Stage.AGGREGATE, Op.UPDATE
    else:
        stage, op = Stage.AGGREGATE, kind
    return What(stage, op, FETCHED if is_fetched else key, run.step(part.number), request)
