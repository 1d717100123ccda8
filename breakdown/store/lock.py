"""One writer at a time for a result's folder.

The lock is the kernel's (flock) on the file `.lock` in the folder, so one whose holder is dead is free. The file says who
holds it. Readers need no lock: every file is replaced at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from breakdown.errors import TraceError, UsageError, cannot_write
from breakdown.store.files import check_folder

NAME = ".lock"
"""The file's name. It is no part of a result."""

PATIENCE_S = 12.0
"""How long a lock is waited for whose holder is dead: its guardian holds it on until all that it started has ended."""

_LOOK_S = 0.1


def root_of(result: Path) -> Path:
    """The folder whose lock guards a result: of one cell, its experiment's."""
    return result.parent if (result.absolute().parent / "experiment.json").is_file() else result


def is_empty(folder: Path) -> bool:
    """Whether nothing but a lock is in the folder."""
    return all(path.name == NAME for path in folder.iterdir())


def check(folder: Path) -> None:
    """Raises what `held` would, as far as it can be known without making anything, or waiting."""
    _check_place(folder)
    with suppress(OSError):  # nobody holds a lock that is not there
        file = os.open(folder / NAME, os.O_RDONLY)
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(file)
            if _runs(holder) or not holder:
                raise UsageError(_taken(folder, holder)) from None
        finally:
            os.close(file)


def _check_place(folder: Path) -> None:
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise UsageError(f"{folder} is a file. Choose another --output.")
    check_folder(folder)


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """Holds the lock of this folder, which is made where it is not there; gives the descriptor of its file.

    Raises `UsageError` that says who holds it, `TraceError` when the folder cannot be written to.
    """
    _check_place(folder)
    path, made = folder / NAME, [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = _locked(path)
    except OSError as error:
        raise TraceError(cannot_write(folder, error)) from error
    try:
        yield file
    finally:
        with suppress(OSError):  # the folder may be gone
            path.unlink()
        os.close(file)
        with suppress(OSError):  # something was written
            for one in made:
                one.rmdir()


def _locked(path: Path) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read(file)
            os.close(file)
            if _runs(holder) or time.monotonic() > deadline:
                raise UsageError(_taken(path.parent, holder)) from None
            time.sleep(_LOOK_S)
            continue
        if _is_still(path, file):
            _write(file)
            return file
        os.close(file)  # its holder has just removed it: whoever comes now makes another


def _is_still(path: Path, file: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def _write(file: int) -> None:
    words = [Path(sys.argv[0]).name, *sys.argv[1:]]
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(file, 0)
    with suppress(OSError):  # a full disk: the lock holds all the same
        os.pwrite(file, json.dumps({**holder, "command": shlex.join(words)}).encode("utf-8", "replace"), 0)


def _read(file: int) -> dict[str, Any]:
    """Who holds it; nothing where that is not written yet."""
    with suppress(OSError, ValueError):
        found = json.loads(os.pread(file, 1 << 16, 0))
        if isinstance(found, dict) and isinstance(found.get("pid"), int):
            return found
    return {}


def _runs(holder: dict[str, Any]) -> bool:
    if holder.get("host") != socket.gethostname():
        return bool(holder)  # not here, so it cannot be known
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _taken(folder: Path, holder: dict[str, Any]) -> str:
    if not holder:
        return f"another breakdown writes to {folder}. Wait until it has ended, or choose another --output."
    where = "" if holder.get("host") == socket.gethostname() else f" on {holder.get('host')}"
    return (
        f"{folder} is being written to by process {holder['pid']}{where}, since {holder.get('since')}: "
        f"{holder.get('command')}\n"
        f"Wait until it has ended, or end it (Ctrl-C in its terminal, or kill {holder['pid']}); it keeps what it measured. "
        "Or choose another folder."
    )
