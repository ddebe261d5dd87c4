"""Scores over the number of labelled cases: a line for each arm, with intervals."""

import textwrap
from collections.abc import Sequence

from markupsafe import Markup
from matplotlib.figure import Figure

from dimlift.report.summary_types import Row, Summary
from dimlift.report.svg import drawing, plain_axes, series_style, to_svg

MOST_ARMS = 8
"""Lines that can be told apart: the reference and those with the best scores."""


def fraction_curves(summary: Summary) -> Markup | None:
    """The figure, or None where fewer than two label fractions have results."""
    known = [row for row in summary.rows if row.mean is not None]
    if len({row.fraction for row in known}) < 2:
        return None
    arms = chosen_arms(summary, MOST_ARMS)
    counted = all(row.training_cases for row in known)
    with drawing("fractions"):
        figure = Figure(figsize=(7.2, 3.8))
        axes = figure.add_subplot()
        for index, arm in enumerate(arms):
            own = sorted((row for row in known if row.arm == arm), key=_place)
            # beside each other, so that intervals at one fraction do not hide each other
            places = [_place(row) * 1.02 ** (index - (len(arms) - 1) / 2) for row in own]
            style = series_style(index)
            label = textwrap.shorten(own[0].title, 40, placeholder="…") if own else None
            axes.plot(places, [row.mean for row in own], marker="o", label=label, **style)  # type: ignore[arg-type]
            for place, row in zip(places, own, strict=True):
                if row.own and row.own.low is not None and row.own.high is not None:
                    axes.plot([place, place], [row.own.low, row.own.high], color=style["color"], linewidth=1.2)
        ticks = sorted({_place(row) for row in known})
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("labelled training cases" if counted else "share of the labels")
        axes.set_ylabel(summary.measure.title)
        plain_axes(axes)
        handles, labels = axes.get_legend_handles_labels()
        figure.tight_layout()
        figure.legend(handles, labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=min(3, len(labels)))
        words = f"Mean {summary.measure.title} of {len(arms)} arms over {len(ticks)} numbers of labelled cases"
        return to_svg(figure, words)


def chosen_arms(summary: Summary, most: int) -> list[str]:
    """At most `most` arms, in the order of the study: the reference and those with the best mean difference."""
    names = list(dict.fromkeys(row.arm for row in summary.rows))
    if len(names) <= most:
        return names
    worth = {name: _standing([row for row in summary.rows if row.arm == name], summary) for name in names}
    kept = sorted(names, key=lambda name: (name != summary.reference, -worth[name]))[:most]
    return [name for name in names if name in kept]


def _standing(rows: Sequence[Row], summary: Summary) -> float:
    found = [row.comparison.estimate.mean * summary.measure.better for row in rows if row.comparison]
    return sum(found) / len(found) if found else float("-inf")


def _place(row: Row) -> float:
    return row.training_cases or row.fraction
