"""Every workload, small enough for a test."""

from __future__ import annotations

from breakdown.workloads.names import WORKLOADS, OptionValue

SMALL: dict[str, dict[str, OptionValue]] = {
    "mlp": {"features": 6, "hidden": 5, "layers": 2, "classes": 3},
    "cnn": {"image_size": 16, "width": 4, "classes": 3},
    "vgg16": {"image_size": 32, "classes": 10},
    "matrix_factorisation": {"users": 7, "items": 5, "rank": 3},
    "ising": {"side": 3},
}

assert set(SMALL) == {workload.name for workload in WORKLOADS}
