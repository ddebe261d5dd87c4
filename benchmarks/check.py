"""Time of `dimlift check` relative to reading every file once with nibabel.

    OMP_NUM_THREADS=1 python benchmarks/check.py

The same generated volumes (int16 noise on a smooth ramp, a mask of three labels) are read by nibabel, checked by one
thread, and checked by the default number of threads, alternating in one process. The minimum wall time over the rounds
is reported. nibabel does not verify the checksum of a compressed stream, so it does less than `check`.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.quality.check_dataset import check_dataset


def generate(root: Path, cases: int, side: int) -> None:
    """Write images/ and labels/ with cubic volumes."""
    grid = np.indices((side, side, side)).sum(axis=0)
    for number in range(cases):
        noise = np.random.default_rng(number).normal(0, 20, grid.shape)
        for folder, array in (("images", grid + noise), ("labels", grid * 4 // (3 * side))):
            (root / folder).mkdir(parents=True, exist_ok=True)
            dtype = np.int16 if folder == "images" else np.uint8
            nib.save(nib.Nifti1Image(array.astype(dtype), np.eye(4)), root / folder / f"case_{number:02d}.nii.gz")


def read_once(root: Path) -> None:
    """Read every voxel of every file with nibabel."""
    for path in sorted(root.rglob("*.nii.gz")):
        np.asanyarray(nib.load(path).dataobj)


def seconds(function: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=6)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        generate(root, options.cases, options.side)
        size = sum(path.stat().st_size for path in root.rglob("*.nii.gz"))
        functions: dict[str, Callable[[], object]] = {
            "nibabel reads every file once": lambda: read_once(root),
            "open_dataset: labels found in the masks": lambda: open_dataset(root),
            "check, one thread": lambda: check_dataset(dataset, num_workers=1),
            f"check, default threads ({min(4, len(os.sched_getaffinity(0)))})": lambda: check_dataset(dataset),
        }
        dataset = open_dataset(root)
        best = dict.fromkeys(functions, float("inf"))
        for _ in range(options.rounds):
            for name, function in functions.items():
                best[name] = min(best[name], seconds(function))
    base = best["nibabel reads every file once"]
    print(f"{options.cases} cases of {options.side}^3, {size / 1e6:.0f} MB compressed\n")
    print("| | seconds | relative to nibabel |\n|---|---|---|")
    for name, value in best.items():
        print(f"| {name} | {value:.2f} | {value / base:.2f} x |")


if __name__ == "__main__":
    main()
