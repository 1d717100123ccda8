"""Has roles sampled while they run, and keeps what was seen beside their traces. Nothing here fails a run."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from breakdown.errors import TraceError
from breakdown.launch.sampling import Places, Sampling
from breakdown.model.identity import Node
from breakdown.store import samples
from breakdown.store.folder import CellFolder


@contextmanager
def sampling(
    folder: CellFolder,
    entry: dict[str, Any],
    rate_hz: int | None,
    processes: Callable[[], Iterable[int]],
    nodes: Collection[Node] = (),
) -> Iterator[None]:
    """Samples the roles of the repetition that `entry` describes; the entry gets the rate, and a warning for what failed.

    `rate_hz` None: does nothing. `processes` and `nodes`: see `launch.sampling.Sampling`.
    """
    if rate_hz is None:
        yield
        return
    run = entry["run"]
    seen = Sampling(Places(folder.raw_dir(run), folder.sample_dir(run), folder.log_dir(run)), rate_hz, processes, nodes)
    try:
        with seen:
            yield
    finally:
        entry["sample_rate_hz"] = rate_hz
        entry["warnings"] += seen.warnings
        entry["warnings"] += _kept(folder, run, seen)


def _kept(folder: CellFolder, run: int, seen: Sampling) -> tuple[str, ...]:
    if not seen.captures:
        return ()
    try:
        return samples.collect(folder, run, [samples.Sampled(one.node, one.output, one.start_ns) for one in seen.captures])
    except TraceError as error:
        return (str(error),)


def children() -> list[int]:
    """The ids of the processes that this one started, and of those that they started."""
    return [process.pid for process in psutil.Process().children(recursive=True)]
