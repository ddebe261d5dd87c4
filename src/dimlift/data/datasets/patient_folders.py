"""One folder per patient (or per session in it) with images and masks; names say which file is which.

BraTS20_001/BraTS20_001_flair.nii.gz, ..._t1.nii.gz, ..._seg.nii.gz      sequences are channels, one mask
p1/ses-1/image.nii.gz, p1/ses-1/mask.nii.gz                              the patient is p1
p1/ct.nii.gz, p1/masks/ct.nii.gz                                         masks below
patient001/patient001_frame01.nii.gz, ..._frame01_gt.nii.gz              every image with a mask of its own is a case
"""

import re
from collections import Counter
from pathlib import Path

from dimlift.data.case import Case, Dataset, TaskType
from dimlift.data.datasets.case_names import patient_of
from dimlift.data.datasets.dataset_json import DATASET_JSON, describe_labels, parse_channels, read_dataset_json
from dimlift.data.datasets.file_roles import SPLIT_WORDS, is_session_name, without_prefix
from dimlift.data.datasets.image_label_folders import PAIR_FOLDERS
from dimlift.data.datasets.layout import Layout
from dimlift.data.datasets.patient_files import PatientFile, PatientFolder, find_patient_folders
from dimlift.data.issue import Issue
from dimlift.errors import DataError

_PATTERNS = 'name the files by patterns, layout: {image: "{case}/*_t1.nii.gz", label: "{case}/*_seg.nii.gz"}'


_ONE_MASK = (
    "write one label map per case, with a number for each class (TotalSegmentator: totalseg_combine_masks), or choose "
    "one mask by layout patterns (docs/data.md)"
)


def _matches(path: Path) -> bool:
    """Require at least half of the folders with an image and a mask, by their names."""
    if not path.is_dir() or (path / "dataset_description.json").is_file():
        return False
    if any(folder.name.lower() in PAIR_FOLDERS for folder in path.iterdir() if folder.is_dir()):
        return False
    folders = find_patient_folders(path)
    return sum(bool(folder.masks) for folder in folders) * 2 >= len(folders) > 0


def _read(path: Path, task: TaskType | None) -> Dataset:
    """Return one case per folder with one mask, or one per image where every image has a mask of its own.

    Raises:
        DataError: if it is unclear which file is which, naming a folder and its files.
    """
    folders = find_patient_folders(path)
    if not folders:
        raise Issue(str(path), "error", "holds no image", "put the files of each patient into a folder").as_error()
    groups = _patients(path, folders)
    for folder in folders:
        if not folder.images:
            raise _unclear(path, folder, "has masks, but no image")
    labelled = [folder for folder in folders if folder.masks]
    if not labelled:
        raise _unclear(path, folders[0], "has no file that is a mask by its name (seg, mask, label, gt, roi)")
    if all(len(folder.masks) == 1 for folder in labelled) and not _pairs_some_images(labelled):
        cases, channels, unmatched = _one_case_each(path, folders, groups)
    else:
        cases, channels, unmatched = _one_case_per_pair(path, folders, groups)
    masks = [case.label for case in cases if isinstance(case.label, Path)]
    labels, ignore = describe_labels(path, masks)
    channels = _named_channels(path, channels)
    return Dataset(path.resolve().name, path, cases, channels, labels, "segmentation", ignore, (), unmatched)


def _patients(root: Path, folders: list[PatientFolder]) -> list[str]:
    """Return the patient of each folder.

    Numbered folders below folders without a digit (HGG/BraTS_1, LGG/BraTS_2) are patients; folders with the name of a
    session (ses-1) belong to the patient above.

    Raises:
        DataError: if the folders are those of a split, or patients and sessions cannot be distinguished.
    """
    top = {folder.folders[0] for folder in folders}
    if splits := sorted(name for name in top if name.lower() in SPLIT_WORDS):
        message = f"has the folders {', '.join(f'{name}/' for name in splits)} of a split"
        raise Issue(str(root), "error", message, f"pass the one to train on ({root / splits[0]})").as_error()
    collections = not any(re.search(r"\d", name) for name in top)
    patients = []
    for folder in folders:
        below = folder.folders[1:]
        if below and not is_session_name(below[0]) and not (collections and re.search(r"\d", below[0])):
            same = [other for other in folders if other.folders[0] == folder.folders[0]]
            if len(same) > 1:
                message = f"has {len(same)} folders in {folder.folders[0]}/, which could be patients or sessions of one"
                fix = 'write {patient} into a layout pattern, layout: {image: "{patient}/{case}/*.nii.gz", ...}'
                raise Issue(str(root), "error", message, fix).as_error()
        patients.append(patient_of(folder.folders))
    return patients


def _pairs_some_images(folders: list[PatientFolder]) -> bool:
    """Return whether a mask names one of several images of its folder (frame01, frame01_gt, 4d)."""
    return any(
        len(f.images) > 1 and mask.target in {i.target for i in f.images} - {""} for f in folders for mask in f.masks
    )


