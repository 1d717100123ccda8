"""The parameter server as a backend: which processes, and the synchronizer that turns gradients into new parameters."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from breakdown.backends.api import Backend, RoleContext
from breakdown.backends.loop import train
from breakdown.clock.clocks import now_ns, thread_cpu_ns
from breakdown.config.cell import Cell
from breakdown.errors import ConfigError
from breakdown.model.identity import Node, Role
from breakdown.model.stages import Op, Stage
from breakdown.ps.consistency import INITIAL_STEP
from breakdown.ps.failure import Failure
from breakdown.ps.link import CONNECT_TIMEOUT_S, SchedulerLink
from breakdown.ps.optim import Optimizer, optimizer
from breakdown.ps.plan import ParameterSpec, Plan, Shard, make_plan
from breakdown.ps.scheduler import run_scheduler
from breakdown.ps.server import run_server
from breakdown.ps.worker import Client
from breakdown.record.api import ThreadRecorder
from breakdown.wire.registry import transport
from breakdown.workloads import registry as workloads


class PsSynchronizer:
    """Pushes gradients and pulls parameters (or, with `update_on: worker`, summed gradients that it applies itself)."""

    def __init__(self, context: RoleContext) -> None:
        """Connects to the scheduler."""
        self._context = context
        self._cell = context.cell
        self._failure = Failure()
        self._link = SchedulerLink(context.node, context.rendezvous, context.token, context.recorder, self._failure)
        self._client: Client | None = None
        self._update = context.recorder.intern(Op.UPDATE)
        self._finished = False

    def start(self, parameters: Sequence[tuple[str, nn.Parameter]], main: ThreadRecorder) -> None:
        """Joins the run, and takes worker 0's initial parameters."""
        cell, context = self._cell, self._context
        self._main = main
        self._parameters = [parameter for _, parameter in parameters]
        self._names = [context.recorder.intern(name) for name, _ in parameters]
        self._flat = [_flat(name, parameter) for name, parameter in parameters]
        specs = [ParameterSpec(name, parameter.numel(), parameter.element_size()) for name, parameter in parameters]
        plan = make_plan(specs, cell.servers, cell.sharding, cell.split_bound_bytes, cell.bucket_bytes)
        start = self._link.join(plan=plan.to_json())
        self._shards = plan.shards
        self._backward = sorted(plan.shards, key=lambda shard: shard.parts[0][:2], reverse=True)
        self._places = [_pieces(shard, self._flat) for shard in plan.shards]
        self._shards_of = _shards_of_parameters(plan, len(parameters))
        self._missing = [_parameters_of(shard) for shard in plan.shards]
        self._optimizers: list[Optimizer] = [optimizer(cell.optimizer, cell.learning_rate) for _ in parameters]
        connections = [transport(address).connect(address, context.token, CONNECT_TIMEOUT_S) for address in start["servers"]]
        self._client = client = Client(cell, context.node, plan, connections, context.recorder, self._failure)
        for shard in plan.shards:
            if context.node.rank == 0:
                client.push(shard.key, INITIAL_STEP, self._places[shard.key])
            client.pull(shard.key, INITIAL_STEP, self._places[shard.key])
        for shard in plan.shards:
            client.wait(shard.key, main)
        self._link.barrier("start")

    def gradient_ready(self, index: int, step: int) -> None:
        """Pushes each wire key whose last gradient this is."""
        if self._cell.push_when == "end":
            return
        for key in self._shards_of[index]:
            self._missing[key].discard(index)
            if not self._missing[key]:
                self._push_pull(self._shards[key], step)

    def finish_step(self, step: int) -> None:
        """Pushes what is left, and waits for all answers."""
        client = self._need_client()
        if self._cell.push_when == "end":
            for shard in self._backward:
                self._push_pull(shard, step)
        if self._cell.update_on == "worker":
            self._wait_and_update(client, step)
        else:
            for shard in self._last_first():
                client.wait(shard.key, self._main)
        self._finished = step == self._cell.total_steps - 1

    def close(self) -> None:
        """After the last step: waits for all workers, and says goodbye. After an error: ends the threads."""
        if self._finished:
            self._link.barrier("end")
        if self._client is not None:
            self._client.close(orderly=self._finished)
        if self._finished:
            self._link.leave()

    def abort(self, error: BaseException) -> None:
        """Tells the scheduler that this worker failed."""
        self._link.report(error)

    def _push_pull(self, shard: Shard, step: int) -> None:
        gradients = _pieces(shard, {part.parameter: self._gradient(part.parameter) for part in shard.parts})
        places = gradients if self._cell.update_on == "worker" else self._places[shard.key]
        self._need_client().push_pull(shard.key, step, gradients, places)
        self._missing[shard.key] = _parameters_of(shard)

    def _gradient(self, index: int) -> Tensor:
        """The gradient as flat memory, into which an answer may come."""
        parameter = self._parameters[index]
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        elif not parameter.grad.is_contiguous():
            parameter.grad = parameter.grad.contiguous()
        return parameter.grad.view(-1)

    def _last_first(self) -> Sequence[Shard]:
        """The order to wait in. The answer that is expected last comes first: the others are then mostly there, without another
        sleep of the main thread for each of them."""
        return self._shards[::-1] if self._cell.priority == "layer" else self._backward[::-1]

    def _wait_and_update(self, client: Client, step: int) -> None:
        """Updates each parameter as soon as its gradients are there, while others are still on their way."""
        waiting = [len(keys) for keys in self._shards_of]
        order = self._shards if self._cell.priority == "layer" else self._backward
        for shard in order:
            client.wait(shard.key, self._main)
            for index in sorted(_parameters_of(shard)):
                waiting[index] -= 1
                if not waiting[index]:
                    self._apply(index, step)

    def _apply(self, index: int, step: int) -> None:
        start_ns, start_cpu_ns = now_ns(), thread_cpu_ns()
        flat = self._flat[index]
        self._optimizers[index].step(flat, self._gradient(index), 1.0 / self._cell.workers)
        cpu_ns = thread_cpu_ns() - start_cpu_ns
        self._main.span(
            Stage.COMPUTE, self._update, self._names[index], step, flat.nbytes, start_ns, now_ns(), cpu_ns=cpu_ns
        )  # fmt: skip

    def _need_client(self) -> Client:
        if self._client is None:
            raise RuntimeError("start was not called")
        return self._client


