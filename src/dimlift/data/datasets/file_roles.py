"""Words in names of files and folders: masks (`_seg`, `labels/`), images, sessions (`ses-1`), splits (`test/`)."""

import re

MASK_WORDS = frozenset(
    (
        "seg", "segs", "segmentation", "segmentations", "mask", "masks", "label", "labels", "lbl", "labelmap", "gt",
        "groundtruth", "truth", "ot", "dseg", "roi", "rois", "annotation", "annotations", "contour", "contours",
    )
)  # fmt: skip
IMAGE_WORDS = frozenset(
    ("image", "images", "img", "imgs", "imaging", "volume", "volumes", "vol", "vols", "scan", "scans", "data")
)
SPLIT_WORDS = frozenset(["train", "training", "test", "testing", "val", "valid", "validation"])
CLASS_WORDS = frozenset(["class", "grade", "stage", "type", "label", "category", "cls", "group", "level", "score"])

_SESSION = re.compile(
    r"(ses|sess|session|visit|tp|timepoint|time|scan|study|exam|day|week|month|year)[-_ ]?\d+[a-z]?"
    r"|(ses|session|visit|tp|timepoint|study|exam)[-_ ]\w+"
    r"|(baseline|follow-?up|pre|post|preop|postop)[-_ ]?\d*|\d{4}[-_.]?\d{2}[-_.]?\d{2}",
    re.IGNORECASE,
)
_SEPARATORS = "_-. "


def words_of_name(name: str) -> list[str]:
    """Return the words of a name in lower case: `groundTruth_01` has `ground` and `truth`."""
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)]


def is_mask_name(name: str) -> bool:
    """Return whether a name has a word for masks."""
    return not MASK_WORDS.isdisjoint(words_of_name(name))


def is_role_name(name: str) -> bool:
    """Return whether a folder name says what its files are (`images`, `T1_masks`), not whose they are."""
    return not (MASK_WORDS | IMAGE_WORDS).isdisjoint(words_of_name(name)) and not is_session_name(name)


def is_session_name(name: str) -> bool:
    """Return whether a folder name is that of a visit of a patient: `ses-1`, `visit2`, `20200131`."""
    return _SESSION.fullmatch(name) is not None


def without_mask_words(name: str) -> str:
    """Return a name without its words for masks, image words and the separators around them: `case1_seg` is `case1`."""
    parts = re.split(rf"[{re.escape(_SEPARATORS)}/]+", name)
    kept = [part for part in parts if (MASK_WORDS | IMAGE_WORDS).isdisjoint(words_of_name(part))]
    return "_".join(part for part in kept if part)


def without_prefix(stem: str, prefix: str) -> str:
    """Return a stem without a leading name: `p1_flair` without `p1` is `flair`; unchanged where it has none."""
    if prefix and stem.lower().startswith(prefix.lower()):
        rest = stem[len(prefix) :]
        if not rest or rest[0] in _SEPARATORS:
            return rest.strip(_SEPARATORS)
    return stem
