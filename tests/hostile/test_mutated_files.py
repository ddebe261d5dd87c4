"""Every single change of a JSON, CSV or TSV file of others: it is used, or refused by an error that names it."""

import json
import resource
import time
from collections.abc import Callable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.data.rgbd.cameras import read_camera_rig
from dimlift.errors import DimliftError
from dimlift.evaluation.linear_probe import cross_validated_probe
from dimlift.records.embeddings import Embeddings
from dimlift.studies.run_folder import lock_run_folder
from dimlift.studies.split import split_cases
from json_mutations import mutated
from small_runs import train_config, write_case
from table_mutations import mutated_table, mutated_text

SHAPE = (5, 4, 3)


class Target(NamedTuple):
    """A file and what reads it.

    Attributes:
        path: the file.
        content: what it holds: a JSON document, or the rows of a table.
        read: uses the file.
    """

    path: Path
    content: Any
    read: Callable[[], object]


def use_dataset(path: Path) -> None:
    """Open and check a dataset, and split it."""
    dataset = open_dataset(path)
    check_dataset(dataset, num_workers=1)
    if dataset.task != "segmentation" or dataset.labels:
        split_cases(dataset, train_config(path, split={"folds": 2}, task=dataset.task))


def nnunet(folder: Path) -> Target:
    for number in range(3):
        write_case(folder, f"c{number}", number, shape=SHAPE)
        (folder / "images" / f"c{number}.nii.gz").rename(folder / "images" / f"c{number}_0000.nii.gz")
    (folder / "images").rename(folder / "imagesTr")
    (folder / "labels").rename(folder / "labelsTr")
    content = {
        "name": "blobs",
        "channel_names": {"0": "T1"},
        "labels": {"background": 0, "a": 1, "b": 2, "ignore": 3},
        "numTraining": 3,
        "file_ending": ".nii.gz",
    }
    return Target(folder / "dataset.json", content, lambda: use_dataset(folder))


def file_list(folder: Path) -> Target:
    target = nnunet(folder)
    listed = {f"c{n}": {"images": [f"imagesTr/c{n}_0000.nii.gz"], "label": f"labelsTr/c{n}.nii.gz"} for n in range(3)}
    return target._replace(content={**target.content, "dataset": listed})


def datalist(folder: Path) -> Target:
    for number in range(3):
        write_case(folder, f"c{number}", number, shape=SHAPE)
    entries = [{"image": f"images/c{n}.nii.gz", "label": f"labels/c{n}.nii.gz"} for n in range(3)]
    content = {"labels": {"0": "background", "1": "a", "2": "b"}, "training": entries[:2], "validation": entries[2:]}
    return Target(folder / "datalist.json", content, lambda: use_dataset(folder / "datalist.json"))


def table(folder: Path) -> Target:
    for number in range(3):
        write_case(folder, f"c{number}", number, shape=SHAPE)
    rows = [
        ["image", "label", "group", "name"],
        *([f"images/c{n}.nii.gz", f"labels/c{n}.nii.gz", f"p{n}", f"n{n}"] for n in range(3)),
    ]
    return Target(folder / "table.csv", rows, lambda: use_dataset(folder / "table.csv"))


def point_cloud_table(folder: Path) -> Target:
    rows = [["cloud", "label", "group"]]
    for number in range(4):
        np.save(folder / f"c{number}.npy", np.random.default_rng(number).normal(size=(8, 3)))
        rows.append([f"c{number}.npy", "ab"[number % 2], f"p{number}"])
    return Target(folder / "table.csv", rows, lambda: use_dataset(folder / "table.csv"))


