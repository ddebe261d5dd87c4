"""Figure of gains over labelled cases, with simultaneous bands and crossing points."""

import textwrap

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from dimlift.report.summary_types import Summary
from dimlift.report.svg import INK, figure_style, hide_ticks, series_style, to_svg

MAX_DRAWN = 4
"""Arms whose bands can be distinguished: those with the largest mean gain."""


def crossing_figure(summary: Summary) -> Markup | None:
    """Draw the figure; None without an estimate."""
    known = [(title, found) for title, found in summary.crossings if found.band]
    known = sorted(known, key=lambda each: -float(np.mean(each[1].gains)))[:MAX_DRAWN]
    if not known:
        return None
    with figure_style("crossing"):
        figure = Figure(figsize=(7.2, 3.6))
        axes = figure.add_subplot()
        axes.axhline(0, color=INK, linewidth=1)
        for index, (title, found) in enumerate(known):
            style = series_style(index)
            low, high = np.transpose(found.band)
            axes.fill_between(found.cases, low, high, color=str(style["color"]), alpha=0.16, linewidth=0)
            label = textwrap.shorten(title, 40, placeholder="…")
            axes.plot(found.cases, found.gains, marker="o", label=label, **style)  # type: ignore[arg-type]
            if found.crossing is not None and found.low is not None:
                ends = [found.low, found.cases[-1] if found.high is None else found.high]
                axes.plot(ends, [0, 0], color=str(style["color"]), linewidth=5, alpha=0.6, solid_capstyle="butt")
                axes.plot([found.crossing], [0], marker="d", markersize=8, color=str(style["color"]))
        ticks = sorted({count for _, found in known for count in found.cases})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("labelled training cases")
        axes.set_ylabel(f"gain in {summary.measure.title}")
        hide_ticks(axes)
        handles, labels = axes.get_legend_handles_labels()
        figure.tight_layout()
        figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=min(2, len(labels)))
        return to_svg(figure, f"Gain in {summary.measure.title} over the number of labelled cases")
