"""A worker's exchange: gradients out when they are ready, parameters (or summed gradients) in, for one model.

The pieces that travel are views of the model's own memory: a push is sent from `.grad`, an answer is received into the
parameter, or with `update_on: worker` into the same `.grad` (its push has left when the answer comes).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from breakdown.clock.clocks import now_ns
from breakdown.config.cell import Cell
from breakdown.errors import ConfigError
from breakdown.model.stages import Op, Stage
from breakdown.ps.consistency import INITIAL_STEP
from breakdown.ps.optim import optimizer
from breakdown.ps.plan import ParameterSpec, Plan, Shard, make_plan
from breakdown.ps.timed import is_timed, time_at_start, time_used
from breakdown.ps.worker import Client
from breakdown.record.api import Recorder, ThreadRecorder

Parameters = Sequence[tuple[str, nn.Parameter]]


def plan_of(cell: Cell, parameters: Parameters) -> Plan:
    """The wire keys of these parameters. Raises `ConfigError` for one that cannot travel."""
    for name, parameter in parameters:
        if parameter.dtype != torch.float32 or not parameter.is_contiguous():
            layout = "contiguous" if parameter.is_contiguous() else "not contiguous"
            raise ConfigError(
                f"parameter '{name}' is {parameter.dtype} and {layout}. torch_ps sends contiguous torch.float32 parameters: "
                "convert the model first."
            )
    specs = [ParameterSpec(name, parameter.numel(), parameter.element_size()) for name, parameter in parameters]
    return make_plan(specs, cell.servers, cell.sharding, cell.split_bound_bytes, cell.bucket_bytes)


class Exchange:
    """All calls come from the main thread, step by step: `gradient_ready` for each parameter, then `finish_step`."""

    def __init__(
        self, cell: Cell, parameters: Parameters, plan: Plan, client: Client, recorder: Recorder, main: ThreadRecorder
    ) -> None:
        self._cell = cell
        self._client = client
        self._main = main
        self._update, self._submit = recorder.intern(Op.UPDATE), recorder.intern(Op.SUBMIT)
        self._names = [recorder.intern(name) for name, _ in parameters]
        self._parameters = [parameter for _, parameter in parameters]
        self._flat = [parameter.detach().view(-1) for parameter in self._parameters]
        self._timed = [is_timed(recorder, flat.nbytes) for flat in self._flat]
        self._optimizers = [optimizer(cell.optimizer, cell.learning_rate) for _ in parameters]
        self._shards = plan.shards
        self._places = [_pieces(shard, self._flat) for shard in plan.shards]
        self._owners = [_parameters_of(shard) for shard in plan.shards]
        self._keys_of: list[list[int]] = [[] for _ in parameters]
        for shard in plan.shards:
            for index in self._owners[shard.key]:
                self._keys_of[index].append(shard.key)
        self._missing = [set(owners) for owners in self._owners]  # parameters whose gradient a key still lacks in this step
        backward = sorted(plan.shards, key=lambda shard: shard.parts[0][:2], reverse=True)
        self._sending_order: Sequence[Shard] = backward
        self._arrival_order: Sequence[Shard] = plan.shards if cell.priority == "layer" else backward

    def initialise(self, first: bool) -> None:
        """Takes the initial parameters from the servers; the `first` worker sets them before."""
        for shard in self._shards:
            if first:
                self._client.push(shard.key, INITIAL_STEP, self._places[shard.key])
            self._client.pull(shard.key, INITIAL_STEP, self._places[shard.key])
        for shard in self._shards:
            self._client.wait(shard.key, self._main)

    def gradient_ready(self, index: int, step: int) -> None:
        """Pushes each wire key whose last gradient this is."""
        if self._cell.push_when == "end":
            return
        for key in self._keys_of[index]:
            self._missing[key].discard(index)
            if not self._missing[key]:
                self._push_pull(self._shards[key], step)
                self._missing[key].update(self._owners[key])

    def finish_step(self, step: int) -> None:
        """Pushes what is left, and waits for all answers."""
        if self._cell.push_when == "end":
            start_ns = now_ns()
            for shard in self._sending_order:
                self._push_pull(shard, step)
            self._main.span(Stage.SERIALIZE, self._submit, 0, step, 0, start_ns, now_ns())
        if self._cell.update_on == "worker":
            self._wait_and_update(step)
            return
        # The answer that is expected last comes first: then the others are mostly there, and the main thread sleeps once
        # instead of once a key.
        for shard in reversed(self._arrival_order):
            self._client.wait(shard.key, self._main)

    def _push_pull(self, shard: Shard, step: int) -> None:
        gradients = _pieces(shard, {index: self._gradient(index) for index in self._owners[shard.key]})
        places = gradients if self._cell.update_on == "worker" else self._places[shard.key]
        self._client.push_pull(shard.key, step, gradients, places)

    def _gradient(self, index: int) -> Tensor:
        """The gradient as flat memory, into which an answer may come."""
        parameter = self._parameters[index]
        if parameter.grad is None:
            raise RuntimeError("a gradient was called ready, but there is none")
        if not parameter.grad.is_contiguous():
            parameter.grad = parameter.grad.contiguous()
        return parameter.grad.view(-1)

    def _wait_and_update(self, step: int) -> None:
        """Updates each parameter as soon as all its gradients are there, while others are still on their way."""
        waiting = [len(keys) for keys in self._keys_of]
        for shard in self._arrival_order:
            self._client.wait(shard.key, self._main)
            for index in sorted(self._owners[shard.key]):
                waiting[index] -= 1
                if not waiting[index]:
                    self._apply(index, step)

    def _apply(self, index: int, step: int) -> None:
        start_ns, start_time = now_ns(), time_at_start(self._timed[index])
        flat = self._flat[index]
        self._optimizers[index].step(flat, self._gradient(index), 1.0 / self._cell.workers)
        cpu_ns, runnable_ns = time_used(start_time)
        self._main.span(
            Stage.COMPUTE, self._update, self._names[index], step, flat.nbytes, start_ns, now_ns(), cpu_ns=cpu_ns,
            runnable_ns=runnable_ns,
        )  # fmt: skip


def _pieces(shard: Shard, flat: Sequence[Tensor] | Mapping[int, Tensor]) -> list[Tensor]:
    return [flat[part.parameter][part.start : part.stop] for part in shard.parts]


def _parameters_of(shard: Shard) -> set[int]:
    return {part.parameter for part in shard.parts}
