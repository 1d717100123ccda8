"""Steps from XPlane files, one a process.

A step is what the program marked as one (`tf.profiler.experimental.Trace` with a `step_num`, as Keras's callback does);
else the outermost call around each run of the function that took most time in all; else each run of a graph, as
`session.run` asks for it. All that a worker ran within a step belongs to it; what servers ran for it has the same number.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping

from breakdown.errors import UsageError
from breakdown.model.identity import Node, Role
from breakdown.model.stages import Op, Stage
from breakdown.store.profiles.executors import DATA_THREAD, FUNCTION, Ran, operations
from breakdown.store.profiles.profile import Part, Profile, Step, Work
from breakdown.store.profiles.readable import LeftOut
from breakdown.store.profiles.xplane import FUNCTION_NAME, IS_FUNCTION, NUMBER, STEP_NUMBER, Event, Process
from breakdown.store.tensorflow.messages import DISPATCH

_EXECUTE = "EagerExecute"
_FROM_COORDINATOR = "EagerService:"
_PREPARE = "prepare"


def profile(processes: Mapping[Node, Process], left_out: LeftOut) -> Profile:
    """The steps of all workers. Raises `UsageError` where a worker has no operation."""
    ran = {node: operations(process) for node, process in processes.items()}
    steps: list[Step] = []
    remarks: list[str] = []
    for node in sorted(processes):
        if node.role is Role.WORKER:
            own, how = _steps(node, processes[node], ran[node])
            steps += own
            remarks.append(f"{node}: {how}")
    numbers = {id(one.operation): one.number for own in ran.values() for one in own}
    by_number = {numbers[id(one)]: step for step in steps for one in step.parts[step.worker].operations}
    by_number.pop(0, None)  # of events that tell no number
    for node in sorted(processes):
        if node.role is Role.SERVER:
            _serve(node, processes[node], ran[node], by_number)
    for node, process in processes.items():
        if process.devices:
            remarks.append(f"{node}: what ran on {', '.join(process.devices)} is in the profile, but not read")
    beside = {node: _beside(node, process) for node, process in processes.items()}
    hosts = {node: process.host if process.is_wall_clock else _own_clock(node) for node, process in processes.items()}
    return Profile(steps, hosts, beside, (*remarks, *left_out.remarks()))


def _own_clock(node: Node) -> str:
    """In the place of a host, where times count from the start of the profile."""
    return f"the profile of {node}"


def _steps(node: Node, process: Process, ran: list[Ran]) -> tuple[list[Step], str]:
    if not ran:
        raise UsageError(
            f"{process.path} holds no operation that {node} ran. Profile with host_tracer_level=2 (the default), "
            "while steps run."
        )
    marked = [event for event in _outer(process) if STEP_NUMBER in event.stats and _functions(event)]
    if marked:
        found = [_called(node, event, ran) for event in sorted(marked, key=lambda one: one.start_ns)]
        return [step for step in found if step.parts], "its steps are those that the program marked"
    called: dict[str, list[Event]] = defaultdict(list)
    for event in _outer(process):
        if _functions(event):
            called[_function_name(event)].append(event)
    if called:
        name = max(called, key=lambda one: sum(event.end_ns - event.start_ns for event in called[one]))
        found = [_called(node, event, ran) for event in sorted(called[name], key=lambda one: one.start_ns)]
        found = [step for step in found if step.parts]
        if found:
            return found, f"its steps are the calls of {name}"
    runs: dict[int, Part] = defaultdict(lambda: Part(node))
    for one in ran:
        runs[one.number].operations.append(one.operation)
    found = []
    for part in sorted(runs.values(), key=lambda one: one.start_ns):
        if not found or part.start_ns >= found[-1].end_ns:
            found.append(Step(node, part.start_ns, part.done_ns, [], [], parts={node: part}))
    return found, "its steps are its runs of a graph"


def _outer(process: Process) -> Iterator[Event]:
    return (event for thread in process.threads if not thread.name.startswith(DATA_THREAD) for event in thread.events)


def _functions(event: Event) -> list[Event]:
    """The runs of functions within an event."""
    return [one for one in event.all() if one.name == FUNCTION]


def _function_name(event: Event) -> str:
    executed = (one for one in event.all() if one.name == _EXECUTE and one.stats.get(IS_FUNCTION))
    return next((str(one.stats.get(FUNCTION_NAME, event.name)) for one in executed), event.name)


def _called(node: Node, event: Event, ran: list[Ran]) -> Step:
    """A step that a call of the program, or of the coordinator, is all of; or a stretch that the program marked."""
    op = DISPATCH if event.name.startswith(_FROM_COORDINATOR) else Op.SUBMIT
    step = Step(node, event.start_ns, event.end_ns, [], [], op)
    first, stop = (bisect_left(ran, at, key=lambda one: one.operation.start_ns) for at in (event.start_ns, event.end_ns))
    own = [one.operation for one in ran[first:stop]]
    if not own:
        return step
    for operation in own:
        operation.done_ns = min(operation.done_ns, event.end_ns)
        operation.end_ns = min(operation.end_ns, operation.done_ns)
    step.parts[node] = Part(node, own)
    callers = event.inner if STEP_NUMBER in event.stats else [event]
    step.calls = [(one.start_ns, one.end_ns) for one in callers if _functions(one)]
    functions = _functions(event)
    ends = [one.start_ns for one in functions[1:]]
    for function, end_ns in zip(functions, [*ends, event.end_ns], strict=True):
        started = (bisect_left(own, at, key=lambda one: one.start_ns) for at in (function.start_ns, end_ns))
        woken_ns = max((one.done_ns for one in own[slice(*started)]), default=0)
        asked_ns = function.end_ns if woken_ns > function.end_ns else function.start_ns
        if woken_ns > asked_ns:
            step.runs.append((asked_ns, min(woken_ns, end_ns)))
    return step


def _serve(node: Node, process: Process, ran: list[Ran], by_number: Mapping[int, Step]) -> None:
    """Gives each worker's step what a server did for it."""
    for one in ran:
        step = by_number.get(one.number)
        if step is not None:
            part = step.parts.setdefault(node, Part(node))
            part.operations.append(one.operation)
    for thread in process.threads:
        for outer in thread.events:
            for event in _functions(outer):
                step = by_number.get(event.number(NUMBER))
                if step is not None and node in step.parts:
                    step.parts[node].told_ns = outer.start_ns, event.end_ns
    for step in by_number.values():
        if node in step.parts and step.runs:  # the last run sleeps until the server's part is done, too
            asked, woken = step.runs[-1]
            step.runs[-1] = asked, max(woken, min(step.parts[node].done_ns, step.end_ns))


def _beside(node: Node, process: Process) -> list[Work]:
    """Batches that are prepared, and what the coordinator hands out."""
    found = []
    for thread in process.threads:
        if thread.name.startswith(DATA_THREAD):
            found += [Work(thread.name, one.start_ns, one.end_ns, Stage.INPUT, _PREPARE) for one in thread.events]
        elif node.role is Role.SCHEDULER:
            found += [
                Work(thread.name, one.start_ns, one.end_ns, Stage.SERIALIZE, DISPATCH, one.name)
                for one in thread.events
                if any(inner.name == _EXECUTE for inner in one.all())
            ]
    return [one for one in found if one.end_ns > one.start_ns]
