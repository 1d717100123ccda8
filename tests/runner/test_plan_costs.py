"""Planning starts nothing, and so needs none of what only the roles need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys
from breakdown.cli.main import cli

cli.main(["plan", sys.argv[1], "--output", sys.argv[2]], standalone_mode=False)
heavy = {"torch", "numpy", "pandas", "pyarrow", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_plan_imports_no_framework_and_names_every_cell(tmp_path: Path) -> None:
    (tmp_path / "both.yaml").write_text("axes: {backend: [single, torch_ps], seed: [1, 2]}\n")
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "both.yaml"), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("repetition 0, at most 300 s") == 4
    assert done.stdout.count("worker-0     cores 0") == 4
