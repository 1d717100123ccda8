"""The transports as a parameter, and a connected pair of each that is closed after the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from wire_pairs import Pair, new_pair


@pytest.fixture(params=("tcp", "zmq", "grpc", "inproc"))
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pair(scheme: str) -> Iterator[Pair]:
    pair = new_pair(scheme)
    yield pair
    pair.close()
