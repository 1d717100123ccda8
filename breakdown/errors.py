"""The exceptions of the toolkit. Every message says what was wrong, where, and what to do next.

`UsageError` and its children are the user's input (exit code 2); every other `BreakdownError` is a run, a file or a peer
that failed (exit code 1). The command line prints the message alone, never a traceback, for anything in this tree.
"""

from __future__ import annotations

import errno
import os
from typing import Dict, Iterable, Tuple


class BreakdownError(Exception):
    """Anything that the toolkit can explain to its user. `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(BreakdownError):
    """The user asked for something that cannot be: a bad option, an unknown name, a file that is not there."""

    exit_code = 2


class ConfigError(UsageError):
    """An experiment file holds a wrong key or value."""


class FieldError(ConfigError):
    """A wrong value of a cell's field. `field`: the key that holds it, such as "workers" or "workload_options.hidden"."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


class EnvironmentMissingError(UsageError):
    """A framework, a program or a right that the request needs is not on this machine."""


class RunError(BreakdownError):
    """A process of a run failed or did not end in time. The message names role, rank and log file."""


class CommandError(RunError):
    """A user's own command failed, or was ended from outside. The tool ends with its exit code, as a shell does."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class WireError(BreakdownError):
    """A peer could not be reached, presented a wrong token, or sent a frame that breaks the protocol."""


class TraceError(BreakdownError):
    """A trace file or a table cannot be read, or breaks an invariant of the model."""


class RecordError(BreakdownError):
    """Records could not be written (a full disk, say). What was written before stays readable."""


def unknown_name(kind: str, name: str, known: Iterable[str], where: str = "") -> ConfigError:
    """The one wording for a name that nobody knows: what, where, the known ones, and the nearest of them."""
    from difflib import get_close_matches

    names = sorted(known)
    near = get_close_matches(str(name), names, n=1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    place = f" in {where}" if where else ""
    return ConfigError(f"unknown {kind} '{name}'{place}.{hint} Known: {', '.join(names)}.")


_FULL = "Free some space, or choose another disk."
_NO_RIGHT = "Have the right to write there given to you, or choose another place."
_REMEDIES: Dict[Tuple[int, ...], str] = {
    (errno.ENOSPC, errno.EDQUOT): _FULL,
    (errno.EACCES, errno.EPERM): _NO_RIGHT,
    (errno.EROFS,): "It lies on a file system that is mounted read-only: choose another place.",
    (errno.ENOTDIR,): "A part of this path is a file, not a folder: choose another path.",
    (errno.EEXIST,): "A file has this name: choose another name.",
    (errno.EISDIR,): "A folder has this name: name a file, or choose another name.",
    (errno.ELOOP,): "Symbolic links in this path lead in a circle: choose another path.",
    (errno.ENAMETOOLONG,): "Choose a shorter name.",
    (errno.EMFILE, errno.ENFILE): "Allow more open files: ulimit -n.",
    (errno.EFBIG,): "Allow bigger files (ulimit -f), or choose another file system.",
    (errno.EIO, errno.ENODEV, errno.ENXIO, errno.ESTALE): "The device fails or is gone: choose another disk.",
    (errno.ENOMEM,): "Free some memory.",
}
"""By what the system says: what to do about it."""


def reason(error: OSError) -> str:
    """What the system says, and no more: "No space left on device". Libraries put text of their own around it."""
    return os.strerror(error.errno) if error.errno else str(error.strerror or error)


def remedy(error: OSError) -> str:
    """What to do about a file that the system will not write, a sentence."""
    if error.errno == errno.ENOENT and _is_nowhere():
        return GONE
    return next((text for numbers, text in _REMEDIES.items() if error.errno in numbers), "Choose another place.")


def cannot_write(path: object, error: OSError, also: str = "") -> str:
    """The one wording for a file that cannot be written: which, why, what else is to be said, and what to do."""
    return f"cannot write {path}: {reason(error)}. {also}{' ' if also else ''}{remedy(error)}"


GONE = "The working directory is gone: change to a folder that is there."


def _is_nowhere() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False
