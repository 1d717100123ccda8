"""Names, options and their errors, without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest

from breakdown.errors import ConfigError
from breakdown.workloads import names
from breakdown.workloads.registry import build


def test_a_cell_can_be_checked_without_importing_torch() -> None:
    code = "import sys, breakdown.workloads.registry as r; r.names.complete('mlp', {}); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_options_not_given_are_at_their_defaults() -> None:
    assert names.complete("mlp", {"hidden": 8}) == {"features": 1024, "hidden": 8, "layers": 4, "classes": 10}


def test_a_whole_number_serves_as_a_real_one() -> None:
    value = names.complete("matrix_factorisation", {"regularisation": 1})["regularisation"]
    assert value == 1.0
    assert type(value) is float


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("mpl", {}, ["unknown workload 'mpl'", "Did you mean 'mlp'?", "matrix_factorisation"]),
        ("mlp", {"hiden": 3}, ["unknown option 'hiden' in workload 'mlp'", "'hidden'", "classes"]),
        ("mlp", {"hidden": 3.5}, ["'mlp'", "'hidden' must be a whole number", "3.5", "Default: 1024"]),
        ("mlp", {"hidden": "8"}, ["'hidden' must be a whole number", "'8'"]),
        ("mlp", {"hidden": True}, ["'hidden' must be a whole number", "True"]),
        ("mlp", {"hidden": 0}, ["'hidden' is 0", "1 or more"]),
        ("mlp", {"classes": 1}, ["'classes' is 1", "2 or more"]),
        ("vgg16", {"image_size": 64}, ["'image_size' is 64", "32, 224"]),
        ("cnn", {"image_size": 20}, ["'image_size' is 20", "multiple of 8"]),
        ("matrix_factorisation", {"regularisation": -0.1}, ["'regularisation' is -0.1", "0 or more"]),
        ("matrix_factorisation", {"regularisation": float("nan")}, ["'regularisation' is nan"]),
    ],
)
def test_errors_say_what_is_wrong_and_what_is_possible(
    name: str, options: dict[str, names.OptionValue], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        build(name, options, 4, 0)
    for word in words:
        assert word in str(caught.value)
