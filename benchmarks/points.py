"""Time of point operations and of common libraries for the same operations, alternating in one process.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/points.py

Reports the minimum CPU time over the rounds, one thread. fpsample, pykdtree and spconv are included if installed
(spconv: forward only, with its own layer and with dimlift's rulebook). Memory is the peak of a separate process that
voxelises a million points and runs a sparse U-Net on them.
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


def is_installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


def seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def knn_functions(points: torch.Tensor) -> dict[str, Callable[[], object]]:
    array = points.numpy().astype(np.float64)
    functions: dict[str, Callable[[], object]] = {
        "dimlift knn, k = 16": lambda: knn(points[None], points[None], 16),
        "scipy cKDTree": lambda: cKDTree(array).query(array, k=16),
    }
    if is_installed("pykdtree"):
        from pykdtree.kdtree import KDTree

        single = points.numpy()
        functions["pykdtree, single precision"] = lambda: KDTree(single).query(single, k=16)
    return functions


def fps_functions(points: torch.Tensor) -> dict[str, Callable[[], object]]:
    functions: dict[str, Callable[[], object]] = {
        "dimlift farthest_point_sample": lambda: farthest_point_sample(points[None], 2048),
        "dimlift, without fpsample": lambda: fps_reference(points[None], 2048, torch.zeros(1, dtype=torch.long)),
    }
    if is_installed("fpsample"):
        import fpsample

        array = points.numpy()
        functions["fpsample fps_sampling"] = lambda: fpsample.fps_sampling(array, 2048, start_idx=0)
        functions["fpsample bucket_fps_kdline, another start"] = lambda: fpsample.bucket_fps_kdline_sampling(
            array, 2048, 7
        )
    return functions


def sparse_conv_functions(generator: torch.Generator) -> dict[str, Callable[[], object]]:
    """Return 3 x 3 x 3 convolutions, 32 to 32 channels, on a curved sheet of about 20 000 voxels; cached rulebook."""
    plane = torch.rand(3 * VOXELS, 2, generator=generator) * 140
    sheet = torch.cat([plane, 10 * torch.sin(plane[:, :1] / 20) + 20], 1)
    coordinates = voxelise(sheet, 1.0).coordinates[:VOXELS]
    features, weight = (
        torch.randn(len(coordinates), 32, generator=generator),
        torch.randn(27, 32, 32, generator=generator),
    )
    rules = submanifold_rulebook(coordinates)
    functions: dict[str, Callable[[], object]] = {
        f"dimlift sparse_conv, {len(coordinates)} voxels": lambda: sparse_conv(features, weight, rules),
    }
    if is_installed("spconv"):
        import spconv.pytorch as spconv

        layer = spconv.SubMConv3d(32, 32, 3, bias=False, indice_key="level", algo=spconv.ConvAlgo.Native)
        size = [int(side) + 1 for side in coordinates[:, 1:].amax(0)]
        tensor = spconv.SparseConvTensor(features, coordinates.int(), size, 1)
        with torch.no_grad():
            indexed = layer(tensor)  # the first call finds the neighbours and stores them with the tensor

        def forward() -> object:
            with torch.no_grad():
                return layer(indexed.replace_feature(features))

        def rulebook_by_spconv() -> object:
            with sparse_backend("spconv"):
                return sparse_conv(features, weight, rules)

        rulebook_by_spconv()  # the first call converts the rulebook and caches it
        functions["spconv SubMConv3d, native"] = forward
        functions["dimlift sparse_conv, spconv backend"] = rulebook_by_spconv
    return functions


def run_million_points() -> None:
    """Run a sparse U-Net on a million points of a room, forward; print CPU seconds and peak memory."""
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(1_000_000, 3, generator=generator) * torch.tensor([8.0, 6.0, 3.0])
    wall = torch.randint(0, 3, (len(points),), generator=generator)
    points[torch.arange(len(points)), wall] = 0.01  # on the floor and two walls, as in scans
    model = point_sparse_unet(3, 20, 18, 0.25, 0.05).eval()
    start = time.process_time()
    with torch.no_grad():
        model(points, torch.zeros_like(points), torch.zeros(len(points), dtype=torch.long))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sys.stdout.write(f"{time.process_time() - start:.1f} {peak:.2f}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--million", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.million:
        return run_million_points()
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(POINTS, 3, generator=generator)
    lines = ["| | ms | relative to the first |", "|---|---|---|"]
    for functions in (knn_functions(points), fps_functions(points), sparse_conv_functions(generator)):
        best = dict.fromkeys(functions, float("inf"))
        for _ in range(options.rounds):
            for name, function in functions.items():
                best[name] = min(best[name], seconds(function))
        first = next(iter(best.values()))
        lines += [f"| {name} | {1000 * value:.1f} | {value / first:.2f} x |" for name, value in best.items()]
    output = subprocess.run([sys.executable, __file__, "--million"], capture_output=True, text=True, check=True)
    cpu_seconds, peak = output.stdout.split()
    lines.append(
        f"\nA million points, voxels of 5 cm, SR-UNet18 (width multiplier 0.25): peak {peak} GiB, {cpu_seconds} s."
    )
    sys.stdout.write("\n".join(lines) + "\n")
    return None


if __name__ == "__main__":
    main()
