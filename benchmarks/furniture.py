"""Eleven classes of furniture as volumes of 32 x 32 x 32 voxels: what 2D knowledge is worth in a classification.

    python benchmarks/furniture.py --budget seconds:60
    python benchmarks/furniture.py --budget steps:4 --seeds 0 --cases 44        # a proof that everything runs

385 objects (points2048.npz: points, labels, classes), each a row of a table of NIfTI volumes whose voxels are the
square root of the share of points in them. Arms of benchmarks/furniture.yaml are compared by `dimlift compare`; the
train-free embedding is probed beside them. It can be stopped at any time: started again it goes on. The tables go
into docs/results.md, between their markers.
"""

import argparse
import csv
from pathlib import Path

import nibabel
import numpy as np

from dimlift.evaluation.linear_probe import probe
from dimlift.inference.embed import embed
from dimlift.methods.frozen_features.settings import FeatureExtractionSettings
from dimlift.records.embeddings import Embeddings
from dimlift.studies.load_config import load_config
from dimlift.studies.run_config import StudyConfig
from hippocampus import ROOT, run_study, print_event, write_block

SIDE = 32


def main() -> None:
    """Make the volumes, run what is missing, write the tables."""
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
        embed(table, settings, embeddings, pooling="both", cache=options.out / "maps", progress=print_event)
    write_probe(embeddings)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    points = ROOT / "../shared/data/sweethome3d_furniture/points2048.npz"
    parser.add_argument("--points", type=Path, default=points, help="points2048.npz")
    parser.add_argument("--budget", default="seconds:60", help="steps:N or seconds:S, of one run")
    parser.add_argument("--arms", default="", help="names from the YAML file, separated by commas; all by default")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--cases", type=int, default=0, help="only so many objects, of all classes; 0 takes all")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "furniture")
    parser.add_argument("overrides", nargs="*", help="key.sub=value")
    return parser.parse_args()


def make_volumes(points: Path, folder: Path, cases: int = 0) -> Path:
    """Write each object as a volume, and the table that names class and object; those there already are kept."""
    stored = np.load(points, allow_pickle=False)
    classes, labels = stored["classes"], stored["labels"]
    places = np.argsort(labels, kind="stable")
    chosen = places[np.linspace(0, len(places) - 1, cases).astype(int)] if cases else places
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
    """Points of the unit sphere as a volume: the root of the share of points in each voxel, so that edges stay seen."""
    places = np.clip(((points.astype(np.float64) + 1) / 2 * SIDE).astype(int), 0, SIDE - 1)
    counts = np.zeros((SIDE,) * 3, np.float32)
    np.add.at(counts, tuple(places.T), 1)
    return np.sqrt(counts / len(points)).astype(np.float32)


def write_probe(path: Path) -> None:
    """The table of the train-free embedding, between its markers."""
    stored = Embeddings.load(path)
    found = probe(stored)
    lines = [
        "| probe | measure | value | 95 % interval |",
        "| --- | --- | --- | --- |",
    ]
    for each in found.findings:
        spread = "" if each.interval is None else f"{each.interval[0]:.3f} to {each.interval[1]:.3f}"
        lines.append(f"| {each.probe} | {each.metric} | {each.value:.3f} | {spread} |")
    write_block("furniture embedding", "\n".join(lines))


if __name__ == "__main__":
    main()
