"""The training loop, the same for every torch backend: what differs is how gradients become new parameters."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import nn

from breakdown.backends.api import RoleContext
from breakdown.backends.instrument import StepInstrument, trainable
from breakdown.clock.clocks import now_ns
from breakdown.record.api import ThreadRecorder
from breakdown.workloads.api import Workload


class Synchronizer(Protocol):
    """Turns gradients into the parameters of the next step. All calls come from the main thread, in this order."""

    def start(self, parameters: Sequence[tuple[str, nn.Parameter]], main: ThreadRecorder) -> None:
        """Before the first step. Afterwards all workers hold the same parameters."""

    def gradient_ready(self, index: int, step: int) -> None:
        """The gradient of parameter `index` is final and in `.grad`, which stays untouched until `finish_step` returns.

        Once a step for each parameter, mostly inside backward. Its time counts as backward, so it records no span on `main`.
        """

    def finish_step(self, step: int) -> None:
        """After backward. When it returns, the parameters are those of the next step. Records its own spans on `main`."""

    def close(self) -> None:
        """After the last step, or after an error."""


def compute_threads(cores_per_worker: int) -> int:
    """How many threads compute: as many as the cell gives cores, but not more than this process may use; 0: all of those."""
    available = len(os.sched_getaffinity(0))
    return min(cores_per_worker or available, available)


def train(context: RoleContext, workload: Workload, synchronizer: Synchronizer) -> None:
    """Runs all steps of the cell as worker `context.node.rank`, and records them. Sets torch's threads and random seed.

    A step lasts from taking a batch to holding the parameters for the next. What is recorded about the step as a whole is
    written between two steps, and is in neither.
    """
    cell, rank, recorder = context.cell, context.node.rank, context.recorder
    torch.set_num_threads(compute_threads(cell.cores_per_worker))
    torch.manual_seed(cell.seed + rank)  # for a model that draws random numbers: its own on every worker
    main = recorder.thread("main")
    parameters = trainable(workload.model)
    recorder.note("workload", describe(workload, parameters))
    instrument = StepInstrument(workload.model, parameters, recorder, main, synchronizer.gradient_ready)
    try:
        gc.collect()
        gc.freeze()  # so that a collection during a step need not walk through all of torch
        synchronizer.start(parameters, main)
        for step in range(cell.total_steps):
            start = now_ns()
            instrument.begin(step, start)
            inputs, targets = workload.batch(step, rank, cell.workers)
            instrument.loaded(inputs.nbytes + targets.nbytes)
            for _, parameter in parameters:
                parameter.grad = None
            loss = workload.loss(workload.model(inputs), targets)
            instrument.start_backward()
            loss.backward()  # type: ignore[no-untyped-call]
            instrument.finish_backward()
            synchronizer.finish_step(step)
            end = now_ns()
            recorder.step(step, start, end, workload.batch_size, step < cell.warmup_steps, loss.item())
    finally:
        gc.unfreeze()
        instrument.close()
        synchronizer.close()


def describe(workload: Workload, parameters: Sequence[tuple[str, nn.Parameter]]) -> dict[str, object]:
    """What is known of the workload, for the run's notes."""
    return {
        "name": workload.name,
        "batch_size": workload.batch_size,
        "parameters": {name: list(parameter.shape) for name, parameter in parameters},
        "parameter_bytes": workload.parameter_bytes,
        "flops_per_sample": workload.flops_per_sample,
    }
