"""How a process of a user's command says that it only serves the others, and will not end by itself.

It leaves a file in the folder for the traces, for whoever waits for the command's end. Standard library only.
"""

from __future__ import annotations

import os
from pathlib import Path

_ENDING = ".serves"


def says_it_serves(folder: str) -> None:
    """This process does."""
    try:
        with open(os.path.join(folder, f"{os.getpid()}{_ENDING}"), "w", encoding="utf-8"):
            pass
    except OSError:
        return  # then it is waited for


def serves(folder: Path, pid: int) -> bool:
    """Whether a process has said so."""
    return (folder / f"{pid}{_ENDING}").exists()


def forget(folder: Path) -> None:
    """Removes what was said, once the command has ended."""
    for path in folder.glob(f"*{_ENDING}"):
        path.unlink()
