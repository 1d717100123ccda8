"""The files that are made from a result: the summary table, the page, the figures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from breakdown.analysis.summary import frame
from breakdown.cli.results import Result, Watch, timelines, unwatched
from breakdown.store.files import replacing

_BACKEND = "MPLBACKEND"


def write(result: Result, watch: Watch = unwatched) -> tuple[Path, ...]:
    """Writes summary.parquet, report.html and plots/ into the result's folder. Raises `TraceError` when one cannot be."""
    with _without_windows():
        from breakdown.report import html, plots

    summary, page, figures = result.root / "summary.parquet", result.root / "report.html", result.root / "plots"
    drawn = timelines(result, watch)
    with replacing(summary) as new, new.open("wb") as file:
        frame(result.finding).to_parquet(file, index=False)
    svgs = plots.write_all(result.finding, drawn, figures, watch)
    watch("page", len(svgs), len(svgs))
    html.write(result.finding, drawn, svgs, page)
    return summary, page, figures


@contextmanager
def _without_windows() -> Iterator[None]:
    """For matplotlib's import, which fails where the variable names what is not in this environment, as in Jupyter's shells.

    The variable comes back: a user's own command gets it.
    """
    named = os.environ.pop(_BACKEND, None)
    try:
        yield
    finally:
        if named is not None:
            os.environ[_BACKEND] = named
