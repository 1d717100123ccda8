"""The parts that an environment is made of: a virtual environment, packages, a native library. All run as children."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from breakdown.errors import EnvironmentMissingError, RunError

LINES_SHOWN = 12
"""Of what a failed command said: pip names the reason in its last lines, a compiler in its first errors."""

TIMEOUT_S = 1800.0
"""A framework takes minutes over a slow line; what takes longer hangs."""

FLAGS = ("-std=c++17", "-O2", "-fPIC", "-shared", "-fvisibility=hidden", "-ftls-model=initial-exec", "-pthread")
"""For a library that is loaded with the program (LD_PRELOAD): its thread-local variables cost no call."""


def compiler() -> str:
    """The C++ compiler: $CXX, or g++. Raises `EnvironmentMissingError` when there is none."""
    wanted = os.environ.get("CXX", "g++")
    found = shutil.which(wanted)
    if found is None:
        raise EnvironmentMissingError(
            f"there is no C++ compiler: {wanted} is not found. The recorder that is loaded into the framework is compiled "
            "here. Install one (Debian: apt install g++), or name it: export CXX=..."
        )
    return found


def check_python(python: str, below: tuple[int, int], package: str) -> None:
    """Raises `EnvironmentMissingError` unless `python` runs, is old enough, and has the venv module."""
    limit = ".".join(map(str, below))
    try:
        code = f"import sys, venv, ensurepip; sys.exit(3 if sys.version_info[:2] >= {below!r} else 0)"
        done = subprocess.run(
            [python, "-c", code], capture_output=True, encoding="utf-8", errors="replace", timeout=TIMEOUT_S, check=False
        )
    except OSError as error:
        raise EnvironmentMissingError(f"cannot start {python}: {error.strerror}. Name another one: --python PATH") from error
    if done.returncode == 3:
        raise EnvironmentMissingError(
            f"{package} needs a Python below {limit}, and {python} is newer. Name one: --python python3.11"
        )
    if done.returncode:
        raise EnvironmentMissingError(
            f"{python} has no venv module. Install it (Debian: apt install python3-venv), or name another: --python PATH"
        )


def virtual_environment(python: str, path: Path) -> None:
    """An empty one, in place of what is there."""
    _run([python, "-m", "venv", "--clear", str(path)], "making the virtual environment")


def install(python: Path, requirements: Path) -> None:
    """The pinned packages: these and no others, for the list is whole."""
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    command = [*pip, "-r", str(requirements)]
    _run(command, f"pip, installing {requirements}")


def version(python: Path, package: str) -> str:
    """Imports a package, and returns its version."""
    return _run(
        [str(python), "-W", "ignore", "-c", f"import {package}; print({package}.__version__)"], f"importing {package}"
    )


def library(compiler: str, sources: Sequence[Path], output: Path) -> None:
    """Compiles and links all at once: a program that has the old library loaded keeps it."""
    new = output.with_name(f".{output.name}.new")
    compiled = [str(source) for source in sources if source.suffix == ".cpp"]
    folders = [f"-I{folder}" for folder in dict.fromkeys(source.parent for source in sources)]  # of the headers
    _run([compiler, *FLAGS, *folders, "-o", str(new), *compiled, "-ldl"], f"{compiler}, compiling {sources[0].parent}")
    new.replace(output)


def link(target: Path, at: Path) -> None:
    """A symbolic link, in place of the one that may be there."""
    at.parent.mkdir(exist_ok=True)
    at.unlink(missing_ok=True)
    at.symlink_to(target)


def _run(command: Sequence[str], doing: str) -> str:
    """What the command printed. Raises `RunError` with its last lines when it fails."""
    # A PYTHONPATH, or the home of another virtual environment, would leak into the one that is made.
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "LD_PRELOAD")}
    try:
        done = subprocess.run(
            command,
            env=clean,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RunError(f"{doing} failed: {error}") from error
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-LINES_SHOWN:]
        raise RunError(f"{doing} failed with exit code {done.returncode}:" + "".join(f"\n  | {line}" for line in said))
    return done.stdout.strip()
