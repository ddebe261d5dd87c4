"""Classification of furniture as volumes of 32 x 32 x 32 voxels, with and without 2D pretraining.

    python benchmarks/furniture.py --budget seconds:60
    python benchmarks/furniture.py --budget steps:4 --seeds 0 --cases 44        # a test run

The 385 objects in 11 classes (points2048.npz: points, labels, classes) become a table of NIfTI volumes; each voxel is
the square root of the fraction of points in it. The arms of benchmarks/furniture.yaml are compared, and the
training-free embedding is probed. An interrupted benchmark resumes. The tables are written to docs/results.md, between
their markers.
"""

import argparse
import csv
from pathlib import Path

import nibabel
import numpy as np

from dimlift.evaluation.linear_probe import cross_validated_probe
from dimlift.inference.embed import VolumeEmbedder, embed
from dimlift.methods.frozen_features.settings import FeatureExtractionSettings
from dimlift.records.embeddings import Embeddings
from dimlift.studies.load_config import load_config
from dimlift.studies.run_config import StudyConfig
from hippocampus import ROOT, print_event, run_study, write_block

SIDE = 32


def main() -> None:
    """Write the volumes, execute the missing runs, write the tables."""
    options = arguments()
    kind, _, amount = options.budget.partition(":")
    folder = options.out / f"{kind}-{amount}"
    table = make_volumes(options.points, options.out / f"volumes-{options.cases or 'all'}", options.cases)
    overrides = [f"dataset.path={table}", f"budget={{{kind}: {amount}}}", f"seeds=[{options.seeds}]"]
    study = load_config(Path(__file__).with_suffix(".yaml"), [*overrides, *options.overrides], StudyConfig)
    run_study(study, folder, options.arms.split(",") if options.arms else list(study.arms), options.budget, "furniture")
    embeddings = options.out / f"embeddings-{options.cases or 'all'}.npz"
    if not embeddings.exists():
        settings = FeatureExtractionSettings(planes=("depth", "height", "width"), upsample=3.0, cache_channels=128)
        embed(table, VolumeEmbedder(settings, "both", cache=options.out / "maps"), embeddings, print_event)
    write_probe(embeddings)


def arguments() -> argparse.Namespace:
    """Return the command line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    points = ROOT / "../shared/data/sweethome3d_furniture/points2048.npz"
    parser.add_argument("--points", type=Path, default=points, help="points2048.npz")
    parser.add_argument("--budget", default="seconds:60", help="steps:N or seconds:S of each run")
    parser.add_argument("--arms", default="", help="names from the YAML file, separated by commas; all by default")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--cases", type=int, default=0, help="number of objects, from all classes; 0 uses all")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "furniture")
    parser.add_argument("overrides", nargs="*", help="key.sub=value")
    return parser.parse_args()


def make_volumes(points: Path, folder: Path, cases: int = 0) -> Path:
    """Write missing volumes, and the table with the class and the object of each; return the table."""
    stored = np.load(points, allow_pickle=False)
    classes, labels = stored["classes"], stored["labels"]
    order = np.argsort(labels, kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, cases).astype(int)] if cases else order
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in sorted(chosen.tolist()):
        path = folder / f"object_{number:03d}.nii.gz"
        if not path.exists():
            nibabel.save(nibabel.Nifti1Image(occupancy(stored["points"][number]), np.eye(4)), path)
        rows.append([path.name, str(classes[labels[number]]), f"object_{number:03d}"])
    table = folder / "table.csv"
    with table.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["image", "label", "group"], *rows])
    return table


def occupancy(points: np.ndarray) -> np.ndarray:
    """Return points of the unit sphere as a volume: the square root of the fraction of points in each voxel."""
    voxels = np.clip(((points.astype(np.float64) + 1) / 2 * SIDE).astype(int), 0, SIDE - 1)
    counts = np.zeros((SIDE,) * 3, np.float32)
    np.add.at(counts, tuple(voxels.T), 1)
    return np.sqrt(counts / len(points)).astype(np.float32)


def write_probe(path: Path) -> None:
    """Write the table of the training-free embedding between its markers."""
    stored = Embeddings.load(path)
    result = cross_validated_probe(stored)
    lines = [
        "| probe | measure | value | 95 % interval |",
        "| --- | --- | --- | --- |",
    ]
    for score in result.scores:
        interval = "" if score.interval is None else f"{score.interval[0]:.3f} to {score.interval[1]:.3f}"
        lines.append(f"| {score.probe} | {score.metric} | {score.value:.3f} | {interval} |")
    write_block("furniture embedding", "\n".join(lines))


if __name__ == "__main__":
    main()
