"""Notebooks run from top to bottom, hold no logic, and are the same in both of their forms."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELL_TIMEOUT_S = 100

CALLS_ONLY = (
    ast.Module,
    ast.Import,
    ast.ImportFrom,
    ast.alias,
    ast.Expr,
    ast.Assign,
    ast.Call,
    ast.keyword,
    ast.Name,
    ast.Attribute,
    ast.Subscript,
    ast.Constant,
    ast.Load,
    ast.Store,
    ast.List,
    ast.Tuple,
    ast.Dict,
)
"""All that a code cell may be made of: imports, names, calls and literals. No branch, loop, function or arithmetic."""


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]


def logic(source: str) -> list[str]:
    """The names of the syntax in a cell that is more than a call."""
    return [type(node).__name__ for node in ast.walk(ast.parse(source)) if not isinstance(node, CALLS_ONLY)]


def test_there_are_notebooks_and_each_has_a_pair() -> None:
    assert NOTEBOOKS
    assert [path.with_suffix(".py") for path in NOTEBOOKS] == sorted((ROOT / "notebooks").glob("*.py"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_pair_is_in_step(path: Path) -> None:
    text = jupytext.read(path.with_suffix(".py"), fmt="py:percent")
    assert [(cell.cell_type, cell.source) for cell in read(path).cells] == [
        (cell.cell_type, cell.source) for cell in text.cells
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_code_cells_only_call(path: Path) -> None:
    for cell in read(path).cells:
        if cell.cell_type == "code":
            assert logic(cell.source) == [], cell.source


@pytest.mark.parametrize(
    "source",
    [
        "for a in b: c()",
        "if a: b()",
        "def f(): pass",
        "a + 1",
        "[x for x in y]",
        "f = lambda: 1",
        "a if b else c",
        "-a",
        "a < b",
    ],
)
def test_logic_is_recognised(source: str) -> None:
    assert logic(source)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs_from_top_to_bottom(path: Path) -> None:
    result = ROOT / "results" / "quickstart" / "experiment.json"
    assert result.is_file(), (
        f"the notebooks read {result.parent}, which belongs to the repository: `make quickstart` makes it"
    )
    notebook = read(path)
    client = NotebookClient(
        notebook, timeout=CELL_TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": str(path.parent)}}
    )
    client.execute()
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert not [output for cell in code for output in cell.outputs if output.get("name") == "stderr"]
