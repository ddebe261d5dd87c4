"""Rooms with furniture-like boxes, coloured and labelled: something to learn from without a scanner."""

import numpy as np
import torch

from dimlift.batch import IGNORE, PointBatch

CLASSES = ("floor", "wall", "table", "cupboard")
_COLOURS = np.array([[0.5, 0.4, 0.3], [0.8, 0.8, 0.75], [0.6, 0.35, 0.2], [0.3, 0.35, 0.5]])
_SIZES = {2: (1.2, 0.75, 0.7), 3: (0.6, 1.8, 0.4)}
"""Width, height and depth in metres of a table and of a cupboard."""


def simulated_rooms(
    rooms: int, points: int = 4096, labelled: int | None = None, seed: int = 0, noise: float = 0.2
) -> PointBatch:
    """Rooms of 4 x 3 metres with two tables and two cupboards; x right, y up, z forward, in metres.

    Args:
        points: of each room, spread evenly over all surfaces.
        labelled: points of each room whose class is told; the others carry `IGNORE`. All if None.
        seed: the only source of chance.
        noise: deviation of the colours, so that colour alone does not tell the class.
    """
    made = [_room(np.random.default_rng([seed, number]), points, noise) for number in range(rooms)]
    where, colour, label = (np.stack(part) for part in zip(*made, strict=True))
    if labelled is not None:
        for number, row in enumerate(label):
            hidden = np.random.default_rng([seed, number, 1]).permutation(points)[labelled:]
            row[hidden] = IGNORE
    return PointBatch(
        torch.from_numpy(where).float(),
        torch.from_numpy(label),
        tuple(f"room {seed}.{number}" for number in range(rooms)),
        torch.from_numpy(colour).float(),
    )


def _room(rng: np.random.Generator, points: int, noise: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    faces = [_face((0, 0, 0), (4, 0, 0), (0, 0, 3), 0)]
    faces += [_face((0, 0, 0), (4, 0, 0), (0, 2.4, 0), 1), _face((0, 0, 0), (0, 0, 3), (0, 2.4, 0), 1)]
    for number, kind in enumerate((2, 2, 3, 3)):
        size = np.array(_SIZES[kind]) * rng.uniform(0.8, 1.2, 3)
        corner = np.array([0.1 + number + rng.uniform(0, 0.1), 0.0, rng.uniform(0.2, 2.0)])
        faces += _box(corner, np.minimum(size, [0.85, 9, 9]), kind)
    areas = np.array([np.linalg.norm(np.cross(one, other)) for _, one, other, _ in faces])
    chosen = rng.choice(len(faces), points, p=areas / areas.sum())
    along, across = rng.random((2, points, 1))
    corners, ones, others = (np.stack([face[part] for face in faces])[chosen] for part in range(3))
    label = np.array([face[3] for face in faces], dtype=np.int64)[chosen]
    colour = np.clip(_COLOURS[label] + rng.normal(0, noise, (points, 3)), 0, 1)
    return corners + along * ones + across * others, colour, label


def _box(corner: np.ndarray, size: np.ndarray, kind: int) -> list[tuple[np.ndarray, np.ndarray, np.ndarray, int]]:
    """Top and four sides."""
    x, y, z = np.diag(size)
    sides = [(corner + y, x, z), (corner, x, y), (corner + z, x, y), (corner, z, y), (corner + x, z, y)]
    return [_face(start, one, other, kind) for start, one, other in sides]


def _face(corner: object, one: object, other: object, kind: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    return np.asarray(corner, float), np.asarray(one, float), np.asarray(other, float), kind
