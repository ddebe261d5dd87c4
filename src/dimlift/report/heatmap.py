"""Every arm on every case in one figure: a coloured square for the difference to the reference."""

import base64
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import matplotlib.image
import numpy as np
from markupsafe import Markup, escape

from dimlift.records.record import RunRecord
from dimlift.records.train_size import TrainSize
from dimlift.report.paired_differences import Scores, collect_scores, paired_differences
from dimlift.report.summary_types import Summary

BETTER, WORSE = (38, 102, 214), (216, 96, 0)
"""Blue and orange, distinguishable with colour vision deficiency; small differences are transparent."""

ROW_HEIGHT, NAME_WIDTH, MIN_COLUMN_WIDTH, MIN_WIDTH = 17, 230, 17, 720
"""Height of a row, space for an arm's name, smallest width of a column and of the figure, in units of the drawing."""

MAX_TITLE_CHARS = 36


@dataclass(frozen=True)
class Heatmap:
    """The drawing and its data.

    Attributes:
        arms, cases: titles of the rows from the best to the worst, names of the columns from hard to easy.
        differences: one row per arm; None if an arm has no score for a case.
        full: difference that is drawn in full colour.
    """

    drawing: Markup
    arms: list[str]
    cases: list[str]
    differences: list[list[float | None]]
    full: float


def draw_heatmap(summary: Summary, records: Sequence[RunRecord]) -> Heatmap | None:
    """Draw differences to the reference at the largest training size, averaged over seeds, cv folds and classes.

    None if there are fewer than two cases, or no comparison.
    """
    size, measure = summary.largest_size, summary.measure
    rows = [row for row in summary.rows if row.train_size == size and row.comparison]
    rows.sort(key=lambda row: -measure.better * (row.comparison.estimate.mean if row.comparison else 0))
    records_of = {row.arm: [r for r in records if (r.arm, r.train_size) == (row.arm, size)] for row in summary.rows}
    reference = collect_scores(records_of[summary.reference], measure.name)
    cases = _cases_by_difficulty(records, size, reference, summary)
    if not rows or len(cases) < 2:
        return None
    column = {case: index for index, case in enumerate(cases)}
    names = {case: case for case in cases}
    table = np.full((len(rows), len(cases)), np.nan)
    for line, row in enumerate(rows):
        scores = collect_scores(records_of[row.arm], measure.name)
        pairs = paired_differences(_select(scores, column), _select(reference, column), names)
        paired = {key.case for key in scores.keys() & reference.keys() if None not in (scores[key], reference[key])}
        for index, case in enumerate(sorted(paired)):
            table[line, column[case]] = pairs.differences[pairs.cases == index].mean()
    full = float(np.nanpercentile(np.abs(table), 95)) or 1e-9
    values = [[None if np.isnan(value) else round(float(value), 4) for value in line] for line in table]
    titles = [row.title for row in rows]
    return Heatmap(_draw(table * measure.better / full, titles, summary), titles, cases, values, full)


def _select(scores: Scores, cases: Collection[str]) -> Scores:
    return {key: value for key, value in scores.items() if key.case in cases}


def _cases_by_difficulty(
    records: Sequence[RunRecord], size: TrainSize, reference: Scores, summary: Summary
) -> list[str]:
    """Sort the cases of the reference by the mean score of all arms; its own noise would form a pattern."""
    cases = {key.case for key, value in reference.items() if value is not None}
    scores: dict[str, list[float]] = {case: [] for case in cases}
    for record in records:
        if record.train_size == size and record.status == "finished":
            for score in record.scores:
                if score.metric == summary.measure.name and score.value is not None and score.case in scores:
                    scores[score.case].append(score.value)
    return sorted(cases, key=lambda case: (summary.measure.better * sum(scores[case]) / len(scores[case]), case))


def _draw(strength: np.ndarray, titles: Sequence[str], summary: Summary) -> Markup:
    """Draw the squares.

    Args:
        strength: (arms, cases) differences relative to the full colour, positive for better.
    """
    pixels = np.zeros((*strength.shape, 4), np.uint8)
    pixels[..., :3] = np.where(strength[..., None] > 0, BETTER, WORSE)
    pixels[..., 3] = (255 * np.nan_to_num(np.clip(np.abs(strength), 0, 1))).round()
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, pixels, format="png", metadata={"Software": "dimlift"})
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    arms, cases = strength.shape
    width = max(MIN_COLUMN_WIDTH * cases, MIN_WIDTH - NAME_WIDTH)
    height = ROW_HEIGHT * arms
    names = "".join(
        f'<text x="{NAME_WIDTH - 8}" y="{ROW_HEIGHT * (line + 0.72):.1f}" text-anchor="end" fill="var(--ink)">'
        f"{escape(title if len(title) <= MAX_TITLE_CHARS else title[: MAX_TITLE_CHARS - 1] + '…')}</text>"
        for line, title in enumerate(titles)
    )
    description = f"Difference in {summary.measure.title} of {arms} arms on {cases} cases, from hard cases to easy ones"
    return Markup(
        f'<svg viewBox="0 0 {NAME_WIDTH + width} {height + 20}" style="max-width:{NAME_WIDTH + width}px" role="img" '
        f'font-size="12" font-family="sans-serif"><title>{escape(description)}</title>{names}'
        f'<image class="squares" x="{NAME_WIDTH}" y="0" width="{width}" height="{height}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="{source}"/>'
        f'<rect x="{NAME_WIDTH}" y="0" width="{width}" height="{height}" fill="none" stroke="var(--grid)"/>'
        f'<text x="{NAME_WIDTH}" y="{height + 15}" fill="var(--subtle)">hard cases</text>'
        f'<text x="{NAME_WIDTH + width}" y="{height + 15}" text-anchor="end" fill="var(--subtle)">easy cases</text>'
        "</svg>"
    )
