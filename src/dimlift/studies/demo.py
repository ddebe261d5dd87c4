"""The demo: five arms at equal training time on simulated subjects. Needs no data and no network access."""

from pathlib import Path
from typing import Any

from dimlift.errors import RunError
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.record import RunRecord
from dimlift.studies.compare import compare
from dimlift.studies.load_config import parse
from dimlift.studies.run_config import StudyConfig

NETWORK = "packaged:efficientnet_lite0"
TRAINING_SUBJECTS, TEST_SUBJECTS = 4, 8
SIZE = (40, 48, 40)
"""Voxels of a subject, (z, y, x): about 3.7 mm each."""

SECONDS, QUICK_SECONDS = 345, 55
"""Training time of all runs together. A run ends at the first step after its budget, so some is left over."""


def demo(out: Path | str, quick: bool = False, progress: Progress = no_progress) -> list[RunRecord]:
    """Simulate subjects and compare five ways to train on them.

    Writes to `out` the files of a study (see `compare`), and the subjects to `out/subjects`.

    Args:
        out: a new or empty folder.
        quick: one minute of training in total and one seed, instead of six minutes and three seeds.

    Returns:
        One record per run.

    Raises:
        RunError: if the folder is not empty.
    """
    from dimlift.data.synthetic.heads import simulate_heads

    out = require_empty_folder(out)
    subjects = TRAINING_SUBJECTS + TEST_SUBJECTS
    progress(Event("read", message=f"simulating {subjects} subjects from the MNI152 head"))
    return compare(demo_study(simulate_heads(out / "subjects", subjects, size=SIZE), quick), out, progress)


def require_empty_folder(out: Path | str) -> Path:
    """Return a new or empty folder. Raises: RunError, if it is neither."""
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} is not empty, and the demo needs a new folder; delete it or choose another folder")
    return out


def demo_study(subjects: Path, quick: bool = False) -> StudyConfig:
    """Return the study of the demo: five arms with the same training time."""
    arms, seeds = _arms(quick), [0] if quick else [0, 1, 2]
    seconds = (QUICK_SECONDS if quick else SECONDS) / (len(arms) * len(seeds))
    raw: dict[str, Any] = {
        "title": "Does 2D knowledge help on these volumes?",
        "notes": [*_NOTES, *([_QUICK_NOTE] if quick else [])],
        "dataset": {"path": str(subjects), "layout": "nnunet"},
        "split": {"num_test": TEST_SUBJECTS},
        "budget": {"seconds": round(seconds, 1)},
        "training": {"batch_size": 1, "checkpoint_every": 3600.0},
        "arms": arms,
        "reference": "unet",
        "seeds": seeds,
    }
    return parse(raw, StudyConfig, source="the demo")


_NOTES = (
    "The subjects are simulated: one real head, the MNI152 average, each time with its own smooth deformation, "
    "contrast, bias field and noise. Results on patients may differ.",
    f"{TRAINING_SUBJECTS} training subjects, {TEST_SUBJECTS} test subjects, and seconds of training instead of hours: "
    "the demo shows how dimlift works, not how well a method can perform.",
)
_QUICK_NOTE = "With --quick there is one seed, and a single run cannot separate a method from chance: no verdict."


def _arms(quick: bool) -> dict[str, dict[str, Any]]:
    """Return the arms by name, the reference first. With `quick` features come from one plane to save time."""
    return {
        "unet": {
            "method": "unet",
            "title": "3D U-Net",
            "description": "A plain 3D U-Net trained from scratch, the usual choice without 2D pretraining.",
        },
        "frozen_features": {
            "method": "frozen_features",
            "network": NETWORK,
            "upsample": 2.0,
            **({"planes": ["depth"], "num_components": 24} if quick else {}),
            "title": "3D U-Net, frozen features",
            "description": "The same U-Net with additional input channels: features of each slice from a frozen "
            "ImageNet network. The time for extracting them counts.",
        },
        "slicewise": {
            "method": "slicewise",
            "network": NETWORK,
            "title": "2D network, slice by slice",
            "description": "The ImageNet network with a light 2D decoder; each slice is processed independently.",
        },
        "lifted": {
            "method": "lifted",
            "network": NETWORK,
            "title": "2D network, lifted",
            "description": "The ImageNet network with depth kernels, which is equal to slice by slice before training, "
            "and a 3D decoder.",
        },
        "lifted_random": {
            "method": "lifted",
            "network": NETWORK,
            "pretrained": False,
            "title": "lifted, random weights",
            "description": "The same lifted architecture without ImageNet weights: the control for their effect.",
        },
    }
