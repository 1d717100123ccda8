"""Samples and first parameters: what they depend on, and what not."""

from __future__ import annotations

import pytest
import torch
from small_workloads import SMALL

from breakdown.workloads.api import Workload
from breakdown.workloads.registry import build


def small(name: str, batch_size: int = 4, seed: int = 0) -> Workload:
    return build(name, SMALL[name], batch_size, seed)


def same(one: Workload, other: Workload) -> bool:
    """Parameters and samples are equal, bit by bit."""
    parameters = zip(one.model.parameters(), other.model.parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in [*parameters, *zip(one.batch(3, 0, 1), other.batch(3, 0, 1), strict=True)])


@pytest.mark.parametrize("name", SMALL)
def test_the_batches_of_all_workers_are_the_batch_of_one_node(name: str) -> None:
    one, joined = small(name), small(name, 12)
    last = len(one.pool) // 12  # this step's batch reaches over the end of the pool, to its beginning
    for step in (0, 1, last):
        parts = [one.batch(step, worker, 3) for worker in range(3)]
        inputs, targets = joined.batch(step, 0, 1)
        assert torch.equal(torch.cat([part[0] for part in parts]), inputs)
        assert torch.equal(torch.cat([part[1] for part in parts]), targets)
    assert not torch.equal(joined.batch(0, 0, 1)[0], joined.batch(1, 0, 1)[0])


@pytest.mark.parametrize("name", sorted(SMALL.keys() - {"vgg16"}))
def test_the_seed_alone_decides(name: str) -> None:
    torch.manual_seed(1)
    first = small(name)
    after = torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(torch.rand(3), after), "building a workload used the process's random numbers"
    assert same(first, small(name))
    other = small(name, seed=1)
    assert not torch.equal(first.batch(0, 0, 1)[0], other.batch(0, 0, 1)[0])


@pytest.mark.parametrize("name", sorted(SMALL.keys() - {"vgg16"}))
def test_the_number_of_threads_changes_no_sample(name: str) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = small(name)
        torch.set_num_threads(2)
        two = small(name)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert same(one, two)


def test_seeds_give_other_parameters() -> None:
    one, other = small("mlp", seed=0), small("mlp", seed=1)
    assert not torch.equal(one.model.fc1.weight, other.model.fc1.weight)


def test_a_batch_is_a_copy() -> None:
    workload = small("mlp")
    before = workload.pool.inputs.clone()
    workload.batch(0, 0, 1)[0].zero_()
    assert torch.equal(workload.pool.inputs, before)


def test_samples_of_a_classifier_have_variance_one_and_a_centre_each_class() -> None:
    workload = build("mlp", {"features": 50, "classes": 2}, 4, 0)
    inputs, labels = workload.pool.inputs, workload.pool.targets
    centres = [inputs[labels == label].mean(0) for label in (0, 1)]
    # Two centres of 50 coordinates with variance 1/2 each: their squared distance is about 50, that of mere noise about 0.
    assert 20 < float((centres[0] - centres[1]).square().sum()) < 100
    assert inputs.square().mean() == pytest.approx(1, abs=0.3)
