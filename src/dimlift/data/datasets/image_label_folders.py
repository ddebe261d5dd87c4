"""Two folders, images/ and labels/ (or image/ and mask/, imagesTr/ and labelsTr/, ...), with one mask per case.

The masks decide what a number at the end of an image's name is: with a mask CASE_0001.nii.gz it belongs to the case,
with a mask CASE.nii.gz it is a channel.
"""

from pathlib import Path
from typing import NamedTuple

from dimlift.data.case import Case, Dataset, TaskType
from dimlift.data.datasets.dataset_json import DATASET_JSON, describe_labels, parse_channels, read_dataset_json
from dimlift.data.datasets.file_roles import without_mask_words
from dimlift.data.datasets.layout import Layout
from dimlift.data.datasets.nnunet import CHANNEL_FILE
from dimlift.data.io.readers import files_by_stem, infer_channel_names, list_volumes, volume_suffix
from dimlift.data.issue import Issue

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "volumes", "volume", "imagestr")
LABEL_FOLDERS = (
    "labels", "label", "masks", "mask", "segmentations", "segmentation", "segs", "seg", "annotations", "gt",
    "groundtruth", "labelstr",
)  # fmt: skip
PAIR_FOLDERS = frozenset((*IMAGE_FOLDERS, *LABEL_FOLDERS))
"""Names of folders that are no class and no patient, in lower case."""


class _Files(NamedTuple):
    """Images by case (one file per channel), masks by case, masks without image, and the number of channel files."""

    images: dict[str, tuple[Path, ...]]
    masks: dict[str, Path]
    unmatched: tuple[Path, ...]
    channels: int


def _matches(path: Path) -> bool:
    """Require a folder of images by name, and one of labels unless it is called images or imagesTr."""
    if not path.is_dir():
        return False
    names = {folder.name.lower() for folder in _subfolders(path, IMAGE_FOLDERS)}
    return bool(names) and (bool(names & {"images", "imagestr"}) or bool(_subfolders(path, LABEL_FOLDERS)))


def _read(path: Path, task: TaskType | None) -> Dataset:
    """Return cases by file name. Without a dataset.json every value in a mask is a label, named by its number."""
    images = _only(path, _subfolders(path, IMAGE_FOLDERS)) or path / "images"
    labels = _only(path, _subfolders(path, LABEL_FOLDERS)) or path / "labels"
    files = _match_files(images, labels)
    cases = []
    for name, channel_files in files.images.items():
        missing = labels / f"{name}{volume_suffix(channel_files[0]) or ''}"
        cases.append(Case(name, channel_files, files.masks.get(name, missing), group=name))
    if files.channels > 1:
        channels = tuple(f"image{index}" for index in range(1, files.channels + 1))
    else:
        channels = infer_channel_names(case.images[0] for case in cases)
    if (path / DATASET_JSON).is_file():
        channels = parse_channels(path, read_dataset_json(path))
    found, ignore = describe_labels(path, [*files.masks.values(), *files.unmatched])
    name = path.resolve().name
    return Dataset(name, path, tuple(cases), channels, found, "segmentation", ignore, (), files.unmatched)


def _subfolders(path: Path, names: tuple[str, ...]) -> list[Path]:
    if not path.is_dir():
        return []
    # beside a dataset.json, imagesTr and labelsTr belong to nnU-Net or the Decathlon
    known = {name for name in names if not name.endswith("tr") or not (path / DATASET_JSON).is_file()}
    folders = (folder for folder in sorted(path.iterdir()) if folder.is_dir() and folder.name.lower() in known)
    return [folder for folder in folders if list_volumes(folder)]


def _only(path: Path, folders: list[Path]) -> Path | None:
    if len(folders) > 1:
        names = " and ".join(f"{folder.name}/" for folder in folders[:2])
        fix = "keep one of them, or name the files by layout patterns (docs/data.md)"
        raise Issue(str(path), "error", f"has {names}, which could each be the folder", fix).as_error()
    return folders[0] if folders else None


def _match_files(images: Path, labels: Path) -> _Files:
    by_image, masks = files_by_stem(list_volumes(images)), files_by_stem(list_volumes(labels))
    numbered = {stem: match for stem in by_image if (match := CHANNEL_FILE.match(stem))}
    exact = [stem for stem in by_image if stem in masks]
    by_case = [stem for stem, match in numbered.items() if match["case"] in masks]
    if exact and by_case:
        fix = "rename one of them: a number of four digits is a channel, or belongs to the case"
        message = (
            f"has a mask for {exact[0]}, but also one for {numbered[by_case[0]]['case']}, the case of {by_case[0]}"
        )
        raise Issue(str(labels), "error", message, fix).as_error()
    if by_case:
        return _channel_files(by_image, masks, images)
    if not exact and masks:
        by_key = {without_mask_words(stem): stem for stem in masks}
        keys = {stem: without_mask_words(stem) for stem in by_image}
        if len(by_key) == len(masks) and len(set(keys.values())) == len(keys) and by_key.keys() & set(keys.values()):
            renamed = {key: stem for stem, key in keys.items()}
            masks = {renamed.get(key, mask): masks[mask] for key, mask in by_key.items()}
    unmatched = tuple(masks[stem] for stem in masks if stem not in by_image)
    return _Files({stem: (file,) for stem, file in by_image.items()}, masks, unmatched, 1)


def _channel_files(by_image: dict[str, Path], masks: dict[str, Path], images: Path) -> _Files:
    """Return CASE_0000, CASE_0001, ... as the channels of CASE."""
    parts: dict[str, dict[int, Path]] = {}
    others = []
    for stem, file in by_image.items():
        if match := CHANNEL_FILE.match(stem):
            parts.setdefault(match["case"], {})[int(match["channel"])] = file
        else:
            others.append(file)
    count = max(max(found) for found in parts.values()) + 1
    suffix = volume_suffix(next(iter(by_image.values()))) or ".nii.gz"
    cases = {
        name: tuple(found.get(index, images / f"{name}_{index:04d}{suffix}") for index in range(count))
        for name, found in sorted(parts.items())
    }
    unmatched = (*others, *(masks[stem] for stem in masks if stem not in cases))
    return _Files(cases, masks, tuple(unmatched), count)


IMAGE_LABEL_FOLDERS = Layout(
    "folders",
    "two folders (images/CASE.nii.gz, labels/CASE.nii.gz)",
    _matches,
    _read,
    evidence="a folder of images and one of labels",
    compared=True,
)
