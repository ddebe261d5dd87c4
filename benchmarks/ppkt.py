"""Top-1 retrieval of pixels by points before and after PPKT, and after training on random pairs.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/ppkt.py --data ../shared/data/sevenscenes

Trained on the first 100 frames of one room of 7-Scenes, tested on the last 20: in each frame, each of 1024 points
retrieves the most similar of the 1024 pixels that show them. `within 32 px` also counts pixels within one cell of the
2D network's map as correct. The test frames show the same room.
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
    """Return the fractions of points that retrieve their own pixel, and a pixel within 32 pixels of it."""
    method.eval()
    sampler = PixelPointPairSampler(frames, num_pairs=CANDIDATES, rotate=False)
    exact, near = [], []
    for index in range(len(frames)):
        batch = sampler.collate([index], np.random.default_rng(index))
        with torch.no_grad():
            points, pixels = normalize(method(batch)[batch.pair_points]), normalize(method.project_pixels(batch))
        found = (points @ pixels.T).argmax(1)
        height, width = batch.image.shape[2:]
        positions = batch.pair_uv * torch.tensor([width / 2, height / 2])
        exact.append((found == torch.arange(len(found))).float().mean())
        near.append(((positions[found] - positions).norm(dim=1) <= 32).float().mean())
    return float(torch.stack(exact).mean()), float(torch.stack(near).mean())


def shuffle_pairs(batch: FrameBatch, step: int) -> FrameBatch:
    """Return the batch with points and pixels paired at random."""
    order = torch.randperm(len(batch.pair_points), generator=torch.Generator().manual_seed(step))
    return batch._replace(pair_points=batch.pair_points[order])


def build_method(options: argparse.Namespace, cache: Path, seed: int) -> PPKT:
    torch.manual_seed(seed)
    maps = CachedFeatureMaps(open_teacher(options.network), cache)
    return PPKT(point_sparse_unet(3, None, 18, options.width_multiplier, options.voxel_size), maps, temperature=0.04)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/sevenscenes"))
    parser.add_argument("--network", default="packaged:efficientnet_lite0")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--num-pairs", type=int, default=2048)
    parser.add_argument("--width-multiplier", type=float, default=0.25)
    parser.add_argument("--voxel-size", type=float, default=0.05)
    parser.add_argument("--stride", type=int, default=6)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("ppkt-cache"))
    options = parser.parse_args()
    frames, _ = readable_frames(find_frames(options.data))
    train_frames, test_frames = frames[:100], frames[-20:]
    sampler = PixelPointPairSampler(train_frames, stride=options.stride, num_pairs=options.num_pairs, seed=options.seed)
    training = TrainingSection(batch_size=options.batch_size, lr=1e-3, num_threads=1, device="cpu", num_workers=0)
    budget = BudgetSection(steps=options.steps)
    rows = [("before", 0.0, *retrieval_accuracy(build_method(options, options.cache, options.seed), test_frames))]
    for name in ("PPKT", "random pairs"):
        method = build_method(options, options.cache, options.seed)

        def batch_at(step: int, name: str = name) -> FrameBatch:
            batch = sampler.batch(step, options.batch_size)
            return batch if name == "PPKT" else shuffle_pairs(batch, step)

        start = time.process_time()
        fit(method, batch_at, budget=budget, training=training, seed=options.seed)
        rows.append(
            (f"{name}, {options.steps} steps", time.process_time() - start, *retrieval_accuracy(method, test_frames))
        )
    lines = ["| | top-1 of 1024 | within 32 px | CPU s |", "|---|---|---|---|"]
    lines += [f"| {name} | {100 * exact:.2f} % | {100 * near:.1f} % | {cpu:.0f} |" for name, cpu, exact, near in rows]
    lines.append(f"\nChance: {100 / CANDIDATES:.2f} %. torch {torch.__version__}, one thread, seed {options.seed}.")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
