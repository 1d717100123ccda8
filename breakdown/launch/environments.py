"""Environments of their own for frameworks that cannot live beside this tool: made, found, and made anew when out of date.

An environment lies in `<prefix of this Python>/envs/<name>`, or in `$BREAKDOWN_ENVS/<name>`. Its file `ready.json` is
written last and says what it was made from, so one whose making was cut short counts as missing. Where the framework's
backend has native sources (`backends/<name>/native/*.cpp`), they are compiled into it, with those that all native recorders
share (`backends/native`). Its folder `injected` holds a link to
this package and nothing else: a PYTHONPATH that brings none of this Python's other packages along.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import breakdown
from breakdown.errors import EnvironmentMissingError, RunError, cannot_write, unknown_name
from breakdown.launch import building

PLACE_VARIABLE = "BREAKDOWN_ENVS"
_PACKAGE = Path(breakdown.__file__).parent

Say = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    """What an environment is made of. `python_below`: its packages have no builds for this Python and newer ones."""

    name: str
    package: str
    python_below: tuple[int, int]
    download_mb: int  # about, of all its packages

    @property
    def requirements(self) -> Path:
        return _PACKAGE / "launch" / "requirements" / f"{self.name}.txt"

    @property
    def sources(self) -> tuple[Path, ...]:
        """The native sources, their headers among them: the backend's own, then those that all share; sorted by name."""
        backends = _PACKAGE / "backends"
        folders = (backends / self.name / "native", backends / "native")
        return tuple(path for folder in folders for path in sorted(folder.glob("*")) if path.suffix in (".cpp", ".h"))


RECIPES: Mapping[str, Recipe] = {
    "mxnet": Recipe("mxnet", "mxnet", python_below=(3, 12), download_mb=100),  # numpy 1.23 is the last that it works with
    "tensorflow": Recipe("tensorflow", "tensorflow", python_below=(3, 14), download_mb=320),
}


@dataclass(frozen=True)
class Environment:
    """One that is ready. `library`: its compiled native sources; None where the backend has none."""

    name: str
    path: Path
    python: Path
    home: Path  # to import this package from
    library: Path | None
    version: str  # of the framework


def find(name: str) -> Environment:
    """The environment, ready and up to date. Raises `EnvironmentMissingError` with the command that makes it."""
    recipe = _recipe(name)
    path = place(name)
    made = _read_stamp(path)
    remedy = f"Make it: breakdown env create {name}"
    if made is None:
        raise EnvironmentMissingError(
            f"{recipe.package} needs an environment of its own, and there is none in {path}. {remedy}"
        )
    if {**made, **_wanted(recipe)} != made:
        raise EnvironmentMissingError(f"the environment in {path} was made for another version of breakdown. {remedy}")
    return _environment(recipe, path, made)


def create(name: str, say: Say, python: str = "") -> Environment:
    """Makes the environment, or what of it is out of date. `say` hears of each part before it starts.

    `python`: the interpreter that it is made with, by default this one. Raises `EnvironmentMissingError` when the machine
    lacks something (a compiler, the venv module, a fitting Python), `RunError` when pip or the compiler fails.
    """
    recipe = _recipe(name)
    path = place(name)
    with _alone(path):
        made, wanted = _read_stamp(path) or {}, _wanted(recipe)
        compiler = building.compiler() if recipe.sources and made.get("native") != wanted["native"] else ""
        if made.get("requirements") != wanted["requirements"] or python:
            made = {"version": _install(recipe, path, say, python or sys.executable)}
        if recipe.sources and made.get("native") != wanted["native"]:
            say(f"compiling {recipe.sources[0].parent}")
            building.library(compiler or building.compiler(), recipe.sources, _library(path))
        building.link(_PACKAGE, _home(path) / _PACKAGE.name)
        _write_stamp(path, {**made, **wanted})
        return _environment(recipe, path, made)


def place(name: str) -> Path:
    """Where the environment lies, or would."""
    home = os.environ.get(PLACE_VARIABLE)
    return (Path(home) if home else Path(sys.prefix) / "envs").absolute() / name


def _install(recipe: Recipe, path: Path, say: Say, python: str) -> str:
    """Makes the virtual environment anew; returns the framework's version."""
    building.check_python(python, recipe.python_below, recipe.package)
    _stamp(path).unlink(missing_ok=True)
    say(f"making {path}")
    building.virtual_environment(python, path)
    say(f"installing {recipe.package} (some {recipe.download_mb} MB)")
    building.install(_python(path), recipe.requirements)
    say(f"importing {recipe.package}")
    return building.version(_python(path), recipe.package)


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise unknown_name("environment", name, RECIPES)
    return RECIPES[name]


def _environment(recipe: Recipe, path: Path, made: Mapping[str, str]) -> Environment:
    library = _library(path) if recipe.sources else None
    return Environment(recipe.name, path, _python(path), _home(path), library, made["version"])


def _wanted(recipe: Recipe) -> dict[str, str]:
    """What an environment that is up to date was made from."""
    return {
        "requirements": _hash(recipe.requirements),
        "native": _hash(*recipe.sources),
        "package": str(_PACKAGE),
    }


def _python(path: Path) -> Path:
    return path / "bin" / "python"


def _home(path: Path) -> Path:
    return path / "injected"


def _library(path: Path) -> Path:
    return path / "lib" / "breakdown_native.so"


def _stamp(path: Path) -> Path:
    return path / "ready.json"


def _read_stamp(path: Path) -> dict[str, str] | None:
    """What the environment was made from; None when it is not whole."""
    try:
        made = json.loads(_stamp(path).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return made if isinstance(made, dict) and "version" in made and _python(path).exists() else None


def _write_stamp(path: Path, made: Mapping[str, str]) -> None:
    new = path / "ready.json.new"
    new.write_text(json.dumps(made, indent=2) + "\n", "utf-8")
    new.replace(_stamp(path))


def _hash(*files: Path) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Two processes that want the same environment make it one after the other. Raises `RunError` when the disk refuses."""
    lock = path.with_name(f".{path.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        with lock.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        message = cannot_write(error.filename or path, error)
        raise RunError(f"{message} Environments may lie elsewhere: export {PLACE_VARIABLE}=FOLDER") from error
