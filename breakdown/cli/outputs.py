"""The files that are made from a result: the summary table, the page, the figures."""

from __future__ import annotations

from pathlib import Path

from breakdown.analysis.summary import frame
from breakdown.cli.results import Result, timelines
from breakdown.errors import RunError
from breakdown.report import html, plots


def write(result: Result) -> tuple[Path, ...]:
    """Writes summary.parquet, report.html and plots/ into the result's folder. Raises `RunError` when the disk is full."""
    summary, page, figures = result.root / "summary.parquet", result.root / "report.html", result.root / "plots"
    drawn = timelines(result)
    try:
        frame(result.finding).to_parquet(summary, index=False)
        html.write(result.finding, drawn, page)
        plots.write_all(result.finding, drawn, figures)
    except OSError as error:
        raise RunError(
            f"cannot write {error.filename or result.root}: {error.strerror or error}. Free some space."
        ) from error
    return summary, page, figures
