"""The colours can be told apart and read."""

from __future__ import annotations

from itertools import combinations

import pytest

from breakdown.model.stages import STAGES, Stage
from breakdown.report.palette import INK, MUTED, PAPER, STAGE_COLOURS

# Machado, Oliveira and Fernandes 2009, full severity, on linear RGB
VISION = {
    "usual": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881)),
}


def linear(colour: str) -> tuple[float, ...]:
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return tuple(c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)


def luminance(colour: str) -> float:
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


def contrast(a: str, b: str) -> float:
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def lab(rgb: tuple[float, ...]) -> tuple[float, float, float]:
    """CIE L*a*b* under D65."""
    to_xyz = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    xyz = [sum(w * c for w, c in zip(row, rgb, strict=True)) for row in to_xyz]
    x, y, z = (
        v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116
        for v in (max(n, 0) / white for n, white in zip(xyz, (0.9505, 1.0, 1.089), strict=True))
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.label)
def test_text_on_a_stage_is_legible(stage: Stage) -> None:
    assert contrast(STAGE_COLOURS[stage].fill, STAGE_COLOURS[stage].ink) >= 4.5


def test_text_on_paper_is_legible() -> None:
    assert contrast(INK, PAPER) >= 7
    assert contrast(MUTED, PAPER) >= 4.5


@pytest.mark.parametrize("vision", VISION)
def test_any_two_stages_differ_for_every_eye(vision: str) -> None:
    seen = {
        stage: lab(tuple(sum(w * c for w, c in zip(row, linear(look.fill), strict=True)) for row in VISION[vision]))
        for stage, look in STAGE_COLOURS.items()
    }
    for a, b in combinations(STAGES, 2):
        distance = sum((p - q) ** 2 for p, q in zip(seen[a], seen[b], strict=True)) ** 0.5
        assert distance > 10, (a, b, distance)  # about 2 can just be told apart side by side


def test_each_stage_has_a_hatch_of_its_own() -> None:
    hatches = [look.hatch for look in STAGE_COLOURS.values()]
    assert len(set(hatches)) == len(STAGES)
