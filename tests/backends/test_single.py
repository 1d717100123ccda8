"""The single node: it trains as torch alone does, and accounts for its steps."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from breakdown.backends.api import RoleContext
from breakdown.backends.local_update import OPTIMIZERS, LocalUpdate
from breakdown.backends.loop import train
from breakdown.backends.registry import BACKENDS, backend
from breakdown.config import cell as config
from breakdown.config.cell import Cell
from breakdown.errors import ConfigError
from breakdown.model.identity import Node, Role
from breakdown.record import tracefile
from breakdown.record.layout import Kind, bits_to_loss
from breakdown.record.null import NullRecorder
from breakdown.record.recorder import FileRecorder
from breakdown.store.requests import unfolded
from breakdown.workloads.registry import build

SMALL = {"features": 6, "hidden": 5, "layers": 2, "classes": 3}
WORKER = Node(Role.WORKER, 0)


@pytest.fixture(autouse=True)
def _process_settings() -> Iterator[None]:
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    yield
    torch.set_num_threads(threads)
    torch.random.set_rng_state(state)


def recorded(path: Path, cell: Cell) -> tracefile.TraceFile:
    recorder = FileRecorder(str(path), 0, WORKER)
    backend("single").run_role(RoleContext(cell, 0, WORKER, "", "", recorder))
    recorder.close()
    return unfolded(tracefile.read(str(path)))


def test_names_are_those_of_the_configuration() -> None:
    assert set(BACKENDS) == set(config.BACKENDS)
    assert set(OPTIMIZERS) == set(config.OPTIMIZERS)


def test_an_unknown_backend_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"unknown backend 'singel'.*Did you mean 'single'\?"):
        backend("singel")


def test_an_unknown_optimizer_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"unknown optimizer 'sdg'.*Did you mean 'sgd'\?"):
        LocalUpdate("sdg", 0.1, NullRecorder())


def test_it_is_one_worker() -> None:
    assert backend("single").nodes(Cell(backend="single")) == (WORKER,)


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("sgd", lambda parameters: torch.optim.SGD(parameters, lr=0.1)),
        ("momentum", lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9)),
        ("adam", lambda parameters: torch.optim.Adam(parameters, lr=0.1)),
    ],
)
def test_it_trains_as_torch_alone_does(name: str, plain: Any) -> None:
    cell = Cell(backend="single", optimizer=name, learning_rate=0.1, steps=20, warmup_steps=0)
    workload = build("mlp", SMALL, 8, 0)
    model = copy.deepcopy(workload.model)
    train(RoleContext(cell, 0, WORKER, "", "", NullRecorder()), workload, LocalUpdate(name, 0.1, NullRecorder()))

    optimizer = plain(model.parameters())
    for step in range(20):
        inputs, targets = workload.batch(step, 0, 1)
        optimizer.zero_grad()
        workload.loss(model(inputs), targets).backward()
        optimizer.step()
    for ours, theirs in zip(workload.model.parameters(), model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("name", "options"), [("mlp", SMALL), ("cnn", {"image_size": 16, "width": 4, "classes": 3})])
def test_the_loss_falls(tmp_path: Path, name: str, options: dict[str, int]) -> None:
    cell = Cell(
        workload=name, workload_options=options, backend="single", optimizer="momentum", learning_rate=0.02, batch_size=32
    )
    losses = [bits_to_loss(row[-1]) for _, row in recorded(tmp_path / "t", cell).rows(Kind.STEP)]
    assert statistics.mean(losses[-5:]) < statistics.mean(losses[:5]) / 2


def test_a_step_is_accounted_for(tmp_path: Path) -> None:
    cell = Cell(backend="single", workload_options={"hidden": 512}, batch_size=64, steps=60)
    trace = recorded(tmp_path / "t", cell)
    busy: dict[int, int] = {}
    last = 0
    spans = [row for _, row in trace.rows(Kind.SPAN)]
    for _, _, _, step, _, start, end, *_ in sorted(spans, key=lambda row: row[6]):
        assert start >= last, "spans of one thread overlap"
        last = end
        busy[step] = busy.get(step, 0) + end - start
    updates = [row for row in spans if trace.names[row[1]] == "update"]
    assert len(updates) == cell.total_steps
    shares = [1 - busy[row[0]] / (row[2] - row[1]) for _, row in trace.rows(Kind.STEP)]
    assert len(shares) == cell.total_steps
    # The median, since a busy machine may take the core away just between two spans.
    assert 0 <= statistics.median(shares) < 0.02
