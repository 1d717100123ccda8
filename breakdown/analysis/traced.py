"""Which measured steps can be broken down: all, but for those within which a framework's activity was left unrecorded.

Where every n-th step was traced, each node noted so. Those steps stand for all: see `stages.totals`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from breakdown.analysis.codes import Ints
from breakdown.model.identity import Node, Role
from breakdown.record.api import STEPS_NOTE


def traced(notes: Mapping[str, Any], run: Ints, worker: Ints, step: Ints) -> NDArray[np.bool_]:
    """Which of these steps were. `notes`: those of a cell, by run and node."""
    found = np.ones(len(step), dtype=bool)
    for number in np.unique(run).tolist():
        for rank in np.unique(worker[run == number]).tolist():
            rule = _rule(notes, number, Node(Role.WORKER, rank))
            if rule is not None:
                mine = (run == number) & (worker == rank)
                found[mine] = (step[mine] - rule["first"]) % rule["every"] == 0
    return found


def said_of(steps: int, traced_steps: int) -> tuple[str, ...]:
    """What has to be said of a table of so many steps."""
    if traced_steps == steps:
        return ()
    return (f"{traced_steps} of {steps} steps were traced: the stages' shares are theirs, the speed is that of all",)


def _rule(notes: Mapping[str, Any], run: int, node: Node) -> Mapping[str, int] | None:
    found = (value for name, value in notes.get(str(run), {}).get(str(node), ()) if name == STEPS_NOTE)
    return next(found, None)