def _one_case_each(
    root: Path, folders: list[PatientFolder], groups: list[str]
) -> tuple[tuple[Case, ...], tuple[str, ...], tuple[Path, ...]]:
    """Return one case per folder; files with the same role are one channel."""
    if all(len(folder.images) == 1 for folder in folders):
        roles = {folder.images[0].role for folder in folders}
        channels = tuple(roles) if len(roles) == 1 and "" not in roles else ("image",)
        by_role = [dict.fromkeys(channels, folder.images[0]) for folder in folders]
    else:
        counts = Counter(image.role for folder in folders for image in folder.images)
        channels = tuple(sorted(role for role, count in counts.items() if 2 * count > len(folders)))
        if not channels:
            raise _unclear(root, folders[0], "has images whose names occur in no other folder")
        by_role = [{image.role: image for image in folder.images} for folder in folders]
    cases, unmatched = [], []
    mask_role = Counter(folder.masks[0].role for folder in folders if folder.masks).most_common(1)[0][0]
    template = next(f for f in folders if f.masks and f.masks[0].role == mask_role)
    for folder, images, group in zip(folders, by_role, groups, strict=True):
        own = folder.images[0].path
        files = tuple(images[role].path if role in images else _expected(role, folder, folders) for role in channels)
        mask = folder.masks[0].path if folder.masks else own.parent / _renamed(template.masks[0], template, folder)
        cases.append(Case("_".join(folder.folders), files, mask, group))
        unmatched += [image.path for role, image in images.items() if role not in channels]
    return tuple(cases), channels, tuple(unmatched)


def _expected(role: str, folder: PatientFolder, folders: list[PatientFolder]) -> Path:
    """Return the path of a missing channel, named as in the other folders."""
    for other in folders:
        for file in other.images:
            if file.role == role:
                return folder.images[0].path.parent / _renamed(file, other, folder)
    raise KeyError(role)


def _renamed(file: PatientFile, owner: PatientFolder, folder: PatientFolder) -> str:
    """Return the name of a file with the name of another patient, if it begins with that of its own."""
    rest = without_prefix(file.path.name, owner.folders[-1])
    return file.path.name if rest == file.path.name else folder.folders[-1] + file.path.name[len(owner.folders[-1]) :]


def _one_case_per_pair(
    root: Path, folders: list[PatientFolder], groups: list[str]
) -> tuple[tuple[Case, ...], tuple[str, ...], tuple[Path, ...]]:
    """Return one case per mask that names its image (frame01_gt, frame01); other images belong to no case."""
    cases, unmatched = [], []
    for folder, group in zip(folders, groups, strict=True):
        images: dict[str, list[PatientFile]] = {}
        for image in folder.images:
            images.setdefault(image.target, []).append(image)
        targets = Counter(mask.target for mask in folder.masks)
        for mask in folder.masks:
            if targets[mask.target] > 1 or len(images.get(mask.target, ())) != 1:
                raise _unclear(root, folder, _several_masks(folder), _ONE_MASK)
            (image,) = images.pop(mask.target)
            cases.append(Case("_".join(filter(None, (*folder.folders, mask.target))), (image.path,), mask.path, group))
        left = [image for found in images.values() for image in found]
        if left and len(folder.masks) == 1:
            names = ", ".join(file.path.name for file in left[:3])
            raise _unclear(root, folder, f"has a mask for one image, and {names}, which could be channels of it")
        unmatched += [image.path for image in left]
    return tuple(cases), ("image",), tuple(unmatched)


def _several_masks(folder: PatientFolder) -> str:
    names = [file.role.rpartition("/")[2] for file in folder.masks]
    listed = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"has {len(names)} masks ({listed}), as with one mask per class or per observer"


def _unclear(root: Path, folder: PatientFolder, message: str, fix: str = _PATTERNS) -> DataError:
    return Issue(str(root.joinpath(*folder.folders)), "error", message, fix).as_error()


def _named_channels(root: Path, channels: tuple[str, ...]) -> tuple[str, ...]:
    """Return the channel names of a dataset.json in the root, if it names those of the files, or the only one.

    Raises:
        DataError: if it names another number of channels.
    """
    if not (root / DATASET_JSON).is_file() or "channel_names" not in (content := read_dataset_json(root)):
        return channels
    names = parse_channels(root, content)
    if len(names) != len(channels):
        message = f"names the channels {', '.join(names)}, but the files are {', '.join(channels)}"
        raise Issue(str(root / DATASET_JSON), "error", message, "name those of the files").as_error()
    return names if len(names) == 1 else channels


PATIENT_FOLDERS = Layout(
    "patients",
    "one folder per patient (p1/p1_t1.nii.gz, p1/p1_seg.nii.gz)",
    _matches,
    _read,
    evidence="one folder per patient, with a mask by its name (_seg, _mask, _gt, masks/)",
    compared=True,
)
