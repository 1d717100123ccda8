"""A figure's SVG made fit for the page: ids that do not clash, text in the page's colours, a text for screen readers."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

from breakdown.report.palette import ACCENT, BASELINE, GRID, INK, MUTED, PAPER

# what a figure calls ink, the page calls --ink: so a figure follows light and dark, and its stage colours stay as they are
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    BASELINE: "var(--baseline)",
    ACCENT: "var(--accent)",
    PAPER: "none",
}


def inline(text: str, name: str, description: str) -> Markup:
    """A figure's SVG file as an `<svg>` element. `name` must be unique on the page; `description` says what is seen."""
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)  # the page's own style says the same
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r'\b(id="|href="#|url\(#)', rf"\1{name}-", text)
    text = text.replace("'DejaVu Sans'", "var(--font)")
    for colour, variable in _VARIABLES.items():
        text = text.replace(f"fill: {colour}", f"fill: {variable}").replace(f"stroke: {colour}", f"stroke: {variable}")
    found = re.match(r"<svg[^>]*viewBox=\"0 0 ([\d.]+) [\d.]+\"[^>]*>", text)
    assert found, "matplotlib writes a viewBox that starts at the origin"
    box = re.search(r'viewBox="[^"]*"', found.group())
    assert box
    opening = f'<svg {box.group()} role="img" aria-label="{escape(description)}" style="--natural: {found.group(1)}px">'
    return Markup(opening + text[found.end() :])  # made by matplotlib, which escapes all text
