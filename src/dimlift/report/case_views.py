"""Test cases as images: the input, the truth, and the prediction of each arm."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dimlift.errors import DimliftError
from dimlift.records.record import RunRecord
from dimlift.records.study import Study
from dimlift.report.case_selection import MAX_PREDICTIONS, find_prediction, format_case_score, select_cases, select_rows
from dimlift.report.slice_viewer import Viewer
from dimlift.report.summary_types import Summary


@dataclass(frozen=True)
class Panel:
    """One image, or the reason why there is none."""

    caption: str
    alt: str
    source: str = ""
    reason: str = ""


@dataclass(frozen=True)
class CaseView:
    """One case: why it is shown, what part of it, and its images."""

    name: str
    rank: str
    where: str
    panels: tuple[Panel, ...]


class CaseDrawing(ABC):
    """One test case, ready to be drawn.

    Attributes:
        where: part of the case that is drawn.
    """

    where: str

    @abstractmethod
    def images(self) -> list[tuple[str, str]]:
        """Return captions and image sources of the case itself, the truth last."""

    @abstractmethod
    def prediction(self, path: Path) -> str:
        """Return the image source of stored labels. Raises: DimliftError, if they cannot be drawn."""


class CaseRenderer(ABC):
    """Draws the test cases of one modality.

    Attributes:
        suffix: of stored predictions.
        note: sentence for the reader of the images.
    """

    suffix: str
    note: str

    @abstractmethod
    def legend(self, study: Study) -> list[tuple[str, str]]:
        """Return name and CSS colour of every label that is drawn."""

    def viewer(self, folder: Path, study: Study, summary: Summary, records: Sequence[RunRecord]) -> Viewer | None:
        """Return the content of the interactive viewer; None for a modality without one."""
        return None

    @abstractmethod
    def open(self, folder: Path, study: Study, case: str) -> CaseDrawing:
        """Read a test case and its truth. Raises: DimliftError, if they cannot be drawn."""


def case_views(
    renderer: CaseRenderer, folder: Path, study: Study, summary: Summary, records: Sequence[RunRecord]
) -> list[CaseView]:
    """Return the best, the median and the worst case of the reference (or of the first arm with results)."""
    selected = [(case, rank) for case, rank in select_cases(study, summary, records) if rank]
    return [_view(renderer, folder, study, summary, records, case, rank) for case, rank in selected]


def _view(
    renderer: CaseRenderer,
    folder: Path,
    study: Study,
    summary: Summary,
    records: Sequence[RunRecord],
    case: str,
    rank: str,
) -> CaseView:
    try:
        drawing = renderer.open(folder, study, case)
    except DimliftError as error:
        return CaseView(case, rank, "", (Panel("Truth", "", reason=str(error)),))
    part = f"{case}, {drawing.where}" if drawing.where else case
    panels = [Panel(caption, f"{part}: {caption.lower()}", source) for caption, source in drawing.images()]
    for row in select_rows(summary)[:MAX_PREDICTIONS]:
        found = find_prediction(folder, records, row, case, renderer.suffix)
        if found is None:
            panels.append(Panel(row.title, "", reason="no prediction of this case is stored"))
            continue
        path, record = found
        try:
            source = drawing.prediction(path)
        except DimliftError as error:
            panels.append(Panel(row.title, "", reason=str(error)))
            continue
        score = format_case_score(summary, record, case)
        panels.append(Panel(f"{row.title} · {score}", f"{part}: prediction of {row.title}, {score}", source))
    return CaseView(case, rank, drawing.where, tuple(panels))
