"""Does a point find the pixel that shows it? Top-1 retrieval before and after PPKT, and after learning random pairs.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/ppkt.py --data ../shared/data/sevenscenes

Learnt from the first 100 frames of one room of 7-Scenes, asked about the last 20: in each, 1024 points and the 1024
pixels that show them, and each point's most similar pixel either is its own or not. `within 32 px` counts a pixel of
the same cell of the 2D network's map, or of the next, as found. The frames asked about show the same room.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import normalize

from dimlift.batch import FrameBatch
from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.data.rgbd.frames import readable_frames
from dimlift.data.rgbd.recordings import FrameFiles, find_frames
from dimlift.data.sampling.rgbd_pair_sampler import PixelPointPairSampler
from dimlift.methods.ppkt.method import PPKT
from dimlift.methods.teachers.feature_maps import CachedFeatureMaps
from dimlift.methods.teachers.teacher import open_teacher
from dimlift.models.point_sparse_unet import point_sparse_unet
from dimlift.training.fit import fit

CANDIDATES = 1024


def retrieval_accuracy(method: PPKT, frames: list[FrameFiles]) -> tuple[float, float]:
    """Share of points that find their own pixel, and one within 32 pixels of it."""
    method.eval()
    sampler = PixelPointPairSampler(frames, num_pairs=CANDIDATES, rotate=False)
    own, near = [], []
    for index in range(len(frames)):
        batch = sampler.collate([index], np.random.default_rng(index))
        with torch.no_grad():
            points, pixels = normalize(method(batch)[batch.pair_points]), normalize(method.project_pixels(batch))
        found = (points @ pixels.T).argmax(1)
        height, width = batch.image.shape[2:]
        places = batch.pair_uv * torch.tensor([width / 2, height / 2])
        own.append((found == torch.arange(len(found))).float().mean())
        near.append(((places[found] - places).norm(dim=1) <= 32).float().mean())
    return float(torch.stack(own).mean()), float(torch.stack(near).mean())


def shuffled(batch: FrameBatch, step: int) -> FrameBatch:
    """The same points and pixels, paired at random."""
    order = torch.randperm(len(batch.pair_points), generator=torch.Generator().manual_seed(step))
    return batch._replace(pair_points=batch.pair_points[order])


def build_method(options: argparse.Namespace, cache: Path, seed: int) -> PPKT:
    torch.manual_seed(seed)
    maps = CachedFeatureMaps(open_teacher(options.network), cache)
    return PPKT(point_sparse_unet(3, None, 18, options.share, options.voxel), maps, temperature=0.04)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/sevenscenes"))
    parser.add_argument("--network", default="packaged:efficientnet_lite0")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=2048)
    parser.add_argument("--share", type=float, default=0.25)
    parser.add_argument("--voxel", type=float, default=0.05)
    parser.add_argument("--stride", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("ppkt-cache"))
    options = parser.parse_args()
    frames, _ = readable_frames(find_frames(options.data))
    learnt, held_out = frames[:100], frames[-20:]
    sampler = PixelPointPairSampler(learnt, stride=options.stride, num_pairs=options.pairs, seed=options.seed)
    training = TrainingSection(batch_size=options.batch, lr=1e-3, num_threads=1, device="cpu", num_workers=0)
    budget = BudgetSection(steps=options.steps)
    rows = [("before", 0.0, *retrieval_accuracy(build_method(options, options.cache, options.seed), held_out))]
    for name in ("PPKT", "random pairs"):
        method = build_method(options, options.cache, options.seed)

        def batch_at(step: int, name: str = name) -> FrameBatch:
            batch = sampler.batch(step, options.batch)
            return batch if name == "PPKT" else shuffled(batch, step)

        began = time.process_time()
        fit(method, batch_at, budget=budget, training=training, seed=options.seed)
        rows.append(
            (f"{name}, {options.steps} steps", time.process_time() - began, *retrieval_accuracy(method, held_out))
        )
    lines = ["| | top-1 of 1024 | within 32 px | processor s |", "|---|---|---|---|"]
    lines += [f"| {name} | {100 * own:.2f} % | {100 * near:.1f} % | {spent:.0f} |" for name, spent, own, near in rows]
    lines.append(f"\nChance: {100 / CANDIDATES:.2f} %. torch {torch.__version__}, one thread, seed {options.seed}.")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
