"""The training loop and its hooks, recorded to a real trace file and read back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from breakdown.backends.api import RoleContext
from breakdown.backends.instrument import TIME_INTERVAL_NS
from breakdown.backends.loop import compute_threads, train
from breakdown.config.cell import Cell
from breakdown.errors import BreakdownError
from breakdown.model.identity import Node, Role
from breakdown.model.stages import Stage
from breakdown.record import tracefile
from breakdown.record.api import Recorder, ThreadRecorder
from breakdown.record.layout import Kind, bits_to_loss
from breakdown.record.null import NullRecorder
from breakdown.record.recorder import FileRecorder
from breakdown.store.requests import unfolded
from breakdown.workloads.api import Workload
from breakdown.workloads.data import Pool

LONG_NS = 5 * TIME_INTERVAL_NS


class Listener:
    """A synchronizer that notes what it is told, and the gradients as they were then; it updates nothing."""

    def __init__(self) -> None:
        self.heard: list[tuple[int, str]] = []
        self.gradients: dict[tuple[int, str], Tensor] = {}
        self.calls: list[str] = []

    def start(self, parameters: Sequence[tuple[str, nn.Parameter]], main: ThreadRecorder) -> None:
        self.parameters = parameters
        self.calls.append("start")

    def gradient_ready(self, index: int, step: int) -> None:
        name, parameter = self.parameters[index]
        assert parameter.grad is not None
        self.heard.append((step, name))
        self.gradients[step, name] = parameter.grad.clone()

    def finish_step(self, step: int) -> None:
        for name, parameter in self.parameters:
            assert torch.equal(parameter.grad, self.gradients[step, name]), f"{name} changed after it was called complete"
        self.calls.append(f"finish {step}")

    def close(self) -> None:
        self.calls.append("close")


@dataclass(frozen=True)
class Row:
    """A span as it was read back."""

    stage: str
    op: str
    key: str
    step: int
    size_bytes: int
    start_ns: int
    end_ns: int
    cpu_ns: int
    runnable_ns: int


@dataclass(frozen=True)
class Trace:
    spans: list[Row]
    steps: list[tuple[int, ...]]
    notes: dict[str, Any]

    def of(self, step: int) -> list[Row]:
        return [span for span in self.spans if span.step == step]


def read(path: Path) -> Trace:
    trace = unfolded(tracefile.read(str(path)))
    assert not trace.warnings
    assert set(trace.threads.values()) == {"main"}
    spans = []
    for _, (stage, op, key, step, size, start, end, _request, _cause, cpu, runnable) in trace.rows(Kind.SPAN):
        spans.append(Row(Stage(stage).label, trace.names[op], trace.names[key], step, size, start, end, cpu, runnable))
    return Trace(spans, [row for _, row in trace.rows(Kind.STEP)], dict(trace.notes))


def workload_of(model: nn.Module, batch_size: int = 2) -> Workload:
    inputs = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    return Workload("test", model, batch_size, Pool(inputs, torch.zeros(8, 3)), F.mse_loss, 0, 0)


def run(workload: Workload, synchronizer: Listener, recorder: Recorder, **cell: Any) -> None:
    settings = {"steps": 2, "warmup_steps": 1} | cell
    train(RoleContext(Cell(**settings), 0, Node(Role.WORKER, 0), "", "", recorder), workload, synchronizer)


def traced(path: Path, workload: Workload, synchronizer: Listener, **cell: Any) -> Trace:
    recorder = FileRecorder(str(path), 0, Node(Role.WORKER, 0))
    try:
        run(workload, synchronizer, recorder, **cell)
    finally:
        recorder.close()
    return read(path)


@pytest.fixture(autouse=True)
def _process_settings() -> Iterator[None]:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.random.set_rng_state(state)


class Awkward(nn.Module):
    """All that a hook can stumble over: a module and a weight used twice, unused, frozen and container-owned parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))  # of a module that has children
        self.twice = nn.Linear(3, 3)
        self.tied = nn.Linear(3, 3, bias=False)
        self.tied.weight = self.twice.weight
        self.frozen = nn.Linear(3, 3).requires_grad_(False)
        self.unused = nn.Linear(3, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.tied(self.frozen(self.twice(torch.relu(self.twice(inputs))))) * self.scale
        return outputs


TRAINED = {"scale", "twice.weight", "twice.bias", "unused.weight", "unused.bias"}


@pytest.mark.parametrize("recording", [True, False])
def test_each_trainable_parameter_is_heard_of_exactly_once_a_step(tmp_path: Path, recording: bool) -> None:
    listener, workload = Listener(), workload_of(Awkward())
    if recording:
        traced(tmp_path / "t", workload, listener)
    else:
        run(workload, listener, NullRecorder())
    for step in range(3):
        names = [name for at, name in listener.heard if at == step]
        assert sorted(names) == sorted(TRAINED)
        assert names[-2:] == ["unused.weight", "unused.bias"]
        assert not listener.gradients[step, "unused.weight"].any()
    assert listener.calls == ["start", "finish 0", "finish 1", "finish 2", "close"]


def test_gradients_are_complete_when_they_are_ready() -> None:
    listener, workload = Listener(), workload_of(Awkward())
    run(workload, listener, NullRecorder())
    for step in range(3):
        inputs, targets = workload.batch(step, 0, 1)
        workload.model.zero_grad()
        workload.loss(workload.model(inputs), targets).backward()
        for name in ("scale", "twice.weight", "twice.bias"):
            assert torch.equal(listener.gradients[step, name], workload.model.get_parameter(name).grad)


def test_a_gradient_that_grows_after_it_was_handed_on_is_an_error() -> None:
    class Reentrant(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shared = nn.Linear(3, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            inputs = inputs.clone().requires_grad_()
            once: Tensor = checkpoint(self.shared, inputs, use_reentrant=True)
            twice: Tensor = checkpoint(self.shared, once, use_reentrant=True)
            return twice

    listener = Listener()
    with pytest.raises(BreakdownError, match=r"'shared\.\w+' was added to a second time in step 0.*Call backward once"):
        run(workload_of(Reentrant()), listener, NullRecorder())
    assert listener.calls == ["start", "close"]


def test_spans_tile_the_step_in_the_order_of_the_grammar(tmp_path: Path) -> None:
    trace = traced(tmp_path / "t", workload_of(Awkward()), Listener())
    for step in range(3):
        spans = trace.of(step)
        names = [(span.stage, span.op, span.key) for span in spans]
        assert names[:8] == [
            ("input", "load", ""),
            ("compute", "forward", "twice.weight"),
            ("compute", "forward", "twice.weight"),
            ("compute", "forward", "frozen.weight"),
            ("compute", "forward", "twice.weight"),  # the tied module, by its parameter's first name
            ("compute", "forward", "scale"),
            ("compute", "forward", ""),
            ("compute", "backward", "scale"),
        ]
        assert sorted(names[8:10]) == [("compute", "backward", "twice.bias"), ("compute", "backward", "twice.weight")]
        assert names[10:] == [("compute", "backward", "")]
        assert all(one.end_ns == next_.start_ns for one, next_ in pairwise(spans))
        assert all(0 <= span.cpu_ns <= span.end_ns - span.start_ns for span in spans)
        assert spans[0].size_bytes == 2 * (2 * 3 * 4)
        number, start, end, samples, warm_up, has_loss, _ = trace.steps[step]
        assert (number, samples, warm_up, has_loss) == (step, 2, step < 1, 1)
        assert start == spans[0].start_ns
        assert spans[-1].end_ns <= end


def test_a_long_span_tells_what_became_of_its_own_time(tmp_path: Path) -> None:
    class Layer(nn.Module):
        def __init__(self, work: Callable[[], None]) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))
            self.work = work

        def forward(self, inputs: Tensor) -> Tensor:
            self.work()
            return inputs * self.scale

    def spin() -> None:
        until = time.thread_time_ns() + LONG_NS
        while time.thread_time_ns() < until:
            pass

    layers = nn.Sequential(Layer(lambda: time.sleep(LONG_NS / 1e9)), Layer(spin))
    trace = traced(tmp_path / "t", workload_of(layers), Listener())
    for step in range(3):
        asleep, busy = trace.of(step)[1:3]
        assert (asleep.key, busy.key) == ("0.scale", "1.scale")
        assert asleep.cpu_ns < LONG_NS / 2 < LONG_NS * 0.99 < busy.cpu_ns
        slept_ns = asleep.end_ns - asleep.start_ns - asleep.cpu_ns - asleep.runnable_ns
        assert slept_ns > LONG_NS * 0.95  # the batch before it has its share, too


def test_the_loss_of_each_step_is_recorded(tmp_path: Path) -> None:
    workload = workload_of(Awkward())
    trace = traced(tmp_path / "t", workload, Listener())
    for row in trace.steps:
        inputs, targets = workload.batch(row[0], 0, 1)
        assert bits_to_loss(row[-1]) == workload.loss(workload.model(inputs), targets).item()


def test_the_workload_is_noted(tmp_path: Path) -> None:
    note = traced(tmp_path / "t", workload_of(Awkward()), Listener()).notes["workload"]
    assert set(note["parameters"]) == TRAINED
    assert note["parameter_bytes"] == 4 * (3 + 12 + 12)


def test_the_model_is_left_as_it_was(tmp_path: Path) -> None:
    workload = workload_of(Awkward())
    listener = Listener()
    traced(tmp_path / "t", workload, listener)
    heard = len(listener.heard)
    workload.model(workload.batch(0, 0, 1)[0]).sum().backward()
    assert len(listener.heard) == heard
    assert not any("forward" in vars(module) for module in workload.model.modules())


def test_a_forward_of_the_module_s_own_is_kept(tmp_path: Path) -> None:
    model = nn.Linear(3, 3)
    own = lambda inputs: F.linear(inputs, model.weight, model.bias)  # noqa: E731
    model.forward = own
    trace = traced(tmp_path / "t", workload_of(model), Listener())
    assert [span.key for span in trace.of(0)][1] == "weight"
    assert model.forward is own


def test_without_recording_no_forward_is_wrapped() -> None:
    model = Awkward()
    seen: list[bool] = []

    def finish(step: int) -> None:
        seen.extend("forward" in vars(module) for module in model.modules())

    listener = Listener()
    listener.finish_step = finish  # type: ignore[method-assign]
    run(workload_of(model), listener, NullRecorder())
    assert seen
    assert not any(seen)


def test_threads_are_those_of_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 3, 5})
    assert [compute_threads(cores) for cores in (0, 1, 3, 4)] == [3, 1, 3, 3]
    run(workload_of(Awkward()), Listener(), NullRecorder(), cores_per_worker=2)
    assert torch.get_num_threads() == 2


def test_an_error_in_a_step_closes_the_synchronizer_and_keeps_the_records(tmp_path: Path) -> None:
    def fail_at_2(step: int) -> None:
        if step == 2:
            raise RuntimeError("server is gone")

    listener = Listener()
    listener.finish_step = fail_at_2  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="server is gone"):
        traced(tmp_path / "t", workload_of(Awkward()), listener)
    assert listener.calls == ["start", "close"]
    trace = read(tmp_path / "t")
    assert [row[0] for row in trace.steps] == [0, 1]
    assert trace.of(2)[-1].op == "backward"
