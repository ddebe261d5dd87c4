"""Synthetic furniture as point clouds: boxes in the proportions of chairs, tables, beds, shelves and lamps.

Real furniture is harder to classify: results show that a pipeline works and nothing more.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import DataError

SHAPE_CLASSES = ("bed", "chair", "lamp", "shelf", "table")
Boxes = list[tuple[tuple[float, float, float], tuple[float, float, float]]]
"""(low corner, high corner) of each box, y upwards."""


def simulate_shapes(file: Path, per_class: int = 24, num_points: int = 1024, seed: int = 0) -> Path:
    """Write an .npz of point clouds, `per_class` of every class.

    Raises:
        DataError: for fewer than four per class, which cannot be split.
    """
    if per_class < 4:
        raise DataError(f"{per_class} point clouds per class requested; at least 4 are needed for a split")
    clouds = [
        simulate_shape(name, num_points, np.random.default_rng([seed, number, index]))
        for index, name in enumerate(SHAPE_CLASSES)
        for number in range(per_class)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    labels = np.repeat(np.arange(len(SHAPE_CLASSES)), per_class)
    np.savez_compressed(file, points=np.stack(clouds), labels=labels, classes=np.array(SHAPE_CLASSES))
    return file


def simulate_shape(name: str, num_points: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return noisy points on the surface of one shape, rotated about its vertical axis."""
    boxes = _random_boxes(name, rng)
    low, high = (np.array(corners) for corners in zip(*boxes, strict=True))
    size = high - low
    areas = np.stack([size[:, 1] * size[:, 2], size[:, 0] * size[:, 2], size[:, 0] * size[:, 1]], axis=1)
    face = rng.choice(areas.size, num_points, p=(areas / areas.sum()).flatten())
    box, axis = face // 3, face % 3
    position = rng.random((num_points, 3))
    position[np.arange(num_points), axis] = rng.integers(0, 2, num_points)
    points = low[box] + position * size[box] + rng.normal(0, 0.005, (num_points, 3))
    angle = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return (points @ rotation.T).astype(np.float32)


def _random_boxes(name: str, rng: np.random.Generator) -> Boxes:
    width, depth, thickness = rng.uniform(0.8, 1.6), rng.uniform(0.5, 1.0), rng.uniform(0.04, 0.1)
    height = {"bed": rng.uniform(0.2, 0.4), "chair": rng.uniform(0.4, 0.6)}.get(name, rng.uniform(0.6, 0.9))
    if name == "lamp":
        tall, shade = rng.uniform(1.0, 1.6), rng.uniform(0.2, 0.35)
        stem: Boxes = [((-0.03, 0, -0.03), (0.03, tall, 0.03)), ((-0.2, 0, -0.2), (0.2, 0.04, 0.2))]
        return [*stem, ((-shade, tall, -shade), (shade, tall + rng.uniform(0.2, 0.4), shade))]
    if name == "shelf":
        tall, count = rng.uniform(1.2, 2.0), int(rng.integers(3, 6))
        sides: Boxes = [((0, 0, 0), (thickness, tall, 0.3)), ((width - thickness, 0, 0), (width, tall, 0.3))]
        boards = np.linspace(0, tall - thickness, count).tolist()
        return sides + [((0, y, 0), (width, y + thickness, 0.3)) for y in boards]
    width = width * 0.5 if name == "chair" else width
    depth = {"bed": depth + 1.0, "chair": width}.get(name, depth)
    legs: Boxes = [
        ((x, 0, z), (x + thickness, height, z + thickness))
        for x in (0, width - thickness)
        for z in (0, depth - thickness)
    ]
    top: Boxes = [((0, height, 0), (width, height + (0.25 if name == "bed" else thickness), depth))]
    back = rng.uniform(0.4, 0.7)
    has_back = name in ("bed", "chair")
    return legs + top + ([((0, height, 0), (width, height + back, thickness))] if has_back else [])
