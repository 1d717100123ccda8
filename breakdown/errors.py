"""The exceptions of the toolkit. Every message says what was wrong, where, and what to do next.

`UsageError` and its children are the user's input (exit code 2); every other `BreakdownError` is a run, a file or a peer
that failed (exit code 1). The command line prints the message alone, never a traceback, for anything in this tree.
"""

from __future__ import annotations

from typing import Iterable


class BreakdownError(Exception):
    """Anything that the toolkit can explain to its user. `exit_code` is what the command line ends with."""

    exit_code = 1


class UsageError(BreakdownError):
    """The user asked for something that cannot be: a bad option, an unknown name, a file that is not there."""

    exit_code = 2


class ConfigError(UsageError):
    """An experiment file holds a wrong key or value."""


class EnvironmentMissingError(UsageError):
    """A framework, a program or a right that the request needs is not on this machine."""


class RunError(BreakdownError):
    """A process of a run failed or did not end in time. The message names role, rank and log file."""


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
