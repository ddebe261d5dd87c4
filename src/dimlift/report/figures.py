"""The figures of the page: differences with intervals, learning curves."""

import textwrap
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from dimlift.records.record import Record
from dimlift.report.fraction_curves import MOST_ARMS, chosen_arms
from dimlift.report.phrases import interval, signed
from dimlift.report.summary_types import Row, Summary
from dimlift.report.svg import HELPS, HURTS, INK, OPEN, drawing, plain_axes, series_style, to_svg

MOST_ROWS = 30
"""Differences drawn in one figure; of more, the best and the worst."""

_COLOURS = {"helps": HELPS, "hurts": HURTS, "no evidence yet": OPEN}
_MARKERS = {"helps": "^", "hurts": "v", "no evidence yet": "o"}


def forest_plot(summary: Summary) -> Markup | None:
    """A line for each compared arm: mean difference and its interval, zero marked. None if nothing was compared."""
    compared = [row for row in summary.rows if row.comparison]
    if not compared:
        return None
    measure = summary.measure
    rows = _forest_rows(compared, measure.better)
    with drawing("forest"):
        figure = Figure(figsize=(7.6, 0.95 + 0.42 * len(rows)))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.axvline(0, color=INK, linewidth=1)
        for line, row in enumerate(rows):
            if row.comparison is None:
                continue
            found, colour = row.comparison.estimate, _COLOURS[row.comparison.verdict]
            if found.low is not None and found.high is not None:
                dashes = "-" if found.covers == "cases and seeds" else (0, (3, 2))
                axes.plot([found.low, found.high], [line, line], color=colour, linewidth=2.2, linestyle=dashes)
            marker = _MARKERS[row.comparison.verdict]
            axes.plot([found.mean], [line], marker, color=colour, markersize=8)
            text = f"{signed(found.mean, measure.digits)}  [{interval(found, measure.digits)}]"
            axes.text(1.02, line, text, transform=axes.get_yaxis_transform(), va="center")
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [_wrapped(row, summary) for row in rows])
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        worse, better = ("worse", "better") if measure.better > 0 else ("better", "worse")
        axes.set_xlabel(
            f"\N{LEFTWARDS ARROW} {worse}  ·  difference in {measure.title}  ·  {better} \N{RIGHTWARDS ARROW}"
        )
        axes.margins(x=0.08)
        plain_axes(axes)
        reference = next(row.title for row in summary.rows if row.is_reference)
        return to_svg(figure, f"Difference in {measure.title} of {len(rows)} arms against {reference}, with intervals")


def _forest_rows(rows: list[Row], better: int) -> list[Row]:
    """All rows in the order of the study, or of many the best and the worst, from best to worst."""
    if len(rows) <= MOST_ROWS:
        return rows
    ranked = sorted(rows, key=lambda row: -better * row.comparison.estimate.mean if row.comparison else 0.0)
    return [*ranked[: MOST_ROWS // 2], *ranked[-(MOST_ROWS // 2) :]]


def learning_curves(summary: Summary, records: Sequence[Record], over_seconds: bool) -> Markup | None:
    """Training loss, and the validation score where there is one, of every cell; a colour for each arm.

    Args:
        over_seconds: draw against training seconds instead of steps.
    """
    drawn = chosen_arms(summary, MOST_ARMS)
    titles = {row.arm: row.title for row in summary.rows if row.arm in drawn}
    curves = [record for record in records if record.history and record.arm in titles]
    if not curves:
        return None
    against = "seconds" if over_seconds else "steps"
    key = "seconds" if over_seconds else "step"
    validated = sorted({name for r in curves for point in r.history for name in point} - {"step", "seconds", "loss"})
    panels = ["loss", *[name for name in validated if name in {"dice", "accuracy", "absolute_error"}][:1]]
    with drawing("curves"):
        figure = Figure(figsize=(8.4 if len(panels) > 1 else 6.4, 3.3))
        names = list(titles)
        for position, panel in enumerate(panels, start=1):
            axes = figure.add_subplot(1, len(panels), position)
            labelled = set()
            for record in sorted(curves, key=lambda r: names.index(r.arm)):
                points = [p for p in record.history if panel in p and key in p and np.isfinite(p[panel])]
                label = None if record.arm in labelled or not points else titles[record.arm]
                labelled |= {record.arm} if points else set()
                axes.plot(
                    [p[key] for p in points],
                    [p[panel] for p in points],
                    label=textwrap.shorten(label, 40, placeholder="…") if label else None,
                    linewidth=1.5,
                    alpha=0.85,
                    **series_style(names.index(record.arm)),  # type: ignore[arg-type]
                )
            axes.set_title({"loss": "training loss"}.get(panel, f"validation {panel}"), loc="left", fontsize=10)
            axes.set_xlabel(f"training {against}")
            plain_axes(axes)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.tight_layout()
        figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=min(3, len(labels)))
        return to_svg(figure, f"Learning curves of {len(curves)} cells: {' and '.join(panels)} against {against}")


def _wrapped(row: Row, summary: Summary) -> str:
    title = f"{row.title} ({row.fraction:g})" if summary.several_fractions else row.title
    return "\n".join(textwrap.wrap(title, 30)[:2]) or title
