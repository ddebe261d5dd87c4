"""Fuzzing targets: readers of untrusted bytes, which may return or raise a DimliftError and must not fail otherwise.

Hypothesis (`test_fuzz.py`) and atheris (`fuzz.py`) share these.
"""

import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path

import yaml
from corpus import cloud, dicom, entry, nifti, png, safetensors, tar, volume, zipped

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.io.archives import ArchiveLimits, extract_archive
from dimlift.data.io.images import read_rgb
from dimlift.data.io.point_cloud import POINT_CLOUD_READERS, read_point_cloud
from dimlift.data.io.readers import VOLUME_READERS, read_grid, read_volume
from dimlift.errors import DimliftError
from dimlift.records.record import RunRecord
from dimlift.records.study import Study
from dimlift.records.weights import read_weights
from dimlift.studies.load_config import load_config
from dimlift.studies.run_config import StudyConfig, TrainConfig

Target = Callable[[bytes], None]

CONFIG = yaml.safe_dump(
    {
        "dataset": {"path": "set"},
        "budget": {"steps": 10},
        "arm": {"method": "lifted", "network": "timm:resnet18", "plan": {"kernel": 3, "reduce": [1, 2, 1, 1]}},
        "training": {"patch_size": [8, 8, 8], "mirror_axes": ["z"]},
        "seed": 1,
    }
).encode()
RECORD = json.dumps(
    {
        "schema": 1, "run_id": "c", "arm": "a", "train_fraction": 1.0, "fold": 0, "seed": 0, "steps": 1, "seconds": 1.0,
        "peak_bytes": 1, "versions": {}, "status": "finished",
        "scores": [{"case": "a", "class": "b", "metric": "dice", "value": 0.5}],
    }
).encode()  # fmt: skip
STUDY = b'{"schema": 1, "title": "t", "task": "segmentation", "reference": "a", "arms": {"a": {}}, "planned": 1}'
DESCRIPTION = (
    b'{"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1},'
    b' "training": [{"image": "imagesTr/a_0000.nii", "label": "labelsTr/a.nii"}]}'
)


def _refuses(read: Callable[[Path], object], name: str, others: dict[str, bytes] | None = None) -> Target:
    """Return a target that writes bytes to the file `name` in a new folder and calls `read` with the folder."""

    def target(content: bytes) -> None:
        logging.disable(logging.CRITICAL)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            for other, bytes_ in {**(others or {}), name: content}.items():
                (folder / other).parent.mkdir(parents=True, exist_ok=True)
                (folder / other).write_bytes(bytes_)
            try:
                read(folder)
            except DimliftError as refusal:
                if not str(refusal).strip():
                    raise AssertionError("an error without a message") from refusal

    return target


def _volume(suffix: str) -> Target:
    return _refuses(lambda folder: (read_grid(folder / f"a{suffix}"), read_volume(folder / f"a{suffix}")), f"a{suffix}")


def _archive(suffix: str) -> Target:
    limits = ArchiveLimits(entries=100, always=1 << 20)
    return _refuses(lambda folder: extract_archive(folder / f"a{suffix}", folder / "out", limits), f"a{suffix}")


TARGETS: dict[str, tuple[Target, list[bytes]]] = {
    **{
        f"volume {suffix}": (_volume(suffix), [volume(suffix), b""])
        for suffix in VOLUME_READERS
        if suffix not in (".webm", ".mov")  # read as .mkv and .mp4 are
    },
    **{
        f"cloud {suffix}": (
            _refuses(lambda f, suffix=suffix: read_point_cloud(f / f"a{suffix}"), f"a{suffix}"),
            [cloud(suffix)],
        )
        for suffix in POINT_CLOUD_READERS
    },
    "image": (_refuses(lambda f: read_rgb(f / "a.png"), "a.png"), [png(4, 4)]),
    "DICOM slice": (_refuses(lambda f: read_volume(f / "series"), "series/a.dcm"), [dicom()]),
    "train configuration": (_refuses(lambda f: load_config(f / "a", [], TrainConfig), "a"), [CONFIG, b"a: &a [*a]"]),
    "study configuration": (_refuses(lambda f: load_config(f / "a", [], StudyConfig), "a"), [CONFIG, b"- 1"]),
    "override": (
        _refuses(lambda f: load_config(f / "a", [(f / "b").read_text("latin-1")], TrainConfig), "b", {"a": CONFIG}),
        [b"training.batch_size=4", b"arm.plan=[1]"],
    ),
    "record": (_refuses(lambda f: RunRecord.load(f / "a.json"), "a.json"), [RECORD]),
    "study": (_refuses(Study.load, "study.json"), [STUDY]),
    "weights folder": (
        _refuses(read_weights, "model.safetensors", {"model.json": b'{"schema": 1}'}),
        [safetensors(entry())],
    ),
    "description": (
        _refuses(open_dataset, "dataset.json", {"imagesTr/a_0000.nii": nifti(), "labelsTr/a.nii": nifti()}),
        [DESCRIPTION],
    ),
    "table": (
        _refuses(lambda f: open_dataset(f / "a.csv"), "a.csv", {"a.nii": nifti()}),
        [b"image,label,group\na.nii,a.nii,anna\n", b"image,image2,label\na.nii,a.nii,1\n"],
    ),
    "tar": (_archive(".tar"), [tar(("a", {"size": 3}), ("b/c", {"size": 600}))]),
    "zip": (_archive(".zip"), [zipped("a")]),
}
