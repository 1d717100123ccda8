"""One thread for torch: at the size of these tests a second one costs more than it gives, above all on a busy machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from breakdown.workloads.data import one_thread


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield
