"""Figures of the page: differences with intervals, and training curves."""

import textwrap
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from dimlift.records.record import RunRecord
from dimlift.report.label_curves import MAX_ARMS, select_arms
from dimlift.report.phrases import format_interval, format_signed
from dimlift.report.summary_types import Summary, SummaryRow
from dimlift.report.svg import HELPS, HURTS, INK, OPEN, figure_style, hide_ticks, series_style, to_svg

MAX_ROWS = 30
"""Differences drawn in one figure; if there are more, the best and the worst."""

_COLOURS = {"helps": HELPS, "hurts": HURTS, "no evidence yet": OPEN}
_MARKERS = {"helps": "^", "hurts": "v", "no evidence yet": "o"}


def forest_plot(summary: Summary) -> Markup | None:
    """Draw mean difference and interval of each compared arm; None if there is none."""
    compared = [row for row in summary.rows if row.comparison]
    if not compared:
        return None
    measure = summary.measure
    rows = _forest_rows(compared, measure.better)
    with figure_style("forest"):
        figure = Figure(figsize=(7.6, 0.95 + 0.42 * len(rows)))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.axvline(0, color=INK, linewidth=1)
        for line, row in enumerate(rows):
            if row.comparison is None:
                continue
            estimate, colour = row.comparison.estimate, _COLOURS[row.comparison.verdict]
            if estimate.low is not None and estimate.high is not None:
                dashes = "-" if estimate.covers == "cases and seeds" else (0, (3, 2))
                axes.plot([estimate.low, estimate.high], [line, line], color=colour, linewidth=2.2, linestyle=dashes)
            axes.plot([estimate.mean], [line], _MARKERS[row.comparison.verdict], color=colour, markersize=8)
            mean, interval = format_signed(estimate.mean, measure.digits), format_interval(estimate, measure.digits)
            axes.text(1.02, line, f"{mean}  [{interval}]", transform=axes.get_yaxis_transform(), va="center")
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.set_yticks(range(len(rows)), [_wrapped_title(row, summary) for row in rows])
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        worse, better = ("worse", "better") if measure.better > 0 else ("better", "worse")
        axes.set_xlabel(
            f"\N{LEFTWARDS ARROW} {worse}  ·  difference in {measure.title}  ·  {better} \N{RIGHTWARDS ARROW}"
        )
        axes.margins(x=0.08)
        hide_ticks(axes)
        reference = next(row.title for row in summary.rows if row.is_reference)
        return to_svg(figure, f"Difference in {measure.title} of {len(rows)} arms to {reference}, with intervals")


def _forest_rows(rows: list[SummaryRow], better: int) -> list[SummaryRow]:
    """Return all rows in the order of the study, or the best and the worst of too many, from best to worst."""
    if len(rows) <= MAX_ROWS:
        return rows
    ranked = sorted(rows, key=lambda row: -better * row.comparison.estimate.mean if row.comparison else 0.0)
    return [*ranked[: MAX_ROWS // 2], *ranked[-(MAX_ROWS // 2) :]]


def training_curves(summary: Summary, records: Sequence[RunRecord], over_seconds: bool) -> Markup | None:
    """Draw training loss, and the validation score if there is one, of every run, with one colour per arm.

    Args:
        over_seconds: draw over training seconds instead of steps.
    """
    arms = select_arms(summary, MAX_ARMS)
    titles = {row.arm: row.title for row in summary.rows if row.arm in arms}
    runs = [record for record in records if record.history and record.arm in titles]
    if not runs:
        return None
    unit, key = ("seconds", "seconds") if over_seconds else ("steps", "step")
    validated = sorted({name for r in runs for point in r.history for name in point} - {"step", "seconds", "loss"})
    panels = ["loss", *[name for name in validated if name in {"dice", "accuracy", "absolute_error"}][:1]]
    with figure_style("curves"):
        figure = Figure(figsize=(8.4 if len(panels) > 1 else 6.4, 3.3))
        names = list(titles)
        for position, panel in enumerate(panels, start=1):
            axes = figure.add_subplot(1, len(panels), position)
            labelled = set()
            for record in sorted(runs, key=lambda r: names.index(r.arm)):
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
            axes.set_xlabel(f"training {unit}")
            hide_ticks(axes)
        handles, labels = figure.axes[0].get_legend_handles_labels()
        figure.tight_layout()
        figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=min(3, len(labels)))
        return to_svg(figure, f"Training curves of {len(runs)} runs: {' and '.join(panels)} over {unit}")


def _wrapped_title(row: SummaryRow, summary: Summary) -> str:
    title = f"{row.title} ({row.train_size})" if summary.several_sizes else row.title
    return "\n".join(textwrap.wrap(title, 30)[:2]) or title
