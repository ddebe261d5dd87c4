"""What the point operations cost, beside the libraries people use: two things alternating in one process.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/points.py

Best of the rounds in processor time, one thread. fpsample, pykdtree and spconv are compared with where they are
installed (spconv forward, by its own layer and by our rulebook). Memory is the high-water mark of a
process of its own that sends a million points through voxels and a sparse U-Net.
"""

import argparse
import importlib.util
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy.spatial import cKDTree

from dimlift.geometry.neighbours import knn
from dimlift.geometry.sampling import farthest_point_sample, fps_reference
from dimlift.geometry.voxels import voxelise
from dimlift.models.point_sparse_unet import point_sparse_unet
from dimlift.ops.sparse_conv import sparse_conv, submanifold_rulebook
from dimlift.ops.spconv_backend import sparse_backend

POINTS = 100_000
VOXELS = 20_000


def has(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def neighbours(points: torch.Tensor) -> dict[str, Callable[[], object]]:
    array = points.numpy().astype(np.float64)
    works: dict[str, Callable[[], object]] = {
        "dimlift nearest, k = 16": lambda: knn(points[None], points[None], 16),
        "scipy cKDTree": lambda: cKDTree(array).query(array, k=16),
    }
    if has("pykdtree"):
        from pykdtree.kdtree import KDTree

        single = points.numpy()
        works["pykdtree, single precision"] = lambda: KDTree(single).query(single, k=16)
    return works


def farthest(points: torch.Tensor) -> dict[str, Callable[[], object]]:
    works: dict[str, Callable[[], object]] = {
        "dimlift farthest_points": lambda: farthest_point_sample(points[None], 2048),
        "dimlift, without fpsample": lambda: fps_reference(points[None], 2048, torch.zeros(1, dtype=torch.long)),
    }
    if has("fpsample"):
        import fpsample

        array = points.numpy()
        works["fpsample fps_sampling"] = lambda: fpsample.fps_sampling(array, 2048, start_idx=0)
        works["fpsample bucket_fps_kdline, start not kept"] = lambda: fpsample.bucket_fps_kdline_sampling(
            array, 2048, 7
        )
    return works


def convolutions(draw: torch.Generator) -> dict[str, Callable[[], object]]:
    """3 x 3 x 3, 32 to 32 channels, on a curved sheet of about 20 000 voxels; neighbours are known already."""
    flat = torch.rand(3 * VOXELS, 2, generator=draw) * 140
    sheet = torch.cat([flat, 10 * torch.sin(flat[:, :1] / 20) + 20], 1)
    coordinates = voxelise(sheet, 1.0).coordinates[:VOXELS]
    features, weight = torch.randn(len(coordinates), 32, generator=draw), torch.randn(27, 32, 32, generator=draw)
    rules = submanifold_rulebook(coordinates)
    works: dict[str, Callable[[], object]] = {
        f"dimlift sparse_convolution, {len(coordinates)} voxels": lambda: sparse_conv(features, weight, rules),
    }
    if has("spconv"):
        import spconv.pytorch as spconv

        layer = spconv.SubMConv3d(32, 32, 3, bias=False, indice_key="level", algo=spconv.ConvAlgo.Native)
        size = [int(side) + 1 for side in coordinates[:, 1:].amax(0)]
        tensor = spconv.SparseConvTensor(features, coordinates.int(), size, 1)
        with torch.no_grad():
            known = layer(tensor)  # its neighbours are found at the first call, and kept with the tensor

        def forward() -> object:
            with torch.no_grad():
                return layer(known.replace_feature(features))

        def ours_by_spconv() -> object:
            with sparse_backend("spconv"):
                return sparse_conv(features, weight, rules)

        ours_by_spconv()  # the rulebook is turned into spconv's at the first call, and kept
        works["spconv SubMConv3d, native"] = forward
        works["dimlift sparse_convolution, computed by spconv"] = ours_by_spconv
    return works


def million() -> None:
    """In a process of its own: a million points of a room through a sparse U-Net, forward."""
    draw = torch.Generator().manual_seed(0)
    points = torch.rand(1_000_000, 3, generator=draw) * torch.tensor([8.0, 6.0, 3.0])
    wall = torch.randint(0, 3, (len(points),), generator=draw)
    points[torch.arange(len(points)), wall] = 0.01  # on the floor and two walls, as scans are
    model = point_sparse_unet(3, 20, 18, 0.25, 0.05).eval()
    began = time.process_time()
    with torch.no_grad():
        model(points, torch.zeros_like(points), torch.zeros(len(points), dtype=torch.long))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(f"{time.process_time() - began:.1f} {peak:.2f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--million", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.million:
        return million()
    draw = torch.Generator().manual_seed(0)
    points = torch.rand(POINTS, 3, generator=draw)
    lines = ["| | ms | of the first |", "|---|---|---|"]
    for works in (neighbours(points), farthest(points), convolutions(draw)):
        best = dict.fromkeys(works, float("inf"))
        for _ in range(options.rounds):
            for name, work in works.items():
                best[name] = min(best[name], seconds(work))
        first = next(iter(best.values()))
        lines += [f"| {name} | {1000 * spent:.1f} | {spent / first:.2f} x |" for name, spent in best.items()]
    output = subprocess.run([sys.executable, __file__, "--million"], capture_output=True, text=True, check=True)
    spent, peak = output.stdout.split()
    lines.append(
        f"\nA million points through voxels of 5 cm and SR-UNet18 (share 0.25): {peak} GiB at most, {spent} s."
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return None


if __name__ == "__main__":
    main()
