"""Scores over the number of labelled cases: one line per arm, with intervals."""

import textwrap
from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.figure import Figure

from dimlift.records.train_size import TrainSize
from dimlift.report.summary_types import Summary, SummaryRow
from dimlift.report.svg import figure_style, hide_ticks, series_style, to_svg

MAX_ARMS = 8
"""Lines that can be distinguished: the reference and the arms with the best scores."""


def label_curves(summary: Summary) -> Markup | None:
    """Draw the figure; None if fewer than two training sizes have results, or the sizes cannot be put on one axis."""
    known = [row for row in summary.rows if row.mean is not None]
    cases = {row.train_size: _num_cases(row.train_size, known) for row in known}
    counts = all(cases.values())
    x_of = {size: number if counts else size.fraction for size, number in cases.items()}
    if len(x_of) < 2 or not all(x_of.values()):
        return None
    arms = select_arms(summary, MAX_ARMS)
    with figure_style("label_curves"):
        figure = Figure(figsize=(7.2, 3.8))
        axes = figure.add_subplot()
        for index, arm in enumerate(arms):
            own = [row for row in known if row.arm == arm]
            # small horizontal offsets, so that the intervals of different arms do not overlap
            offset = 1.02 ** (index - (len(arms) - 1) / 2)
            positions = [(x_of[row.train_size] or 0.0) * offset for row in own]
            style = series_style(index)
            label = textwrap.shorten(own[0].title, 40, placeholder="…") if own else None
            axes.plot(positions, [row.mean for row in own], marker="o", label=label, **style)  # type: ignore[arg-type]
            for x, row in zip(positions, own, strict=True):
                interval = row.own_interval
                if interval and interval.low is not None and interval.high is not None:
                    axes.plot([x, x], [interval.low, interval.high], color=style["color"], linewidth=1.2)
        ticks = sorted({x for x in x_of.values() if x})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("labelled training cases" if counts else "fraction of the labels")
        axes.set_ylabel(summary.measure.title)
        hide_ticks(axes)
        handles, labels = axes.get_legend_handles_labels()
        figure.tight_layout()
        figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=min(3, len(labels)))
        title = f"Mean {summary.measure.title} of {len(arms)} arms over {len(ticks)} numbers of labelled cases"
        return to_svg(figure, title)


def select_arms(summary: Summary, limit: int) -> list[str]:
    """Return at most `limit` arms in the order of the study: the reference and those with the best mean difference."""
    names = list(dict.fromkeys(row.arm for row in summary.rows))
    if len(names) <= limit:
        return names
    gain = {name: _mean_gain([row for row in summary.rows if row.arm == name], summary) for name in names}
    kept = sorted(names, key=lambda name: (name != summary.reference, -gain[name]))[:limit]
    return [name for name in names if name in kept]


def _mean_gain(rows: Sequence[SummaryRow], summary: Summary) -> float:
    gains = [row.comparison.estimate.mean * summary.measure.better for row in rows if row.comparison]
    return sum(gains) / len(gains) if gains else float("-inf")


def _num_cases(size: TrainSize, rows: Sequence[SummaryRow]) -> float | None:
    """Return the mean number of training cases at a training size, if it is known."""
    numbers = [row.training_cases for row in rows if row.train_size == size and row.training_cases]
    return sum(numbers) / len(numbers) if numbers else size.count