def _flat(name: str, parameter: nn.Parameter) -> Tensor:
    """The parameter's own memory as a flat tensor without history."""
    if parameter.dtype != torch.float32 or not parameter.is_contiguous():
        kind = f"{parameter.dtype}, {'' if parameter.is_contiguous() else 'not '}contiguous"
        raise ConfigError(
            f"parameter {name} is {kind}; torch_ps sends contiguous float32 parameters. Convert the model first."
        )
    return parameter.detach().view(-1)


def _pieces(shard: Shard, flat: Sequence[Tensor] | dict[int, Tensor]) -> list[Tensor]:
    return [flat[part.parameter][part.start : part.stop] for part in shard.parts]


def _parameters_of(shard: Shard) -> set[int]:
    return {part.parameter for part in shard.parts}


def _shards_of_parameters(plan: Plan, count: int) -> list[list[int]]:
    """For each parameter the keys that it has a part in."""
    keys: list[list[int]] = [[] for _ in range(count)]
    for shard in plan.shards:
        for index in _parameters_of(shard):
            keys[index].append(shard.key)
    return keys


class TorchPsBackend(Backend):
    """A scheduler, S servers and W workers."""

    def nodes(self, cell: Cell) -> tuple[Node, ...]:
        servers = (Node(Role.SERVER, rank) for rank in range(cell.servers))
        workers = (Node(Role.WORKER, rank) for rank in range(cell.workers))
        return (Node(Role.SCHEDULER, 0), *servers, *workers)

    def run_role(self, context: RoleContext) -> None:
        """Raises `ConfigError` for a cell that cannot be trained, `WireError` or `RunError` naming the role that failed."""
        cell, node = context.cell, context.node
        if cell.update_on == "worker" and cell.consistency != "bsp":
            raise ConfigError(
                f"update_on: worker needs consistency: bsp, not {cell.consistency}: only there every worker gets the same gradients"
            )
        if node.role == Role.SCHEDULER:
            run_scheduler(cell, node, context.rendezvous, context.token, context.recorder)
        elif node.role == Role.SERVER:
            torch.set_num_threads(1)  # handlers run side by side, and a sum is bound by memory
            gc.freeze()  # so that a collection between two requests need not walk through all of torch
            try:
                run_server(cell, node, context.rendezvous, context.token, context.recorder)
            finally:
                gc.unfreeze()
        else:
            _run_worker(context)


def _run_worker(context: RoleContext) -> None:
    cell = context.cell
    workload = workloads.build(cell.workload, cell.workload_options, cell.batch_size, cell.seed)
    synchronizer = PsSynchronizer(context)
    try:
        train(context, workload, synchronizer)
    except BaseException as error:
        synchronizer.abort(error)
        raise
