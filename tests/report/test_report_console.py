"""What the console shows: every number of the finding, legible at 100 columns and in a file."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import sample
from rich.console import Console

from breakdown.analysis import wording as fmt
from breakdown.analysis.findings import ExperimentFinding
from breakdown.model.stages import STAGE_LABELS
from breakdown.report.console import print_comparison, print_finding


def printed(show: Callable[[Console], None], width: int | None = None, terminal: bool = False) -> str:
    out = io.StringIO()
    show(Console(file=out, width=width, force_terminal=terminal, color_system=None, legacy_windows=False))
    return out.getvalue()


def lines_of(text: str, start: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip().startswith(start)]


@pytest.fixture
def text() -> str:
    return printed(lambda console: print_finding(sample.experiment(), console))


def test_speed_stands_in_one_line_a_configuration(text: str) -> None:
    line = " ".join(lines_of(text, "torch_ps 1s2w bsp")[0].split())
    assert line == "torch_ps 1s2w bsp 1,763 [1,748, 1,802] 0.87× [0.85, 0.89] 43.7 % 0.50×"
    single = " ".join(lines_of(text, "single, whole machine")[0].split())
    assert single == "single, whole machine 3,555 [3,541, 3,581] 1.76× [1.74, 1.78] – 1.00×"


def test_stages_stand_in_ms_and_percent(text: str) -> None:
    rows = [" ".join(row.split()) for row in text.splitlines()]
    at = rows.index("torch_ps 1s2w bsp 73.26 0.22 36.77 4.91 4.02 14.30 7.42 5.23 0.39")
    assert rows[at + 1] == "ms 0.3 % 50.2 % 6.7 % 5.5 % 19.5 % 10.1 % 7.1 % 0.5 %"


def test_verdict_comes_last_with_its_evidence(text: str) -> None:
    tail = " ".join(text[text.index("Two workers train") :].split())
    verdict = sample.experiment().verdict
    assert tail == " • ".join([verdict.sentence, *verdict.evidence])


def test_cost_failures_and_warnings_are_told(text: str) -> None:
    flat = " ".join(text.split())
    assert "COST, the fewest workers that beat the single node • torch_ps 1 server, bsp: none up to 2 workers" in flat
    for told in (
        *sample.experiment().failures,
        *sample.TWO.warnings,
        f"torch_ps 1s2w bsp: {sample.TWO.notes[0]}",
        *sample.experiment().verdict.others,
    ):
        assert told in flat


def test_the_gap_is_told_bar_by_bar(text: str) -> None:
    flat = " ".join(text.split())
    assert "single, 1 core → torch_ps 1s2w bsp: 31.73 → 73.26 ms a step, +41.52 ms" in flat
    assert "aggregate +14.30 ms [+13.69, +14.91] pull +7.42 ms" in flat


@pytest.mark.parametrize("found", [sample.experiment(), sample.bare(), sample.many(12)], ids=["usual", "bare", "many"])
def test_a_file_gets_100_columns_without_colour(found: ExperimentFinding) -> None:
    text = printed(lambda console: print_finding(found, console))
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text, "nothing is cut"
    for cell in found.cells:
        assert fmt.rate(cell.samples_per_s) in text
        assert fmt.ms(cell.step_ns) in text


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_stage_vanishes_on_any_terminal(width: int) -> None:
    text = printed(lambda console: print_finding(sample.experiment(), console), width, terminal=True)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= min(width, 100)
    for stage in sample.TWO.stages:
        assert stage.stage.label in text
        assert f" {fmt.ms(stage.exposed_ns)} " in text + " "


def test_what_was_not_measured_is_a_dash_and_measured_zero_is_zero() -> None:
    text = printed(lambda console: print_finding(sample.bare(), console))
    assert " ".join(lines_of(text, "single, 1 core")[0].split()) == "single, 1 core 2,019 [–] – – –"
    assert " ".join(lines_of(text, "single, 1 core")[1].split()) == "single, 1 core 31.73 0.21 31.48 0 0 0 0 0 0.04"


def test_markup_in_names_is_shown_as_it_is() -> None:
    from dataclasses import replace

    odd = replace(sample.experiment(), name="[bold]x[/] :smile:")
    assert printed(lambda console: print_finding(odd, console)).startswith("[bold]x[/] :smile:\n")


def test_the_console_keeps_its_width() -> None:
    console = Console(file=io.StringIO(), width=63)
    print_finding(sample.experiment(), console)
    assert console.width == 63


def test_comparison_lists_what_changed_and_every_stage() -> None:
    text = printed(lambda console: print_comparison(sample.comparison(), console))
    flat = " ".join(text.split())
    assert "• workers: 2 → 1" in flat
    assert "• workload options: hidden 512 → none" in flat
    assert "step 73.26 49.17 −24.09 [−24.49, −23.69]" in flat
    assert "samples/s: 1,763 → 1,301, ratio 0.74× [0.72, 0.76]" in flat
    for label in STAGE_LABELS:
        assert len(lines_of(text, label)) == 1
