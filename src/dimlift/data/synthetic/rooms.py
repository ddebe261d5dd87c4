"""Synthetic rooms of boxes as coloured, labelled point clouds."""

import numpy as np
import torch

from dimlift.batch import IGNORE, PointBatch

ROOM_CLASSES = ("floor", "wall", "table", "cupboard")
_COLOURS = np.array([[0.5, 0.4, 0.3], [0.8, 0.8, 0.75], [0.6, 0.35, 0.2], [0.3, 0.35, 0.5]])
_SIZES = {2: (1.2, 0.75, 0.7), 3: (0.6, 1.8, 0.4)}
"""Width, height and depth in metres of a table and of a cupboard."""
_Face = tuple[np.ndarray, np.ndarray, np.ndarray, int]
"""Corner and two edges of a rectangle, and its class."""


def simulate_rooms(
    count: int, num_points: int = 4096, num_labelled: int | None = None, seed: int = 0, noise: float = 0.2
) -> PointBatch:
    """Return rooms of 4 x 3 metres with two tables and two cupboards; x right, y up, z forward, in metres.

    Args:
        count: number of rooms.
        num_points: points per room, uniform over all surfaces.
        num_labelled: labelled points per room, the others have the label `IGNORE`; None labels all.
        seed: random seed.
        noise: standard deviation of the colours, so that colour alone does not determine the class.
    """
    rooms = [_simulate_room(np.random.default_rng([seed, number]), num_points, noise) for number in range(count)]
    points, colours, labels = (np.stack(part) for part in zip(*rooms, strict=True))
    if num_labelled is not None:
        for number, row in enumerate(labels):
            hidden = np.random.default_rng([seed, number, 1]).permutation(num_points)[num_labelled:]
            row[hidden] = IGNORE
    return PointBatch(
        torch.from_numpy(points).float(),
        torch.from_numpy(labels),
        tuple(f"room {seed}.{number}" for number in range(count)),
        torch.from_numpy(colours).float(),
    )


def _simulate_room(
    rng: np.random.Generator, num_points: int, noise: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    faces = [_face((0, 0, 0), (4, 0, 0), (0, 0, 3), 0)]
    faces += [_face((0, 0, 0), (4, 0, 0), (0, 2.4, 0), 1), _face((0, 0, 0), (0, 0, 3), (0, 2.4, 0), 1)]
    for number, label in enumerate((2, 2, 3, 3)):
        size = np.array(_SIZES[label]) * rng.uniform(0.8, 1.2, 3)
        corner = np.array([0.1 + number + rng.uniform(0, 0.1), 0.0, rng.uniform(0.2, 2.0)])
        faces += _box_faces(corner, np.minimum(size, [0.85, 9, 9]), label)
    areas = np.array([np.linalg.norm(np.cross(first, second)) for _, first, second, _ in faces])
    chosen = rng.choice(len(faces), num_points, p=areas / areas.sum())
    u, v = rng.random((2, num_points, 1))
    corners, first_edges, second_edges = (np.stack([face[part] for face in faces])[chosen] for part in range(3))
    labels = np.array([face[3] for face in faces], dtype=np.int64)[chosen]
    colours = np.clip(_COLOURS[labels] + rng.normal(0, noise, (num_points, 3)), 0, 1)
    return corners + u * first_edges + v * second_edges, colours, labels


def _box_faces(corner: np.ndarray, size: np.ndarray, label: int) -> list[_Face]:
    """Return the top and the four sides of a box."""
    x, y, z = np.diag(size)
    sides = [(corner + y, x, z), (corner, x, y), (corner + z, x, y), (corner, z, y), (corner + x, z, y)]
    return [_face(start, first, second, label) for start, first, second in sides]


def _face(corner: object, first: object, second: object, label: int) -> _Face:
    return np.asarray(corner, float), np.asarray(first, float), np.asarray(second, float), label
