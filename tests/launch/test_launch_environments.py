"""Environments: made once, made anew when something changed, and every lack said with its remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import breakdown
from breakdown.errors import ConfigError, EnvironmentMissingError, RunError
from breakdown.launch import building, environments
from breakdown.launch.environments import Recipe, create, find, place

SOURCE = 'extern "C" __attribute__((visibility("default"))) int answer() { return 42; }\n'


class Small(Recipe):
    """An environment without packages, so that making it takes a second: its "framework" is pip, which is always there."""

    folder: Path

    @property
    def requirements(self) -> Path:
        return self.folder / "requirements.txt"

    @property
    def sources(self) -> tuple[Path, ...]:
        return tuple(sorted((self.folder / "native").glob("*.cpp")))


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the recipe `small`."""
    folder = tmp_path / "recipe"
    (folder / "native").mkdir(parents=True)
    (folder / "requirements.txt").write_text("# nothing\n")
    (folder / "native" / "answer.cpp").write_text(SOURCE)
    monkeypatch.setattr(Small, "folder", folder, raising=False)
    monkeypatch.setitem(environments.RECIPES, "small", Small("small", "pip", (9, 0), 0))  # type: ignore[arg-type]
    monkeypatch.setenv(environments.PLACE_VARIABLE, str(tmp_path / "envs"))
    return folder


def test_an_environment_is_made_and_then_only_what_changed(recipe: Path) -> None:
    said: list[str] = []
    with pytest.raises(EnvironmentMissingError, match=r"there is none in .*small\. Make it: breakdown env create small"):
        find("small")
    made = create("small", said.append)
    assert made == find("small")
    assert [text.split()[0] for text in said] == ["making", "installing", "importing", "compiling"]
    answer = subprocess.run(
        [made.python, "-c", f"import ctypes, sys; print(ctypes.CDLL({str(made.library)!r}).answer(), sys.prefix)"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert answer.stdout.split() == ["42", str(made.path)]

    said.clear()
    assert create("small", said.append) == made
    assert said == []

    (recipe / "native" / "answer.cpp").write_text(SOURCE.replace("42", "43"))
    with pytest.raises(EnvironmentMissingError, match=r"made for another version of breakdown\. Make it: breakdown env"):
        find("small")
    create("small", said.append)
    assert [text.split()[0] for text in said] == ["compiling"]
    find("small")


def test_the_package_can_be_imported_from_home_and_nothing_else(recipe: Path) -> None:
    made = create("small", lambda _: None)
    code = "import breakdown; print(breakdown.__version__); import numpy"
    env = {**os.environ, "PYTHONPATH": str(made.home)}
    done = subprocess.run([made.python, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.stdout.strip() == breakdown.__version__
    assert "No module named 'numpy'" in done.stderr


def test_a_failure_leaves_an_environment_that_counts_as_missing(recipe: Path) -> None:
    (recipe / "native" / "answer.cpp").write_text("this is not C++\n")
    with pytest.raises(RunError, match=r"compiling .*native failed with exit code 1:\n  \| .*answer\.cpp"):
        create("small", lambda _: None)
    with pytest.raises(EnvironmentMissingError, match="there is none"):
        find("small")
    (recipe / "native" / "answer.cpp").write_text(SOURCE)
    assert create("small", lambda _: None) == find("small")


def test_what_pip_says_is_shown(recipe: Path) -> None:
    (recipe / "requirements.txt").write_text("./no-such-package\n")
    with pytest.raises(
        RunError, match=r"pip, installing .*requirements\.txt failed with exit code \d:\n  \| .*no-such-package"
    ):
        create("small", lambda _: None)


def test_a_missing_compiler_is_said_before_anything_is_made(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(EnvironmentMissingError, match=r"no-such-compiler is not found\. .*apt install g\+\+"):
        create("small", lambda _: None)
    assert not place("small").exists()


def test_a_python_that_does_not_fit_is_said(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(environments.RECIPES, "small", Small("small", "pip", (3, 9), 0))  # type: ignore[arg-type]
    with pytest.raises(
        EnvironmentMissingError, match=r"pip needs a Python below 3\.9, and .* is newer\. .*--python python3\.11"
    ):
        create("small", lambda _: None)
    with pytest.raises(EnvironmentMissingError, match="cannot start /no/python: No such file"):
        create("small", lambda _: None, "/no/python")


def test_a_python_without_venv_is_said(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    with pytest.raises(EnvironmentMissingError, match=r"has no venv module\. Install it"):
        building.check_python(str(python), (9, 0), "pip")


def test_a_place_that_cannot_be_written_is_said(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(environments.PLACE_VARIABLE, str(tmp_path / "file"))
    with pytest.raises(RunError, match=r"cannot write .*file: .*choose another name\..*export BREAKDOWN_ENVS=FOLDER"):
        create("small", lambda _: None)


def test_an_unknown_environment_lists_the_known() -> None:
    with pytest.raises(ConfigError, match=r"unknown environment 'mxnt'\. Did you mean 'mxnet'\? Known: mxnet, tensorflow\."):
        create("mxnt", lambda _: None)


def test_the_default_place_is_under_this_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(environments.PLACE_VARIABLE, raising=False)
    assert place("mxnet") == Path(sys.prefix) / "envs" / "mxnet"
