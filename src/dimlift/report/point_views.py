"""Three clouds as pictures: the truth, and what each arm made of their points."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure

from dimlift.data.datasets.point_cloud_index import read_place
from dimlift.errors import DimliftError
from dimlift.records.record import Record
from dimlift.records.study import Study
from dimlift.report.case_selection import MOST_PREDICTIONS, ranked_cases, score_of_case, shown_rows, stored_prediction
from dimlift.report.overlays import CaseView, Panel
from dimlift.report.point_page import from_in_front
from dimlift.report.slice_images import colour_of
from dimlift.report.summary_types import Row, Summary

MOST_POINTS = 6000
"""Points drawn of a cloud; more cannot be told apart in a picture of this size."""


def cloud_legend(study: Study) -> list[tuple[str, str]]:
    """Name and CSS colour of every class."""
    names = enumerate(study.dataset.labels, start=1)
    return [(name, "rgb({}, {}, {})".format(*colour_of(place))) for place, name in names]


def cloud_views(folder: Path, study: Study, summary: Summary, records: Sequence[Record]) -> list[CaseView]:
    """The best, the median and the worst cloud of the reference (of the first arm with results, if it has none)."""
    chosen = [(case, rank) for case, rank in ranked_cases(study, summary, records) if rank]
    return [_view(folder, study, summary, records, case, rank) for case, rank in chosen]


def _view(folder: Path, study: Study, summary: Summary, records: Sequence[Record], case: str, rank: str) -> CaseView:
    try:
        cloud = read_place(folder / study.cases[case].image)
    except DimliftError as fault:
        return CaseView(case, rank, "", (Panel("truth", "", reason=str(fault)),))
    if cloud.labels is None:
        return CaseView(case, rank, "", (Panel("truth", "", reason="the cloud has no labels any more"),))
    count = len(cloud.points)
    rows = np.random.default_rng(0).permutation(count)[:MOST_POINTS]
    upright = (study.clouds or {}).get("upright", "z")
    points, truth = _standing(cloud.points[rows], upright), _colours(cloud.labels[rows], study)
    everything = np.ones(len(rows), bool)
    panels = [Panel("Truth", f"{case}: truth", _picture(points, truth, everything))]
    for row in shown_rows(summary)[:MOST_PREDICTIONS]:
        panels.append(_prediction(folder, study, records, row, case, summary, points, cloud.labels, rows))
    return CaseView(
        case, rank, f"{count} points" + (f", {len(rows)} drawn" if len(rows) < count else ""), tuple(panels)
    )


def _prediction(
    folder: Path,
    study: Study,
    records: Sequence[Record],
    row: Row,
    case: str,
    summary: Summary,
    points: Float[np.ndarray, "drawn 3"],
    truth: Int[np.ndarray, " points"],
    rows: Int[np.ndarray, " drawn"],
) -> Panel:
    """The prediction of the arm's first seed that has one; points that are wrong stand out."""
    found = stored_prediction(folder, records, row, case, ".npz")
    if found is None:
        return Panel(row.title, "", reason="no prediction of this cloud is stored")
    path, record = found
    try:
        with np.load(path, allow_pickle=False) as stored:
            labels = stored["labels"]
    except (OSError, ValueError, KeyError) as fault:
        return Panel(row.title, "", reason=f"{path.name} cannot be read: {fault}")
    if labels.shape != truth.shape:
        return Panel(row.title, "", reason="the prediction has another number of points than the cloud")
    score = score_of_case(summary, record, case)
    picture = _picture(points, _colours(labels[rows], study), labels[rows] != truth[rows])
    return Panel(f"{row.title} · {score}", f"{case}: prediction of {row.title}, {score}", picture)


def _standing(points: Float[np.ndarray, "points 3"], upright: str) -> Float[np.ndarray, "points 3"]:
    """Coordinates turned so that the second one points up."""
    order = {"x": (1, 0, 2), "y": (0, 1, 2), "z": (0, 2, 1)}[upright]
    return points[:, order] - points[:, order].mean(0)


def _colours(labels: Int[np.ndarray, " points"], study: Study) -> Float[np.ndarray, "points 3"]:
    """Of the legend; points of no class are grey."""
    found = np.full((len(labels), 3), 0.75)
    for place, value in enumerate(study.dataset.labels.values(), start=1):
        found[labels == value] = np.array(colour_of(place)) / 255
    return found


def _picture(
    points: Float[np.ndarray, "points 3"], colours: Float[np.ndarray, "points 3"], strong: Bool[np.ndarray, " points"]
) -> str:
    """A PNG inside a data address."""
    across, up, away = from_in_front(points)
    figure = Figure(figsize=(3.4, 2.6))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    order = np.argsort(-away)
    shades = np.where(strong[:, None], colours, 0.35 * colours + 0.65)
    size = float(np.clip(9000 / len(points), 1.5, 12))
    axes.scatter(across[order], up[order], c=shades[order], s=size, linewidths=0)
    axes.set_aspect("equal")
    axes.set_axis_off()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": "dimlift"})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
