"""Arguments that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from breakdown.runner.output import Existing

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# Existence is checked where a path is read: there the message says what the file should have been.
EXPERIMENT: Decorator = click.argument("experiment", metavar="EXPERIMENT.yaml", type=click.Path(path_type=Path))
RESULT: Decorator = click.argument("result", metavar="RESULT", type=click.Path(path_type=Path))
RESUME: Decorator = click.option(
    "--resume", is_flag=True, help="Go on with the results that are there: skip the repetitions that are done."
)
FRESH: Decorator = click.option("--fresh", is_flag=True, help="Delete the results that are there, and measure anew.")
SAMPLE: Decorator = click.option(
    "--sample", is_flag=True, help="Have py-spy look at each role as well, and compare. It slows the run: docs/sampling.md."
)
SAMPLE_RATE: Decorator = click.option(
    "--sample-rate",
    metavar="HZ",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    help="With --sample: how often it looks, a second. Take 4 or less with TensorFlow, whose processes are slow to look at.",
)
SET: Decorator = click.option(
    "--set",
    "overrides",
    metavar="KEY=VALUE",
    multiple=True,
    help="Set a field in every cell, for example --set steps=20, or one option of the workload, for example "
    "--set workload_options.hidden=512, or the repetitions. May be given several times.",
)


def existing(resume: bool, fresh: bool) -> Existing:
    """What is to become of results that are there. Raises `UsageError` for both at once."""
    from breakdown.errors import UsageError
    from breakdown.runner.output import Existing

    if resume and fresh:
        raise UsageError("--resume and --fresh exclude each other: go on with the results that are there, or delete them.")
    return Existing.RESUME if resume else Existing.FRESH if fresh else Existing.REFUSE
