"""Every arm on every case at one glance: a coloured square for the difference to the reference."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib.image
import numpy as np
from markupsafe import Markup, escape

from dimlift.records.record import Record
from dimlift.report.paired_differences import Key, pair, scores_of
from dimlift.report.summary_types import Summary

BETTER, WORSE = (38, 102, 214), (216, 96, 0)
"""Blue and orange, which everybody can tell apart; the paper shows through where a difference is small."""

LINE, NAMES, COLUMN = 17, 230, 17
"""Height of a row, room for an arm's name, smallest width of a column, in units of the drawing."""


@dataclass(frozen=True)
class Heatmap:
    """The drawing, and what it was made from.

    Attributes:
        arms, cases: titles of the rows from the best to the worst, names of the columns from hard to easy.
        differences: one row for each arm; None where an arm has no score of a case.
        full: the difference drawn in full colour.
    """

    drawing: Markup
    arms: list[str]
    cases: list[str]
    differences: list[list[float | None]]
    full: float


def heatmap(summary: Summary, records: Sequence[Record]) -> Heatmap | None:
    """Differences to the reference at the largest label fraction, mean over seeds, folds and classes.

    None where there are fewer than two cases or nothing to compare.
    """
    fraction = max(row.fraction for row in summary.rows)
    rows = [row for row in summary.rows if row.fraction == fraction and row.comparison]
    rows.sort(key=lambda row: -summary.measure.better * (row.comparison.estimate.mean if row.comparison else 0))
    own = {row.arm: [r for r in records if (r.arm, r.fraction) == (row.arm, fraction)] for row in summary.rows}
    reference = scores_of(own[summary.reference], summary.measure.name)
    hard_first = _by_difficulty(records, fraction, reference, summary)
    if not rows or len(hard_first) < 2:
        return None
    place = {case: index for index, case in enumerate(hard_first)}
    names = sorted(place)
    table = np.full((len(rows), len(hard_first)), np.nan)
    for line, row in enumerate(rows):
        scores = scores_of(own[row.arm], summary.measure.name)
        found = pair(_of(scores, place), _of(reference, place), {name: name for name in names})
        met = sorted({key[3] for key in scores.keys() & reference.keys() if None not in (scores[key], reference[key])})
        for index, case in enumerate(met):
            table[line, place[case]] = found.differences[found.cases == index].mean()
    full = float(np.nanpercentile(np.abs(table), 95)) or 1e-9
    values = [[None if np.isnan(value) else round(float(value), 4) for value in line] for line in table]
    titles = [row.title for row in rows]
    return Heatmap(_drawn(table * summary.measure.better / full, titles, summary), titles, hard_first, values, full)


def _of(scores: Mapping[Key, float | None], cases: Mapping[str, int]) -> dict[Key, float | None]:
    return {key: value for key, value in scores.items() if key[3] in cases}


def _by_difficulty(
    records: Sequence[Record], fraction: float, reference: Mapping[Key, float | None], summary: Summary
) -> list[str]:
    """The reference's cases by the mean score of all arms: by its own, its luck would look like a pattern."""
    cases = {key[3] for key, value in reference.items() if value is not None}
    found: dict[str, list[float]] = {case: [] for case in cases}
    for record in records:
        if record.fraction == fraction and record.status == "finished":
            for score in record.scores:
                if score.metric == summary.measure.name and score.value is not None and score.case in found:
                    found[score.case].append(score.value)
    return sorted(cases, key=lambda case: (summary.measure.better * sum(found[case]) / len(found[case]), case))


def _drawn(shares: np.ndarray, titles: Sequence[str], summary: Summary) -> Markup:
    """`shares` of the full colour, above zero for better; (arms, cases)."""
    strength = np.nan_to_num(np.clip(np.abs(shares), 0, 1))
    pixels = np.zeros((*shares.shape, 4), np.uint8)
    pixels[..., :3] = np.where(shares[..., None] > 0, BETTER, WORSE)
    pixels[..., 3] = (255 * strength).round()
    buffer = io.BytesIO()
    matplotlib.image.imsave(buffer, pixels, format="png", metadata={"Software": "dimlift"})
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    arms, cases = shares.shape
    width = max(COLUMN * cases, 720 - NAMES)
    height = LINE * arms
    names = "".join(
        f'<text x="{NAMES - 8}" y="{LINE * (line + 0.72):.1f}" text-anchor="end" fill="var(--ink)">'
        f"{escape(title if len(title) <= 36 else title[:35] + '…')}</text>"
        for line, title in enumerate(titles)
    )
    words = f"Difference in {summary.measure.title} of {arms} arms on {cases} cases, from hard cases to easy ones"
    return Markup(
        f'<svg viewBox="0 0 {NAMES + width} {height + 20}" style="max-width:{NAMES + width}px" role="img" '
        f'font-size="12" font-family="sans-serif"><title>{escape(words)}</title>{names}'
        f'<image class="squares" x="{NAMES}" y="0" width="{width}" height="{height}" preserveAspectRatio="none" '
        f'style="image-rendering:pixelated" href="{source}"/>'
        f'<rect x="{NAMES}" y="0" width="{width}" height="{height}" fill="none" stroke="var(--grid)"/>'
        f'<text x="{NAMES}" y="{height + 15}" fill="var(--muted)">hard cases</text>'
        f'<text x="{NAMES + width}" y="{height + 15}" text-anchor="end" fill="var(--muted)">easy cases</text></svg>'
    )
