"""A flame graph of one process, from what py-spy saw: what its threads did while they were awake."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from breakdown.analysis import wording as fmt
from breakdown.analysis.sampling.findings import RoleSamples
from breakdown.report import flames
from breakdown.report.figures import canvas
from breakdown.report.palette import GRID, INK, MUTED, PAPER, STAGE_COLOURS

ROW = 0.2  # inches
TEXT = 6.5


def flame_graph(label: str, role: RoleSamples) -> Figure:
    """Callers stand above what they call. Where all threads slept all the time, a line that says so."""
    graph = flames.lay_out(role)
    stages = sorted({box.stage for box in graph.boxes if box.stage is not None})
    rows = round(graph.height / flames.ROW)
    with canvas.style():
        height = ROW * rows + 1.15
        figure = canvas.new_figure(height)
        title = f"{role.node} of {fmt.shorten(label, 60)}, sampled"
        figure.text(0.012, 1 - 0.12 / height, title, va="top", fontsize=11, fontweight="bold")
        note = f"py-spy, {role.rate_hz} samples a second; width: {fmt.ms_unit(role.awake_ns)} awake of all threads together"
        if not graph.boxes:
            note = f"py-spy, {role.rate_hz} samples a second: every thread slept whenever it was looked at"
        figure.text(0.012, 1 - 0.35 / height, note, va="top", fontsize=8.5, color=MUTED)
        axes = canvas.place(figure, 0.12, 0.45, 0.12, 0.65)
        axes.set_xlim(0, flames.WIDTH)
        axes.set_ylim(rows, 0)
        axes.axis("off")
        inches = (canvas.WIDTH - 0.24) / flames.WIDTH
        for box in graph.boxes:
            y = box.y / flames.ROW
            ink = INK
            if box.stage is None:
                axes.add_patch(Rectangle((box.x, y), box.width, 1, facecolor=GRID, edgecolor=PAPER, linewidth=0.5))
            else:
                ink = STAGE_COLOURS[box.stage].ink
                canvas.box(axes, box.stage, box.x, y, box.width, 1)
            if box.text and canvas.text_width(box.text, TEXT) < box.width * inches - 0.04:
                axes.text(box.x + 4, y + 0.54, box.text, fontsize=TEXT, va="center", color=ink, clip_on=True)
        handles = [*canvas.stage_handles(stages), Rectangle((0, 0), 1, 1, facecolor=GRID, label="several stages")]
        figure.legend(handles=handles, loc="lower left", ncol=len(handles), fontsize=8, bbox_to_anchor=(0.005, 0.0))
    return figure