def bids_labels(folder: Path) -> Target:
    for number in range(2):
        write_case(folder, f"c{number}", number, shape=SHAPE)
        subject = folder / f"sub-{number}" / "anat"
        subject.mkdir(parents=True)
        (folder / "images" / f"c{number}.nii.gz").rename(subject / f"sub-{number}_T1w.nii.gz")
        (folder / "labels" / f"c{number}.nii.gz").rename(subject / f"sub-{number}_dseg.nii.gz")
    (folder / "images").rmdir()
    (folder / "labels").rmdir()
    (folder / "dataset_description.json").write_text("{}")
    rows = [["index", "name"], ["0", "background"], ["1", "a"], ["2", "b"]]
    return Target(folder / "dseg.tsv", rows, lambda: use_dataset(folder))


def splits(folder: Path) -> Target:
    for number in range(3):
        write_case(folder / "data", f"c{number}", number, shape=SHAPE)
    dataset, path = open_dataset(folder / "data"), folder / "splits_final.json"
    config = train_config(folder / "data", split={"file": str(path)}, fold=1)
    content = [{"train": ["c0", "c1"], "val": ["c2"]}, {"train": ["c1", "c2"], "val": ["c0"]}]
    return Target(path, content, lambda: split_cases(dataset, config))


def run_json(folder: Path) -> Target:
    config = {"seed": 0, "arm": {"method": "unet", "widths": [4, 8]}, "dataset": {"path": "d"}}
    hashes = {"images/a.nii.gz": "00", "images/b.nii.gz": "11"}

    def read() -> None:
        with lock_run_folder(folder, "train", "abc", config, hashes):
            pass

    read()
    path = folder / "run.json"
    return Target(path, json.loads(path.read_text()), read)


def cameras(folder: Path) -> Target:
    camera = {"fx": 525.0, "fy": 525.0, "cx": 320.0, "cy": 240.0}
    content = {
        "depth": camera, "colour": camera, "colour_to_depth": np.eye(4).tolist(), "values_per_metre": 1000.0
    }  # fmt: skip
    return Target(folder / "cameras.json", content, lambda: read_camera_rig(folder))


def probe_labels(folder: Path) -> Target:
    rng, names = np.random.default_rng(0), np.array([f"c{n}" for n in range(8)])
    embeddings = Embeddings(rng.normal(size=(8, 2)).astype(np.float32), names, names, np.array([""] * 8), {})
    rows = [["name", "label", "group"], *([name, "ab"[n % 2], f"p{n}"] for n, name in enumerate(names))]
    path = folder / "labels.csv"
    return Target(path, rows, lambda: cross_validated_probe(embeddings, path, folds=2))


def mutations(target: Target) -> Iterator[tuple[str, bytes]]:
    if target.path.suffix == ".json":
        documents = ((name, json.dumps(content).encode()) for name, content in mutated(target.content))
        return chain(mutated_text(json.dumps(target.content)), documents)
    return mutated_table(target.content, "\t" if target.path.suffix == ".tsv" else ",")


READERS = (nnunet, file_list, datalist, table, point_cloud_table, bids_labels, splits, run_json, cameras)


@pytest.mark.parametrize(
    ("make", "every"),
    [
        *((make, 3) for make in READERS),
        (probe_labels, 50),  # every probe that works takes a second
        *(pytest.param(make, 1, marks=pytest.mark.slow) for make in (*READERS, probe_labels)),
    ],
)
def test_changed_file_is_used_or_refused_by_name(make, every, tmp_path):
    target = make(tmp_path)
    before, slowest, wrong, count = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, ("", 0.0), [], 0
    for name, changed in islice(mutations(target), 0, None, every):
        target.path.write_bytes(changed)
        begun = time.process_time()
        count += 1
        try:
            target.read()
        except DimliftError as error:
            if not any(part in str(error) for part in (target.path.name, str(tmp_path))):
                wrong.append(f"{name}: no file in {error}")
        except Exception as error:  # the test is that there is none
            wrong.append(f"{name}: {type(error).__name__} {error}"[:200])
        slowest = max(slowest, (name, time.process_time() - begun), key=lambda each: each[1])
    assert not wrong, wrong
    assert slowest[1] < 3, slowest
    assert count * every > 150
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 * 1024
