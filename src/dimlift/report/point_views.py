"""Point clouds as images, seen from the front and above."""

import base64
import io
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.figure import Figure

from dimlift.data.datasets.point_cloud_index import load_entry
from dimlift.data.io.point_cloud import PointCloud
from dimlift.errors import DataError
from dimlift.records.study import Study
from dimlift.report.case_views import CaseDrawing, CaseRenderer
from dimlift.report.slice_images import label_colour

MAX_POINTS = 6000
"""Points drawn of one point cloud; more are indistinguishable at this size."""

AZIMUTH, ELEVATION = np.deg2rad(35), np.deg2rad(20)


class PointCloudRenderer(CaseRenderer):
    """Draws points in the colours of their classes."""

    suffix = ".npz"
    note = (
        "Point clouds seen from the front and above. On predictions, those of the first seed, points with the right "
        "class are pale."
    )

    def legend(self, study: Study) -> list[tuple[str, str]]:
        """Return name and CSS colour of every class."""
        names = enumerate(study.dataset.labels, start=1)
        return [(name, "rgb({}, {}, {})".format(*label_colour(index))) for index, name in names]

    def open(self, folder: Path, study: Study, case: str) -> "PointCloudDrawing":
        """Read a point cloud with the labels of its points."""
        cloud = load_entry(folder / study.cases[case].image, study.columns)
        if cloud.labels is None:
            raise DataError("the point cloud has no labels")
        return PointCloudDrawing(cloud, cloud.labels, study)


class PointCloudDrawing(CaseDrawing):
    """A random part of the points of one point cloud."""

    def __init__(self, cloud: PointCloud, truth: Int[np.ndarray, " points"], study: Study) -> None:
        count = len(cloud.points)
        self._rows = np.random.default_rng(0).permutation(count)[:MAX_POINTS]
        self._points, self._truth, self._study = _upright(cloud.points[self._rows], study.up_axis), truth, study
        self.where = f"{count} points" + (f", {len(self._rows)} drawn" if len(self._rows) < count else "")

    def images(self) -> list[tuple[str, str]]:
        """Return the truth."""
        return [("Truth", self._draw(self._truth, np.ones(len(self._rows), bool)))]

    def prediction(self, path: Path) -> str:
        """Draw predicted labels; points with the wrong class stand out."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                labels = stored["labels"]
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path.name} cannot be read: {error}") from error
        if labels.shape != self._truth.shape:
            raise DataError("the prediction has another number of points than the point cloud")
        return self._draw(labels, labels[self._rows] != self._truth[self._rows])

    def _draw(self, labels: Int[np.ndarray, " points"], strong: Bool[np.ndarray, " drawn"]) -> str:
        """Return a PNG as data URL."""
        colours = self._colours(labels[self._rows])
        across, up, away = project_oblique(self._points)
        figure = Figure(figsize=(3.4, 2.6))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        order = np.argsort(-away)
        shades = np.where(strong[:, None], colours, 0.35 * colours + 0.65)
        size = float(np.clip(9000 / len(order), 1.5, 12))
        axes.scatter(across[order], up[order], c=shades[order], s=size, linewidths=0)
        axes.set_aspect("equal")
        axes.set_axis_off()
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=90, metadata={"Software": "dimlift"})
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()

    def _colours(self, labels: Int[np.ndarray, " points"]) -> Float[np.ndarray, "points 3"]:
        """Return the colours of the legend; points without class are grey."""
        found = np.full((len(labels), 3), 0.75)
        for index, value in enumerate(self._study.dataset.labels.values(), start=1):
            found[labels == value] = np.array(label_colour(index)) / 255
        return found


def _upright(points: Float[np.ndarray, "points 3"], up_axis: str) -> Float[np.ndarray, "points 3"]:
    """Return centred coordinates with the second axis pointing up."""
    order = {"x": (1, 0, 2), "y": (0, 1, 2), "z": (0, 2, 1)}[up_axis]
    return points[:, order] - points[:, order].mean(0)


def project_oblique(
    points: Float[np.ndarray, "*clouds 3"],
) -> tuple[Float[np.ndarray, "*clouds"], Float[np.ndarray, "*clouds"], Float[np.ndarray, "*clouds"]]:
    """Return right, up and distance of points whose second coordinate points up, seen from the front and above."""
    x, y, z = np.moveaxis(points, -1, 0)
    across, away = np.cos(AZIMUTH) * x + np.sin(AZIMUTH) * z, np.cos(AZIMUTH) * z - np.sin(AZIMUTH) * x
    return across, np.cos(ELEVATION) * y + np.sin(ELEVATION) * away, np.cos(ELEVATION) * away - np.sin(ELEVATION) * y
