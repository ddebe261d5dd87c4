"""A recorded room as small as can be: a wall, a box before it, and two cameras side by side."""

import json

import numpy as np
from PIL import Image

SIZE = (32, 48)
FOCAL = 40.0


def write_recording(folder, frames=3, boxes=True, shift=0.05):
    """Frames of a wall 2 m away with a box at 1 m, taken while the camera moves to the right."""
    height, width = SIZE
    camera = {"fx": FOCAL, "fy": FOCAL, "cx": width / 2, "cy": height / 2}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cameras.json").write_text(json.dumps({"depth": camera, "colour": None, "values_per_metre": 1000}))
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    for number in range(frames):
        place = number * shift
        depth = np.full(SIZE, 2000)
        x, y = (columns - width / 2) / FOCAL + place, (rows - height / 2) / FOCAL  # at a depth of 1 m
        box = (np.abs(x) < 0.2) & (np.abs(y) < 0.2) & boxes
        depth[box] = 1000
        wall_x = (columns - width / 2) / FOCAL * 2 + place
        colour = np.stack([128 + 100 * np.sin(4 * wall_x), 120 + 100 * np.cos(3 * y), 0 * x + 90], -1)
        colour[box] = (220, 30, 40)
        stem = folder / f"frame-{number:06d}"
        Image.fromarray(colour.clip(0, 255).astype(np.uint8)).save(stem.with_suffix(".color.png"))
        Image.fromarray(depth.astype(np.uint16)).save(stem.with_suffix(".depth.png"))
        pose = np.eye(4)
        pose[0, 3] = place
        np.savetxt(stem.with_suffix(".pose.txt"), pose)
    return folder
