"""`breakdown import`: a profile that TensorFlow wrote by itself."""

from __future__ import annotations

import time
from pathlib import Path

import click


@click.command("import")
@click.option("--output", type=click.Path(path_type=Path), help="The folder for the result. Default: results/import-TIME.")
@click.option("--warmup-steps", type=click.IntRange(0), default=0, show_default=True, help="First steps that do not count.")
@click.option("--batch-size", type=click.IntRange(1), help="Samples a worker takes in a step: no profile tells.")
@click.option(
    "--role",
    "roles",
    metavar="ROLE=FILE",
    multiple=True,
    help="Which role an XPlane file is of, such as worker-0=host.xplane.pb, where it does not tell.",
)
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path))
def command(
    output: Path | None, warmup_steps: int, batch_size: int | None, roles: tuple[str, ...], paths: tuple[Path, ...]
) -> None:
    """Make a result of a profile that TensorFlow wrote, then explain it.

    PATH is a file or a folder: XPlane files, one a role, as tf.profiler and the TensorBoard callback write them; or
    RunMetadata of session.run, serialised, or its timeline as JSON, a file a step. What they are is told by their
    content. For example:

    \b
      breakdown import logs/plugins/profile/2026_01_31_12_00_00
      breakdown import run_metadata/ --batch-size 64
    """
    from rich.console import Console

    from breakdown.cli.bar import bar
    from breakdown.cli.run import explain
    from breakdown.errors import UsageError
    from breakdown.runner.imports import import_profile, role
    from breakdown.store.lock import held

    named = {}
    for text in roles:
        name, equals, file = text.partition("=")
        if not equals or not file:
            raise UsageError(f"--role {text} is not ROLE=FILE, such as worker-0=host.xplane.pb.")
        named[Path(file)] = role(name)
    folder = output or Path("results") / time.strftime("import-%Y%m%d-%H%M%S")
    with held(folder):
        with bar("import") as watch:
            imported = import_profile(paths, folder, warmup_steps, batch_size, named, watch)
        explain(imported.output, Console())
