"""Lists of clouds as benchmarks hand them out: a text file, one cloud (or one file of clouds) a line.

modelnet40_train.txt      airplane_0001                   airplane/airplane_0001.txt, of the class airplane
train_files.txt           data/.../ply_data_train0.h5     ply_data_train0.h5, all clouds in it
ShapeNet-55/train.txt     02691156-1a04e3ea.npy           the same, or ../shapenet_pc/02691156-1a04e3ea.npy
scannetv2_train.txt       scene0000_00                    scene0000_00/scene0000_00_vh_clean_2.ply, or below scans/
"""

import re
from pathlib import Path

from dimlift.data.io.point_cloud import READERS
from dimlift.errors import DataError

LONGEST = 1_000_000
"""Lines of a list."""


def listed(path: Path) -> list[tuple[Path, str | None]]:
    """The files a list names, and the class each name tells.

    Raises:
        DataError: if it names nothing, or something that is not there.
    """
    lines = path.read_text(encoding="utf-8-sig").split("\n")[:LONGEST]
    words = [line.strip() for line in lines if line.strip()]
    if not words:
        raise DataError(f"{path} names no cloud; one file, or one cloud, a line is wanted")
    found = []
    for number, word in enumerate(words, start=1):
        tried = _candidates(path.parent, word)
        file = next((each for each in tried if each.is_file()), None)
        if file is None:
            shown = ", ".join(str(each) for each in tried[:3])
            raise DataError(f"{path}, line {number}: {word!r} is not there ({shown}); put the list beside its clouds")
        found.append((file, _class_of(word)))
    return found


def _candidates(home: Path, word: str) -> list[Path]:
    name = Path(word).name
    if Path(word).suffix.lower() in (*READERS, ".h5", ".hdf5"):
        return [home / word, home / name, home.parent / "shapenet_pc" / name]
    scene = Path(name) / f"{name}_vh_clean_2.ply"
    kind = _class_of(name) or name
    return [home / kind / f"{name}.txt", home / scene, home / "scans" / scene, home.parent / "scans" / scene]


def _class_of(word: str) -> str | None:
    """ModelNet: airplane_0001; ShapeNet: 02691156-1a04e3ea.npy. Scenes show many things."""
    name = Path(word).name
    told = re.fullmatch(r"(.+)_\d{4}|(\d{8})-.+", name)
    return None if told is None else told.group(1) or told.group(2)
