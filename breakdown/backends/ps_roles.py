"""What a server and a worker of the parameter server do, from joining the run to leaving it."""

from __future__ import annotations

import gc
from collections.abc import Sequence

import torch
from torch import nn

from breakdown.backends.api import RoleContext
from breakdown.backends.loop import train
from breakdown.ps.exchange import Exchange, plan_of
from breakdown.ps.failure import Failure
from breakdown.ps.link import CONNECT_TIMEOUT_S, SchedulerLink
from breakdown.ps.server import run_server
from breakdown.ps.worker import Client
from breakdown.record.api import ThreadRecorder
from breakdown.wire.registry import transport
from breakdown.workloads import registry as workloads


class PsSynchronizer:
    """A worker's side of the run: joins it, exchanges gradients for parameters in each step, and leaves it."""

    def __init__(self, context: RoleContext) -> None:
        """Connects to the scheduler. Raises `WireError` when there is none in time."""
        self._context = context
        self._failure = Failure()
        self._link = SchedulerLink(context.node, context.rendezvous, context.token, context.recorder, self._failure)
        self._client: Client | None = None
        self._exchange: Exchange | None = None
        self._finished = False

    def start(self, parameters: Sequence[tuple[str, nn.Parameter]], main: ThreadRecorder) -> None:
        """Joins the run, and takes worker 0's initial parameters. All workers leave it together."""
        context, cell = self._context, self._context.cell
        plan = plan_of(cell, parameters)
        servers = self._link.join(plan=plan.to_json())["servers"]
        connections = [transport(address).connect(address, context.token, CONNECT_TIMEOUT_S) for address in servers]
        self._client = Client(cell, context.node, plan, connections, context.recorder, self._failure)
        self._exchange = Exchange(cell, parameters, plan, self._client, context.recorder, main)
        self._exchange.initialise(first=context.node.rank == 0)
        self._link.barrier("start")

    def gradient_ready(self, index: int, step: int) -> None:
        """Pushes each wire key whose last gradient this is."""
        self._started().gradient_ready(index, step)

    def finish_step(self, step: int) -> None:
        """Pushes what is left, and waits for the new parameters. Raises the run's failure."""
        self._started().finish_step(step)
        self._finished = step == self._context.cell.total_steps - 1

    def close(self) -> None:
        """After the last step: waits for all workers, and says goodbye. After an error: ends the threads."""
        if self._finished:
            self._link.barrier("end")
        if self._client is not None:
            self._client.close(orderly=self._finished)
        if self._finished:
            self._link.leave()

    def abort(self, error: BaseException) -> None:
        """Tells the scheduler that this worker failed, so that all others end."""
        self._link.report(error)

    def _started(self) -> Exchange:
        if self._exchange is None:
            raise RuntimeError("start was not called")
        return self._exchange


def serve(context: RoleContext) -> None:
    torch.set_num_threads(1)  # handlers run side by side, and a sum is bound by memory
    gc.collect()
    gc.freeze()  # so that a collection between two requests need not walk through all of torch
    try:
        run_server(context.cell, context.node, context.rendezvous, context.token, context.recorder)
    finally:
        gc.unfreeze()


def work(context: RoleContext) -> None:
    cell = context.cell
    workload = workloads.build(cell.workload, cell.workload_options, cell.batch_size, cell.seed)
    synchronizer = PsSynchronizer(context)
    try:
        train(context, workload, synchronizer)
    except BaseException as error:
        synchronizer.abort(error)
        raise
