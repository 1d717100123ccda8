"""Parameters and FLOPs: by hand for small ones, against torch's own counter, and against published numbers."""

from __future__ import annotations

import pytest
import torch
from small_workloads import SMALL
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from breakdown.workloads import flops, vgg16
from breakdown.workloads.registry import build


def counted(model: nn.Module, inputs: torch.Tensor) -> tuple[int, int]:
    """Torch's own count of matrix products and convolutions: forward, forward and backward."""
    counter = FlopCounterMode(display=False)
    with counter:
        outputs = model(inputs)
        forward = counter.get_total_flops()
        outputs.sum().backward()
    return forward, counter.get_total_flops()


@pytest.mark.parametrize("name", ["mlp", "cnn", "vgg16", "ising"])
def test_flops_are_what_torch_counts(name: str) -> None:
    workload = build(name, SMALL[name], 2, 0)
    forward, both = counted(workload.model, workload.batch(0, 0, 1)[0])
    assert forward == 2 * workload.forward_flops_per_sample
    assert both == 2 * workload.flops_per_sample


def test_mlp_by_hand() -> None:
    workload = build("mlp", {"features": 6, "hidden": 5, "layers": 2, "classes": 3}, 2, 0)
    assert workload.parameter_bytes == 4 * ((6 * 5 + 5) + (5 * 5 + 5) + (5 * 3 + 3))
    assert workload.forward_flops_per_sample == 2 * (30 + 25 + 15)
    assert workload.flops_per_sample == 2 * (2 * 30 + 3 * 25 + 3 * 15)


def test_mlp_has_4_2_million_parameters_by_default() -> None:
    assert build("mlp", {}, 1, 0).parameter_bytes == 4 * 4_208_650


def test_cnn_by_hand() -> None:
    workload = build("cnn", {"image_size": 8, "width": 1, "classes": 2}, 2, 0)
    assert workload.parameter_bytes == 4 * ((27 + 1) + (18 + 2) + (72 + 4) + (4 * 2 + 2))
    assert workload.forward_flops_per_sample == 2 * (27 * 64 + 18 * 16 + 72 * 4 + 8)


def test_ising_by_hand() -> None:
    workload = build("ising", {"side": 3}, 2, 0)
    assert workload.parameter_bytes == 4 * (81 + 9)
    assert workload.flops_per_sample == 4 * 81


def test_vgg16_has_the_published_size() -> None:
    with torch.device("meta"):
        model = vgg16.network(224, 1000)
        inputs = torch.empty(1, 3, 224, 224)
    # Simonyan and Zisserman, table 2: 138 million; torchvision's vgg16 documents num_params 138357544 and 15.47 GFLOPS,
    # which counts a multiply-add once.
    assert sum(parameter.numel() for parameter in model.parameters()) == 138_357_544
    assert model.fc1.weight.numel() + model.fc1.bias.numel() == 102_764_544
    layers = vgg16.layers_flops(224, 1000)
    assert sum(layers) == 30_940_528_640
    assert round(sum(layers) / 2e9, 2) == 15.47
    assert counted(model, inputs) == (sum(layers), flops.training(layers))


def test_vgg16_for_small_images() -> None:
    with torch.device("meta"):
        model = vgg16.network(32, 10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 33_638_218
    assert sum(vgg16.layers_flops(32, 10)) == 664_223_744


class Counting:
    """A number that counts how often it, or what came of it, is added or multiplied."""

    operations = 0

    def __init__(self, value: float) -> None:
        self.value = value

    def __add__(self, other: Counting) -> Counting:
        Counting.operations += 1
        return Counting(self.value + other.value)

    def __sub__(self, other: Counting) -> Counting:
        Counting.operations += 1
        return Counting(self.value - other.value)

    def __mul__(self, other: Counting) -> Counting:
        Counting.operations += 1
        return Counting(self.value * other.value)


def product(one: list[Counting], other: list[Counting]) -> Counting:
    total, *rest = [a * b for a, b in zip(one, other, strict=True)]
    for term in rest:
        total = total + term
    return total


def test_matrix_factorisation_operation_by_operation() -> None:
    rank, weight = 5, 0.25
    workload = build("matrix_factorisation", {"users": 3, "items": 2, "rank": rank, "regularisation": weight}, 1, 0)
    assert workload.parameter_bytes == 4 * (3 + 2) * rank
    inputs, targets = workload.batch(0, 0, 1)
    loss = workload.loss(workload.model(inputs), targets)
    loss.backward()
    user, item = inputs[0].tolist()
    p = [Counting(value) for value in workload.model.users.weight[user].tolist()]
    q = [Counting(value) for value in workload.model.items.weight[item].tolist()]

    Counting.operations = 0
    error = product(p, q) - Counting(float(targets[0]))
    by_hand = error * error + Counting(weight) * (product(p, p) + product(q, q))
    assert Counting.operations == workload.forward_flops_per_sample
    assert by_hand.value == pytest.approx(loss.item(), rel=1e-5)

    twice_error, twice_weight = error * Counting(2), Counting(2 * weight)
    p_gradient = [twice_error * b + twice_weight * a for a, b in zip(p, q, strict=True)]
    q_gradient = [twice_error * a + twice_weight * b for a, b in zip(p, q, strict=True)]
    assert Counting.operations == workload.flops_per_sample
    assert [g.value for g in p_gradient] == pytest.approx(
        workload.model.users.weight.grad[user].tolist(), rel=1e-4, abs=1e-6
    )
    assert [g.value for g in q_gradient] == pytest.approx(
        workload.model.items.weight.grad[item].tolist(), rel=1e-4, abs=1e-6
    )
