"""File lists of point cloud benchmarks: text files with one point cloud, or one file of point clouds, per line.

modelnet40_train.txt      airplane_0001                   airplane/airplane_0001.txt, class airplane
train_files.txt           data/.../ply_data_train0.h5     ply_data_train0.h5, all point clouds in it
ShapeNet-55/train.txt     02691156-1a04e3ea.npy           that file, or ../shapenet_pc/02691156-1a04e3ea.npy
scannetv2_train.txt       scene0000_00                    scene0000_00/scene0000_00_vh_clean_2.ply, or below scans/
"""

import re
from pathlib import Path

from dimlift.data.io.point_cloud import POINT_CLOUD_READERS
from dimlift.errors import DataError

MAX_LINES = 1_000_000


def read_benchmark_list(path: Path) -> list[tuple[Path, str | None]]:
    """Return the files of a list, and the class of each where its name states one.

    Raises:
        DataError: if the list is empty, or one of its files does not exist.
    """
    lines = path.read_text(encoding="utf-8-sig").split("\n")[:MAX_LINES]
    words = [line.strip() for line in lines if line.strip()]
    if not words:
        raise DataError(f"{path} is empty; one point cloud, or one file of point clouds, per line is expected")
    entries = []
    for number, word in enumerate(words, start=1):
        candidates = _candidates(path.parent, word)
        file = next((candidate for candidate in candidates if candidate.is_file()), None)
        if file is None:
            tried = ", ".join(str(candidate) for candidate in candidates[:3])
            raise DataError(
                f"{path}, line {number}: {word!r} does not exist ({tried}); put the list next to its point clouds"
            )
        entries.append((file, _class_name(word)))
    return entries


def _candidates(folder: Path, word: str) -> list[Path]:
    name = Path(word).name
    if Path(word).suffix.lower() in (*POINT_CLOUD_READERS, ".h5", ".hdf5"):
        return [folder / word, folder / name, folder.parent / "shapenet_pc" / name]
    scene = Path(name) / f"{name}_vh_clean_2.ply"
    class_name = _class_name(name) or name
    return [
        folder / class_name / f"{name}.txt",
        folder / scene,
        folder / "scans" / scene,
        folder.parent / "scans" / scene,
    ]


def _class_name(word: str) -> str | None:
    """Return the class in a name: ModelNet (airplane_0001) or ShapeNet (02691156-1a04e3ea.npy); scenes have none."""
    match = re.fullmatch(r"(.+)_\d{4}|(\d{8})-.+", Path(word).name)
    return None if match is None else match.group(1) or match.group(2)
