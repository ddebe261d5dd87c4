"""Write a synthetic study folder with small volumes, plausible scores and everything the page can show."""

from pathlib import Path

import nibabel
import numpy as np

from dimlift.metrics.scores import score_segmentation
from dimlift.records.record import RunRecord, Score
from dimlift.records.study import CasePaths, Study, StudyArm, StudyDataset

LABELS = {"background": 0, "anterior": 1, "posterior": 2}
GAINS = {"unet": 0.0, "frozen_features": 0.05, "slicewise": -0.06, "lifted": 0.01, "random": -0.03}
CERTIFICATE = {
    "summary": "depth mixing in 48 layers (kernel 3, centre inflation); 148 weights inflated, 212 copied, 0 new",
    "text": "law 1 (slices)     claimed   error 3.1e-07 of 1e-04\nlaw 2 (constancy)  claimed   error 2.7e-07 of 1e-04\n"
    + "\n".join(f"blocks.{i}.conv_dw  (32, 1, 3, 3) -> (32, 1, 3, 3, 3)  inflated" for i in range(12)),
}


def arms(names=tuple(GAINS)):
    known = {
        "unet": StudyArm("Plain 3D U-Net", "Trained from scratch, the usual choice.", None, 4_806_000),
        "frozen_features": StudyArm(
            "U-Net + frozen features", "The same U-Net with 24 channels of 2D features.", None, 4_812_000
        ),
        "slicewise": StudyArm(
            "Slice by slice", "The 2D network with ImageNet weights, no depth mixing.", None, 3_900_000
        ),
        "lifted": StudyArm("Lifted (centre)", "The 2D network with inflated kernels.", CERTIFICATE, 4_100_000),
        "random": StudyArm(
            "Lifted, random weights", "A control: the same network without ImageNet.", CERTIFICATE, 4_100_000
        ),
    }
    return {name: known.get(name, StudyArm(name)) for name in names}


def save_volume(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


def draw_case(rng: np.random.Generator, shape=(36, 44, 20)) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of an ellipsoid with two halves in noise, and its labels."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij"))
    centre, radius = rng.normal(0, 0.1, 3), rng.uniform(0.45, 0.6, 3)
    offset = (grid - centre.reshape(3, 1, 1, 1)) / radius.reshape(3, 1, 1, 1)
    inside = (offset**2).sum(0) < 1 + 0.15 * np.sin(5 * offset[0])
    truth = np.where(inside, np.where(offset[1] > 0.1, 1, 2), 0).astype(np.int16)
    image = 80 + 45 * inside + 25 * (truth == 1) + 20 * grid[1] + rng.normal(0, 7, shape)
    return image.astype(np.float32), truth


def worsen(truth: np.ndarray, error: float, rng: np.random.Generator) -> np.ndarray:
    """Return the truth, shifted and with a noisy outline; a larger `error` shifts it further."""
    from scipy import ndimage

    moved = np.roll(truth, tuple(rng.integers(-1, 2, 3) * round(8 * error)), (0, 1, 2))
    field = ndimage.gaussian_filter(rng.normal(size=truth.shape), 2)
    hole = field > np.quantile(field, 1 - min(0.6, 1.5 * max(error, 0)))
    return np.where(hole & (truth != 0), 0, moved).astype(np.int16)


def write_study(
    folder: Path, names=tuple(GAINS), seeds=3, n_cases=8, finished=1.0, volumes=True, seed=0, **changes
) -> Study:
    """Write study.json, records and predictions of the first seed; only a fraction `finished` of the runs exists."""
    rng = np.random.default_rng(seed)
    affine = np.diag([1.0, 1.0, 2.5, 1.0])
    cases, truths = {}, {}
    for index in range(n_cases):
        name = f"head_{index:02d}"
        image, truths[name] = draw_case(rng)
        if volumes:
            save_volume(folder / "data" / f"{name}.nii.gz", image, affine)
            save_volume(folder / "data" / f"{name}_truth.nii.gz", truths[name], affine)
        cases[name] = CasePaths(f"data/{name}.nii.gz", f"data/{name}_truth.nii.gz")
    study = Study(
        **{
            "title": "Heads, 60 s per run",
            "task": "segmentation",
            "reference": names[0],
            "arms": arms(names),
            "planned": len(names) * seeds,
            "notes": ["The subjects are simulated: one real head, deformed at random."],
            "dataset": StudyDataset("simulated heads", n_cases, LABELS),
            "budget": {"seconds": 60},
            "cases": cases,
        }
        | changes
    )
    study.save(folder)
    difficulty = rng.normal(0, 0.04, n_cases)
    runs = [(name, s) for s in range(seeds) for name in names]
    for name, s in runs[: round(finished * len(runs))]:
        seed_effect, scores = rng.normal(0, 0.004), []
        for index, (case, truth) in enumerate(truths.items()):
            error = 0.15 - GAINS.get(name, 0.0) + difficulty[index] + seed_effect + rng.normal(0, 0.01)
            if volumes and s == 0:
                prediction = worsen(truth, error, rng)
                save_volume(folder / "predictions" / f"{name}-{s}" / f"{case}.nii.gz", prediction, affine)
                measured = score_segmentation(case, prediction, truth, LABELS, (1, 1, 2.5))
                scores += [score for score in measured if score.metric != "dice"]
            for label, value in (("anterior", 1 - error), ("posterior", 0.95 - error)):
                scores.append(Score(case, label, "dice", float(np.clip(value, 0, 1))))
        record(name, s, scores).save(folder / "records")
    return study


def record(arm: str, seed: int, scores=(), status="finished", **changes) -> RunRecord:
    gain = GAINS.get(arm, 0.0)
    history = [
        {"step": 25.0 * i, "seconds": 5.0 * i, "loss": float(1.1 * np.exp(-i / 4) + 0.2 - gain)}
        | ({"dice": float(0.85 + gain - 0.6 * np.exp(-i / 5))} if i % 3 == 0 else {})
        for i in range(1, 13)
    ]
    fields = {
        "run_id": f"{arm}-{seed}", "arm": arm, "train_fraction": 1.0, "fold": 0, "seed": seed,
        "steps": max(0, 300 - 20 * len(arm)),
        "seconds": 60.4, "peak_bytes": (900 + 40 * len(arm)) * 2**20,
        "versions": {"dimlift": "0.1.0", "torch": "2.13.0"},
        "status": status, "history": history, "scores": list(scores),
    }  # fmt: skip
    return RunRecord(**fields | changes)
