"""How far a command is that computes for long and measures nothing: on a terminal, on stderr, and gone at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def bar(name: str) -> Iterator[Callable[[str, int, int], None]]:
    """Gives a function that is told what is done now, how much of it is done, and of how much."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(name)

        def tell(what: str, done: int, total: int) -> None:
            progress.update(task, description=escape(f"{name}: {what}"), completed=done, total=total)

        yield tell
