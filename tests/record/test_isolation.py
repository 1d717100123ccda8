"""The rooms that are injected into other people's environments: standard library only, and syntax of Python 3.8."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import breakdown

PACKAGE = Path(breakdown.__file__).parent
ROOMS = ("errors.py", "__init__.py", "model", "clock", "record")
FILES = sorted(
    file for room in ROOMS for file in ([PACKAGE / room] if room.endswith(".py") else (PACKAGE / room).glob("*.py"))
)

IMPORT_ALL = """
import importlib, sys

class OnlyStandardLibrary:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top != "breakdown" and top not in sys.stdlib_module_names:
            raise ImportError(f"{name} is not in the standard library")

sys.meta_path.insert(0, OnlyStandardLibrary())
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
rooms = ("errors", "model", "clock", "record")
print([name for name in sys.modules if name.startswith("breakdown.") and name.split(".")[1] not in rooms])
"""


def module(file: Path) -> str:
    return ".".join(("breakdown", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def test_they_import_with_the_standard_library_alone() -> None:
    names = [module(file) for file in FILES]
    assert "breakdown.record.recorder" in names
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORT_ALL, str(PACKAGE.parent), *names],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("file", FILES, ids=module)
def test_they_have_the_syntax_of_python_3_8(file: Path) -> None:
    tree = ast.parse(file.read_text("utf-8"), feature_version=(3, 8))
    annotated = any(isinstance(node, ast.AnnAssign | ast.arg) for node in ast.walk(tree))
    postponed = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    assert postponed or not annotated
