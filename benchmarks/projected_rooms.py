"""Generated rooms with few labelled points and projected image features of a frozen 2D network from renderings."""

import json
from pathlib import Path

import numpy as np
import torch

from dimlift.data.synthetic.rooms import ROOM_CLASSES, simulate_rooms
from dimlift.geometry.cameras import Camera, pinhole
from dimlift.geometry.colours import render_points
from dimlift.methods.projected_features.project import PosedImage, project_image_features
from dimlift.methods.teachers.feature_maps import CachedFeatureMaps

ROOMS, TRAINING, POINTS, LABELLED, COMPONENTS = 30, 18, 4096, 20, 16
"""Rooms, training rooms, points and labelled points per room, and principal components of the projected features."""


def make_rooms(out: Path, maps: CachedFeatureMaps) -> None:
    """Write rooms with colours, labels and projected features, y down as in the frames; few training labels."""
    if (out / "rooms-splits.json").exists():
        return
    folder = out / "rooms"
    folder.mkdir(parents=True, exist_ok=True)
    rooms, dense = simulate_rooms(ROOMS, POINTS), simulate_rooms(ROOMS, 60_000)
    sparse = simulate_rooms(TRAINING, POINTS, LABELLED)
    down = torch.tensor([1.0, -1.0, 1.0])
    assert rooms.features is not None
    assert dense.features is not None
    features = []
    for number in range(ROOMS):
        views = [
            PosedImage(f"view {n}", render_points(dense.points[number] * down, dense.features[number], camera), camera)
            for n, camera in enumerate(cameras())
        ]
        features.append(project_image_features(rooms.points[number] * down, views, maps).features.numpy())
        print(f"features of room {number} projected", flush=True)
    training = np.concatenate(features[:TRAINING])
    centre = training.mean(0)
    axes = np.linalg.svd(training[::8] - centre, full_matrices=False)[2][:COMPONENTS]
    for number in range(ROOMS):
        labels = sparse.label[number] if number < TRAINING else rooms.label[number]
        np.savez_compressed(
            folder / f"room_{number:02d}.npz",
            points=(rooms.points[number] * down).numpy(),
            colours=rooms.features[number].numpy(),
            labels=np.where(labels < 0, -1, labels),
            features=((features[number] - centre) @ axes.T).astype(np.float32),
        )
    classes = {**{name: value for value, name in enumerate(ROOM_CLASSES)}, "ignore": -1}
    (folder / "dataset.json").write_text(json.dumps({"labels": classes}))
    names = [f"room_{number:02d}" for number in range(ROOMS)]
    (out / "rooms-splits.json").write_text(json.dumps([{"train": names[:TRAINING], "val": names[TRAINING:]}]))


def cameras() -> list[Camera]:
    """Return four cameras that face a room from its open sides, 320 x 240 pixels."""
    intrinsics, target = pinhole(260.0, (240, 320)), torch.tensor([1.7, -0.9, 1.2], dtype=torch.float64)
    found = []
    for coordinates in ((5.0, -1.6, 4.2), (2.0, -1.6, 4.8), (5.4, -1.6, 1.2), (4.6, -2.6, 3.8)):
        position = torch.tensor(coordinates, dtype=torch.float64)
        forward = torch.nn.functional.normalize(target - position, dim=0)
        right = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64), forward)
        right = torch.nn.functional.normalize(right, dim=0)
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, :3] = torch.stack([right, torch.linalg.cross(forward, right), forward], dim=1)
        pose[:3, 3] = position
        found.append(Camera(intrinsics, pose, (240, 320)))
    return found
