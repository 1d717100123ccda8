"""A line for each repetition as it starts and ends.

Nothing is drawn in between: a bar that moves would take time from the cores that are being measured.
"""

from __future__ import annotations

import time

from rich.console import Console
from rich.markup import escape

from breakdown.runner.matrix import Event


class Progress:
    """The watcher of a matrix. On a terminal the line of a repetition is replaced by its result."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begin = time.monotonic()

    def __call__(self, event: Event) -> None:
        width = len(str(event.total))
        head = f"[{event.number:>{width}}/{event.total}] {event.label}, round {event.round}"
        if event.kind == "start":
            if self._console.is_terminal:
                self._print(f"{escape(head)} …", end="\r")
        elif event.kind == "skipped":
            self._print(f"{escape(head)}: [dim]done before[/dim]")
        elif event.kind == "done":
            left = (time.monotonic() - self._begin) / event.number * (event.total - event.number)
            remaining = f", about {left:.0f} s left" if event.number < event.total else ""
            self._print(f"{escape(head)}: [green]done[/green] in {event.wall_s:.1f} s{remaining}")
        else:
            self._print(f"{escape(head)}: [red]failed[/red] after {event.wall_s:.1f} s")
            self._print(f"[red]{escape(event.error)}[/red]")

    def _print(self, text: str, end: str = "\n") -> None:
        self._console.print(text, end=end, highlight=False, soft_wrap=True)
