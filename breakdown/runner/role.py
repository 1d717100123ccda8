"""The entry of every role process: `python -m breakdown.runner.role SPEC.json`. Runs one role of one repetition.

Exit codes: 0 done; 1 failed, with the reason on stderr (which is the log); 143 ended by SIGTERM, after flushing the trace.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from breakdown.backends.api import RoleContext, ToolBackend
from breakdown.config.cell import Cell
from breakdown.errors import RunError
from breakdown.model.identity import Node, Role
from breakdown.record.api import Recorder
from breakdown.record.ending import Trace, leave
from breakdown.record.null import NullRecorder
from breakdown.record.recorder import FileRecorder
from breakdown.runner.implementation import backend


def main(arguments: list[str]) -> int:
    """Runs the role that the spec names, and closes its trace in all cases."""
    trace = Trace()
    trace.close_on_sigterm()
    spec_path = Path(arguments[0])
    return trace.close_after(lambda: _run(_read(spec_path), trace), spec_path.stem)


def _run(spec: dict[str, Any], trace: Trace) -> None:
    cell = Cell(**spec["cell"])
    node = Node(Role[spec["role"].upper()], spec["rank"])
    recorder: Recorder = FileRecorder(spec["trace"], spec["run"], node) if cell.record else NullRecorder()
    trace.recorder = recorder
    implementation = backend(cell.backend)
    if not isinstance(implementation, ToolBackend):
        raise RunError(f"backend '{cell.backend}' runs its roles in an environment of its own, not in this process.")
    if implementation.framework == "torch":
        import torch

        torch.set_num_threads(spec["threads"])
    implementation.run_role(RoleContext(cell, spec["run"], node, spec["rendezvous"], spec["token"], recorder))


def _read(path: Path) -> dict[str, Any]:
    try:
        spec: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read the spec {path}: {error}") from error
    return spec


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
