# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Why is it slower?
#
# Two workers and a parameter server have twice the compute of one node. This notebook reads what `make quickstart` saved in
# `results/quickstart` and walks from the answer to its evidence. It holds no logic: every cell only calls the package, so
# the same calls work in your own scripts.

# %%
from pathlib import Path

from IPython.display import SVG
from rich.console import Console

from breakdown.analysis.summary import frame
from breakdown.cli.results import read, timelines
from breakdown.report.console import print_finding
from breakdown.report.figures.heatmap import heat_map
from breakdown.report.figures.rates import rates
from breakdown.report.figures.servers import server_load
from breakdown.report.figures.stages import stages
from breakdown.report.figures.timeline import timeline
from breakdown.report.figures.waterfall import waterfall
from breakdown.report.plots import svg

result = read(Path("../results/quickstart"))
finding = result.finding

# %% [markdown]
# ## The answer
#
# Samples per second with 95 % intervals, speedup, efficiency and COST; then the stages of the mean step. The stages of a row
# add up to its step exactly. The verdict stands last.

# %%
print_finding(finding, Console(width=100, force_jupyter=False))

# %% [markdown]
# ## Training speed
#
# Each point is one repetition. The single node is measured twice: with one worker's cores, and with the whole machine.

# %%
SVG(svg(rates(finding.cells)))

# %% [markdown]
# ## From the single node's step to the distributed one
#
# Both steps process the same batch a worker. Each bar is the change of one stage's exposed time; together they are the gap.

# %%
SVG(svg(waterfall(finding.waterfalls[0])))

# %% [markdown]
# ## Where a step's time goes

# %%
SVG(svg(stages(finding.cells)))

# %% [markdown]
# ## What happens in a step
#
# All threads of all roles on one page. Arrows are messages. The black line is the critical path: the one chain of work that
# the step had to wait for.

# %%
pages = timelines(result)
SVG(svg(timeline(pages.pop())))

# %% [markdown]
# ## Which parameters cost most, and what the server does

# %%
distributed = finding.cells[2]
SVG(svg(heat_map(distributed)))

# %%
SVG(svg(server_load(distributed)))

# %% [markdown]
# ## The same as a table
#
# One row a configuration and stage, ready for your own questions. It is saved as `results/quickstart/summary.parquet` too.

# %%
frame(finding)
