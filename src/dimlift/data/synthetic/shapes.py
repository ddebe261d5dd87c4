"""Clouds like furniture, made of boxes: chairs, tables, beds, shelves and lamps of every proportion. No download.

Real furniture is harder to tell apart: results on these clouds say that a pipeline works, nothing more.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import DataError

CLASSES = ("bed", "chair", "lamp", "shelf", "table")
Boxes = list[tuple[tuple[float, float, float], tuple[float, float, float]]]
"""(low corner, high corner), y upwards."""


def simulate_shapes(file: Path, each: int = 24, points: int = 1024, seed: int = 0) -> Path:
    """Write an .npz of clouds, `each` of every class.

    Raises:
        DataError: if fewer than four of each are asked for, too few to be split.
    """
    if each < 4:
        raise DataError(f"{each} clouds of each class asked for; 4 are the least that can be split")
    clouds = [
        shape(name, points, np.random.default_rng([seed, number, index]))
        for index, name in enumerate(CLASSES)
        for number in range(each)
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    labels = np.repeat(np.arange(len(CLASSES)), each)
    np.savez_compressed(file, points=np.stack(clouds), labels=labels, classes=np.array(CLASSES))
    return file


def shape(name: str, points: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Points on the surface of one piece, turned about its upright axis, slightly off their place."""
    boxes = _boxes(name, rng)
    low, high = (np.array(corners) for corners in zip(*boxes, strict=True))
    size = high - low
    areas = np.stack([size[:, 1] * size[:, 2], size[:, 0] * size[:, 2], size[:, 0] * size[:, 1]], axis=1)
    face = rng.choice(areas.size, points, p=(areas / areas.sum()).flatten())
    box, axis = face // 3, face % 3
    place = rng.random((points, 3))
    place[np.arange(points), axis] = rng.integers(0, 2, points)
    found = low[box] + place * size[box] + rng.normal(0, 0.005, (points, 3))
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    return (found @ turn.T).astype(np.float32)


def _boxes(name: str, rng: np.random.Generator) -> Boxes:
    wide, deep, thick = rng.uniform(0.8, 1.6), rng.uniform(0.5, 1.0), rng.uniform(0.04, 0.1)
    height = {"bed": rng.uniform(0.2, 0.4), "chair": rng.uniform(0.4, 0.6)}.get(name, rng.uniform(0.6, 0.9))
    if name == "lamp":
        tall, shade = rng.uniform(1.0, 1.6), rng.uniform(0.2, 0.35)
        stem: Boxes = [((-0.03, 0, -0.03), (0.03, tall, 0.03)), ((-0.2, 0, -0.2), (0.2, 0.04, 0.2))]
        return [*stem, ((-shade, tall, -shade), (shade, tall + rng.uniform(0.2, 0.4), shade))]
    if name == "shelf":
        tall, count = rng.uniform(1.2, 2.0), int(rng.integers(3, 6))
        sides: Boxes = [((0, 0, 0), (thick, tall, 0.3)), ((wide - thick, 0, 0), (wide, tall, 0.3))]
        return sides + [((0, y, 0), (wide, y + thick, 0.3)) for y in np.linspace(0, tall - thick, count).tolist()]
    wide = wide * 0.5 if name == "chair" else wide
    deep = {"bed": deep + 1.0, "chair": wide}.get(name, deep)
    legs: Boxes = [((x, 0, z), (x + thick, height, z + thick)) for x in (0, wide - thick) for z in (0, deep - thick)]
    top: Boxes = [((0, height, 0), (wide, height + (0.25 if name == "bed" else thick), deep))]
    back = rng.uniform(0.4, 0.7)
    return legs + top + ([((0, height, 0), (wide, height + back, thick))] if name in ("bed", "chair") else [])
