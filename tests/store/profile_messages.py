"""Small profiles, made by hand: RunMetadata, its timeline, and XPlane files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from breakdown.store.profiles import protobuf

WORKER = "/job:worker/replica:0/task:{}/device:CPU:0"
SERVER = "/job:ps/replica:0/task:0/device:CPU:0"

US, MS = 1000, 1_000_000
BEGIN_NS = 1_700_000_000_000_000_000
WEIGHT_BYTES = 400_000  # large enough for the label to round it


def node(name: str, kind: str, inputs: str, start_us: int, end_us: int, ready_us: int | None = None) -> Any:
    """An operation of RunMetadata; times from the begin."""
    return protobuf.new(
        "NodeExecStats",
        node_name=name,
        timeline_label=f"{name} = {kind}({inputs})",
        all_start_nanos=BEGIN_NS + start_us * US,
        all_end_rel_nanos=(end_us - start_us) * US,
        scheduled_nanos=BEGIN_NS + (start_us if ready_us is None else ready_us) * US,
    )


def recv(tensor: str, source: str, target: str, start_us: int, end_us: int, size: int) -> Any:
    """A RecvTensor of RunMetadata: its label rounds the size, the output tells it."""
    allocation = protobuf.new("AllocationDescription", requested_bytes=size)
    description = protobuf.new("TensorDescription", allocation_description=allocation)
    return protobuf.new(
        "NodeExecStats",
        node_name="RecvTensor",
        timeline_label=f"[{size / 2**20:.1f}MB] [1.0Gb/s] edge_7_{tensor} from {source} to {target}",
        all_start_micros=BEGIN_NS // US + start_us,
        all_end_rel_micros=end_us - start_us,
        output=[protobuf.new("NodeOutput", tensor_description=description)],
    )


def run_metadata(worker: int = 0, shift_us: int = 0, server_us: int = 0, without: Iterable[str] = ()) -> Any:
    """A step of 1000 us: the weight is read and pulled, forward, backward, pushed, applied.

    `shift_us`: when it begins. `server_us`: by how much the server's clock is ahead. `without`: tensors whose RecvTensor is
    lost.
    """
    own = WORKER.format(worker)
    s, p = shift_us, shift_us + server_us
    weight, gradient = "MatMul/ReadVariableOp", "gradients/MatMul_grad/MatMul_1"
    devices = {
        own: [
            node("_SOURCE", "NoOp", "", s, s + 10),
            recv(weight, SERVER, own, s + 150, s + 300, WEIGHT_BYTES),
            node("MatMul", "MatMul", f"_recv_x_0, {weight}_S3", s + 310, s + 500, s + 305),
            node(gradient, "MatMul", "MatMul, _recv_x_0", s + 500, s + 600),
        ],
        SERVER: [
            node("_SOURCE", "NoOp", "", p + 100, p + 110),
            node("w", "VarHandleOp", "", p + 120, p + 125, p + 110),
            node(weight, "ReadVariableOp", "w", p + 125, p + 140),
            recv(gradient, own, SERVER, p + 620, p + 900, WEIGHT_BYTES),
            node("update/Apply", "ResourceApplyGradientDescent", f"w, rate, {gradient}_S9", p + 950, p + 1000, p + 920),
        ],
    }
    stats = [
        protobuf.new(
            "DeviceStepStats",
            device=device,
            node_stats=[one for one in nodes if not any(f"_{lost} from".encode() in one.timeline_label for lost in without)],
        )
        for device, nodes in devices.items()
    ]
    return protobuf.new("RunMetadata", step_stats=protobuf.new("StepStats", dev_stats=stats))


def timeline_of(metadata: Any) -> dict[str, Any]:
    """As TensorFlow's timeline.py makes it."""
    events: list[dict[str, Any]] = [{"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "Allocators"}}]
    for pid, device in enumerate(metadata.step_stats.dev_stats, start=1):
        events.append({"ph": "M", "name": "process_name", "pid": pid, "args": {"name": f"{device.device.decode()} Compute"}})
        for one in device.node_stats:
            if one.node_name == b"RecvTensor":
                kind, inputs = "RecvTensor", []
                start_us, length_us = one.all_start_micros, one.all_end_rel_micros
            else:
                kind, _, rest = one.timeline_label.decode().partition(" = ")[2].partition("(")
                inputs = [text for text in rest[:-1].split(", ") if text]
                start_us, length_us = one.all_start_nanos // US, one.all_end_rel_nanos // US
            arguments = {"name": one.node_name.decode(), "op": kind} | {f"input{at}": text for at, text in enumerate(inputs)}
            times = {"ts": start_us, "dur": length_us}
            events.append({"ph": "X", "cat": "Op", "name": kind, "pid": pid, "tid": 0, "args": arguments, **times})
    return {"traceEvents": events}


Event = tuple[str, int, int, Mapping[str, Any]]
"""Name, start and end in us from the profile's begin, stats."""


def xspace(lines: Mapping[str, Iterable[Event]], host: str = "machine", begin_ns: int | None = BEGIN_NS) -> Any:
    """An XPlane file with these threads. `begin_ns` None: it does not tell when the profile began."""
    names: dict[str, int] = {}
    stat_names: dict[str, int] = {}

    def stat(name: str, value: Any) -> Any:
        field = "int64_value" if isinstance(value, int) else "str_value"
        return protobuf.new("XStat", metadata_id=stat_names.setdefault(name, len(stat_names) + 1), **{field: value})

    made = []
    for name, events in lines.items():
        own = [
            protobuf.new(
                "XEvent",
                metadata_id=names.setdefault(text, len(names) + 1),
                offset_ps=start_us * 10**6,
                duration_ps=(end_us - start_us) * 10**6,
                stats=[stat(key, value) for key, value in stats.items()],
            )
            for text, start_us, end_us, stats in events
        ]
        made.append(protobuf.new("XLine", name=name, timestamp_ns=0, events=own))
    plane = protobuf.new("XPlane", name="/host:CPU", lines=made)
    for text, number in names.items():
        plane.event_metadata.add(key=number, value=protobuf.new("XEventMetadata", name=text))
    for text, number in stat_names.items():
        plane.stat_metadata.add(key=number, value=protobuf.new("XStatMetadata", name=text))
    task = protobuf.new("XPlane", name="Task Environment")
    if begin_ns is not None:
        task.stat_metadata.add(key=1, value=protobuf.new("XStatMetadata", name="profile_start_time"))
        task.stats.add(metadata_id=1, uint64_value=begin_ns)
    return protobuf.new("XSpace", planes=[plane, task], hostnames=[host])


def local_step(at_us: int, number: int, marked: bool = False, **more: Any) -> dict[str, list[Event]]:
    """The events of a step of one process, by thread: 100 us of which the operations take 50."""
    call: Event = ("train_step", at_us, at_us + 100, {})
    outer: list[Event] = [("train", at_us, at_us + 120, {"step_num": number})] if marked else []
    return {
        "python": [
            *outer,
            call,
            ("EagerExecute", at_us + 10, at_us + 90, {"eager_op": "__inference_train_step_1", "is_func": 1}),
            ("FunctionRun", at_us + 15, at_us + 20, {"id": number + 7}),
        ],
        "tf_Compute/1": [
            ("ExecutorState::Process", at_us + 28, at_us + 82, {"id": number + 7}),
            ("matmul:MatMul", at_us + 30, at_us + 60, {}),
            ("gradient_tape/matmul/MatMul:MatMul", at_us + 60, at_us + 80, {}),
        ],
    }
