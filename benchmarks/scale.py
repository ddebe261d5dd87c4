"""Patches per second from Blosc and NIfTI files; steps per second of one process and of two.

python benchmarks/scale.py loader      # 8 simulated volumes of 96 x 192 x 192, patches of 64 cubed, alternating
python benchmarks/scale.py processes   # the same run by 1 and by 2 processes of one thread each, alternating
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.preprocessing.blosc_samples import load_blosc_sample
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.sampling.patch_sampler import PatchSampler

ROUNDS = 5


def write_volumes(folder: Path, count: int, shape: tuple[int, int, int]) -> Path:
    """Write smooth volumes with noise as gzip-compressed integers, similar to scanner data; return the folder."""
    from scipy.ndimage import gaussian_filter

    for number in range(count):
        rng = np.random.default_rng(number)
        image = gaussian_filter(rng.normal(0, 1, shape), 4) * 4000 + rng.normal(0, 10, shape)
        label = (image > np.quantile(image, 0.95)).astype(np.uint8)
        for kind, array in (("images", image.astype(np.int16)), ("labels", label)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([0.8, 0.8, 1.5, 1.0])), folder / kind / f"case_{number}.nii.gz")
    return folder


def loader(folder: Path) -> None:
    dataset = open_dataset(write_volumes(folder / "data", 8, (192, 192, 96)))
    preprocessing = Preprocessing.fit(dataset, dataset.cases)
    start = time.perf_counter()
    stored = [load_blosc_sample(preprocessing, case, folder / "blosc") for case in dataset.cases]
    writing = time.perf_counter() - start
    sampler = PatchSampler(stored, (64, 64, 64), augment=False)

    def from_blosc(step: int) -> None:
        sampler.batch(step, 2)

    def from_nifti(step: int) -> None:
        for index in range(2):
            case = dataset.cases[(2 * step + index) % len(dataset.cases)]
            PatchSampler([preprocessing.read(case)], (64, 64, 64), augment=False).batch(step, 1)

    seconds = {"blosc": [], "nifti": []}
    for round_index in range(ROUNDS):
        for name, make in (("blosc", from_blosc), ("nifti", from_nifti)):
            start = time.process_time()
            for step in range(4):
                make(4 * round_index + step)
            seconds[name].append((time.process_time() - start) / 8)
    compressed = sum(file.stat().st_size for file in (folder / "blosc").rglob("*.blocks"))
    uncompressed = sum(int(np.prod(sample.image.shape)) * 6 for sample in stored)
    median = {name: float(np.median(found)) for name, found in seconds.items()}
    print(
        f"writing Blosc: {writing / len(stored):.2f} s per volume, {compressed / uncompressed:.2f} of the memory size"
    )
    print(f"CPU time per patch: NIfTI {median['nifti'] * 1e3:.0f} ms, Blosc {median['blosc'] * 1e3:.1f} ms")
    print(f"Blosc is {median['nifti'] / median['blosc']:.1f} times as fast")


def processes(folder: Path) -> None:
    data = write_volumes(folder / "data", 6, (48, 48, 48))
    config = {
        "dataset": {"path": str(data)},
        "arm": {"method": "unet", "widths": [16, 32, 64], "residual_units": 0},
        "budget": {"steps": 200},
        "training": {"patch_size": [48, 48, 48], "batch_size": 4, "num_threads": 1, "device": "cpu"},
    }
    (folder / "train.yaml").write_text(json.dumps(config))  # JSON is YAML
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    programs = Path(sys.executable).parent
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for round_index in range(3):
        for count in seconds:
            out = folder / f"run-{round_index}-{count}"
            launcher = [programs / "torchrun", "--nproc-per-node", str(count), "--no-python", programs / "dimlift"]
            command = [*launcher, "train", folder / "train.yaml", "--out", out]
            subprocess.run(list(map(str, command)), check=True, env=environment, capture_output=True)
            (record,) = (out / "records").glob("*.json")
            seconds[count].append(json.loads(record.read_text())["seconds"])
    one, two = (float(np.median(found)) for found in seconds.values())
    print(f"200 steps of 4 patches of 48 cubed: 1 process {one:.1f} s, 2 processes {two:.1f} s, {one / two:.2f} times")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        {"loader": loader, "processes": processes}[sys.argv[1]](Path(scratch))
