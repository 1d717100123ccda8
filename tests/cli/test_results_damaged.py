"""Whatever stands in a result's files, reading it ends in a sound result or in a message, and nothing is missing unsaid.

`BREAKDOWN_FUZZ=2000` tries so many damaged results, not 200.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from result_fuzz import damage

from breakdown.cli.main import cli
from breakdown.cli.outputs import write
from breakdown.cli.results import Result, read
from breakdown.errors import BreakdownError
from breakdown.store import arrow
from breakdown.store.folder import TABLES

COUNT = int(os.environ.get("BREAKDOWN_FUZZ", "200"))
REPORT_EVERY, CELL_EVERY = 40, 2
"""The page with its figures takes seconds; what is shown of a cell alone is read as all of a result is."""

SAVED = Path(__file__).parents[2] / "results" / "quickstart"
CELLS = ("single-1core-*", "torch_ps-*")
FILES = ("cell.json", "clock.json", "notes.json", *(f"{name}.parquet" for name in TABLES))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cells of a real result, written as they are written today."""
    folder = tmp_path_factory.mktemp("whole") / "result"
    folder.mkdir()
    cells = [next(SAVED.glob(pattern)) for pattern in CELLS]
    for cell in cells:
        shutil.copytree(cell, folder / cell.name)
        for name in TABLES:
            path = folder / cell.name / f"{name}.parquet"
            table = arrow.read(path, name)
            path.unlink()
            arrow.append(path, name, table, run=-1)
    names = ", ".join(f'"{cell.name}"' for cell in cells)
    (folder / "experiment.json").write_text(f'{{"name": "damaged", "description": "", "cells": [{names}]}}')
    return folder


@pytest.mark.timeout(max(120, COUNT))
def test_a_damaged_result_is_sound_or_told(whole: Path, tmp_path: Path) -> None:
    files = [whole / "experiment.json", *sorted(path for path in whole.glob("*/*") if path.name in FILES)]
    expected = {cell.cell_id: (cell.repetitions, cell.steps) for cell in read(whole).finding.cells}
    ended: Counter[str] = Counter()
    for seed in range(COUNT):
        draw = Random(seed)
        result = tmp_path / "result"
        shutil.copytree(whole, result, copy_function=os.link)  # a file that is damaged is written anew
        hurt = [result / path.relative_to(whole) for path in draw.choices(files, k=draw.choice((1, 1, 1, 2)))]
        how = []
        for path in dict.fromkeys(hurt):
            own = path.read_bytes()
            path.unlink()
            path.write_bytes(own)
            how.append(f"{path.relative_to(result)}: {damage(path, draw)}")
        try:
            ended[_tried(result, hurt[0], expected, seed)] += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {how}") from error
        shutil.rmtree(result)
    print(dict(ended))
    assert ended["left out"] > COUNT / 4
    assert min(ended[how] for how in ("sound", "refused")) > 0


def _tried(result: Path, hurt: Path, expected: dict[str, tuple[int, int]], seed: int) -> str:
    """How each reader takes it. Whatever is neither a result nor a message comes out."""
    if hurt.parent != result and seed % CELL_EVERY == 0:
        _must_end_well("export", str(hurt.parent), "--format", "perfetto", "--output", str(result / "out"))
        _must_end_well("explain", str(hurt.parent))
    said = _must_end_well("explain", str(result))
    try:
        found = read(result)
    except BreakdownError:
        return "refused"
    if seed % REPORT_EVERY == 0:
        write(found)
        page = (result / "report.html").read_text()
        assert page.count("Left out:") == len(found.finding.left_out)
    assert ("\nLeft out\n" in said) == bool(found.finding.left_out)
    return _compared(found, expected)


def _compared(found: Result, expected: dict[str, tuple[int, int]]) -> str:
    """Each cell is shown whole, or a line tells what is missing."""
    finding = found.finding
    shown = {cell.cell_id: cell for cell in finding.cells}
    told = len(finding.left_out) + len(finding.failures)
    assert len(shown) + told >= len(expected), (list(shown), finding.left_out, finding.failures)
    for name, (repetitions, steps) in expected.items():
        cell = shown.get(name)
        if cell is not None and (cell.repetitions, cell.steps) != (repetitions, steps):
            of_cell = [text for text in finding.failures if name in text or cell.label in text]
            assert cell.warnings or of_cell, (name, cell.repetitions, cell.steps)
    return "left out" if finding.left_out else "sound"


def _must_end_well(*arguments: str) -> str:
    """Runs a command; it may refuse with a message, and nothing else may come out of it."""
    done = CliRunner().invoke(cli, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in (0, 1, 2)
    assert done.exit_code == 0 or done.stderr.startswith("breakdown: ")
    return done.output


def test_whole_files_have_page_checksums(whole: Path) -> None:
    """So that a flipped bit in a table is no other number."""
    path = next(whole.glob("*/steps.parquet"))
    content = bytearray(path.read_bytes())
    column = pq.ParquetFile(path).metadata.row_group(0).column(4)
    content[column.data_page_offset + column.total_compressed_size - 1] ^= 1  # the last byte of its only page
    damaged = path.with_name("damaged.parquet")
    damaged.write_bytes(content)
    with pytest.raises(BreakdownError, match="cannot read"):
        arrow.read(damaged, "steps")
    damaged.unlink()
