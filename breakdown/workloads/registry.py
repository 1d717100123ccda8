"""Builds a workload by its name. Its module, and with it torch, is imported then and not before."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from breakdown.workloads import names

if TYPE_CHECKING:
    from breakdown.workloads.api import Workload


def build(name: str, options: Mapping[str, names.OptionValue], batch_size: int, seed: int) -> Workload:
    """The workload with options that are not given at their defaults. Raises `ConfigError` for an unknown or wrong one.

    Parameters and data depend on the options and the seed alone, not on the batch size or the number of torch's threads.
    """
    values = names.complete(name, options)
    module = importlib.import_module(names.find(name).module)
    data = importlib.import_module("breakdown.workloads.data")
    with data.one_thread():
        return cast("Workload", module.build(batch_size, seed, **values))
