"""The optimizers do what torch.optim does."""

from __future__ import annotations

import pytest
import torch

from breakdown.errors import ConfigError
from breakdown.ps.optim import optimizer

TORCH = {
    "sgd": lambda parameter: torch.optim.SGD([parameter], lr=0.1),
    "momentum": lambda parameter: torch.optim.SGD([parameter], lr=0.1, momentum=0.9),
    "adam": lambda parameter: torch.optim.Adam([parameter], lr=0.1),
}


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("name", sorted(TORCH))
def test_steps_equal_those_of_torch(name: str, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(50, generator=generator))
    ours = parameter.detach().clone()
    memory = ours.data_ptr()
    reference, rule = TORCH[name](parameter), optimizer(name, 0.1)
    for _ in range(20):
        gradient = torch.randn(50, generator=generator)
        kept = gradient.clone()
        parameter.grad = gradient * scale
        reference.step()
        rule.step(ours, gradient, scale)
        torch.testing.assert_close(ours, parameter.detach(), rtol=1e-5, atol=1e-6)
        assert torch.equal(gradient, kept), "a gradient is only read"
    assert ours.data_ptr() == memory


def test_an_unknown_optimizer_lists_the_known() -> None:
    with pytest.raises(ConfigError, match="adam, momentum, sgd"):
        optimizer("sdg", 0.1)
