"""The two models whose data come from a known truth: the data are right, and training finds the truth again."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from breakdown.workloads import ising
from breakdown.workloads.api import Workload
from breakdown.workloads.data import Pool, Stream, generator
from breakdown.workloads.matrix_factorisation import Factors
from breakdown.workloads.registry import build


def train(workload: Workload, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        inputs, targets = workload.batch(step, 0, 1)
        optimizer.zero_grad()
        workload.loss(workload.model(inputs), targets).backward()
        optimizer.step()


def test_matrix_factorisation_finds_ratings_that_it_never_saw() -> None:
    users, items, rank = 60, 40, 4
    workload = build(
        "matrix_factorisation", {"users": users, "items": items, "rank": rank, "regularisation": 0.0}, batch_size=256, seed=3
    )
    truth = Factors(users, items, rank, generator(3, Stream.TRUTH))
    true_ratings = (truth.users.weight @ truth.items.weight.T).detach()
    # A sixth of the matrix is kept out of the samples, evenly over rows and columns.
    pairs = workload.pool.inputs
    seen = (pairs[:, 0] + pairs[:, 1]) % 6 != 0
    workload = replace(workload, pool=Pool(pairs[seen], workload.pool.targets[seen]))
    hidden = (torch.arange(users)[:, None] + torch.arange(items)) % 6 == 0

    def error() -> float:
        with torch.no_grad():
            ratings = workload.model.users.weight @ workload.model.items.weight.T
            return float((ratings - true_ratings)[hidden].square().mean().sqrt())

    assert error() > 1  # two independent matrices of variance one
    train(workload, torch.optim.Adam(workload.model.parameters(), lr=0.02), 1500)
    assert error() < 0.01


def test_gibbs_samples_have_the_exact_moments() -> None:
    side, count = 3, 40_000
    model = ising.truth(5, side)
    samples = ising.sample(model, side, count, generator(5, Stream.SAMPLES))
    states = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=side * side)))
    with torch.no_grad():
        couplings = model.symmetric()
        energy = states @ model.fields + ((states @ couplings) * states).sum(1) / 2
    weights = torch.softmax(energy, 0)
    exact = (states * weights[:, None]).T @ states
    assert exact.triu(1).abs().max() > 0.3  # there is something to see
    # A mean of products of +-1 deviates by at most 1/sqrt(count); five times that for the largest of 36 + 9.
    bound = 5 * count**-0.5
    assert float((samples.T @ samples / count - exact).abs().max()) < bound
    assert float((samples.mean(0) - weights @ states).abs().max()) < bound


def test_the_true_model_joins_only_neighbours() -> None:
    couplings = ising.truth(0, 3).symmetric()
    joined = {(i, j) for i, j in couplings.nonzero().tolist() if i < j}
    assert joined == {(0, 1), (1, 2), (3, 4), (4, 5), (6, 7), (7, 8), (0, 3), (1, 4), (2, 5), (3, 6), (4, 7), (5, 8)}
    assert torch.equal(couplings, couplings.T)
    assert couplings.abs().max() <= ising.COUPLING


def test_pseudo_likelihood_finds_the_couplings() -> None:
    side = 4
    workload = build("ising", {"side": side}, batch_size=1024, seed=2)
    truth = ising.truth(2, side)

    def errors() -> tuple[float, float]:
        with torch.no_grad():
            couplings = (workload.model.symmetric() - truth.symmetric()).abs().max()
            return float(couplings), float((workload.model.fields - truth.fields).abs().max())

    assert errors()[0] > 0.4
    train(workload, torch.optim.SGD(workload.model.parameters(), lr=0.1), 64)  # each sample once
    train(workload, torch.optim.SGD(workload.model.parameters(), lr=0.02), 256)
    couplings, fields = errors()
    # 65536 samples leave a standard error of about 1/sqrt(65536) = 0.004 a coupling; the largest of 120 stays under 0.03.
    assert couplings < 0.03
    assert fields < 0.03


@torch.no_grad()
def test_the_loss_is_minus_the_pseudo_likelihood() -> None:
    model = ising.truth(1, 2)
    spins = torch.tensor([[1.0, -1.0, 1.0, 1.0]])
    couplings = model.symmetric()
    likelihood = 1.0
    for i in range(4):
        felt = float(model.fields[i] + couplings[i] @ spins[0])
        likelihood *= float(torch.sigmoid(torch.tensor(2 * float(spins[0, i]) * felt)))
    assert float(torch.exp(-ising.loss(model(spins), spins))) == pytest.approx(likelihood, rel=1e-5)
