"""The demo: simulated subjects, five arms at equal training time. Nothing to bring, nothing to download."""

from pathlib import Path
from typing import Any

from dimlift.errors import RunError
from dimlift.progress import Event, Progress, silent
from dimlift.records.record import Record
from dimlift.studies.compare import compare
from dimlift.studies.load_config import parse
from dimlift.studies.run_config import StudyConfig

NETWORK = "packaged:efficientnet_lite0"
TRAINING_SUBJECTS, TEST_SUBJECTS = 4, 8
SIZE = (40, 48, 40)
"""Voxels of a subject, (z, y, x): about 3.7 mm each."""

SECONDS, QUICK_SECONDS = 345, 55
"""Training time of all runs together; a run ends at the first step beyond its share, so a little is left over."""


def demo(out: Path | str, quick: bool = False, progress: Progress = silent) -> list[Record]:
    """Simulate subjects and compare five ways to train on them.

    Leaves in `out` what `compare` leaves, and the subjects in `out/subjects`.

    Args:
        out: must be new or empty.
        quick: one minute of training in all and one seed, instead of six minutes and three.

    Returns:
        one record for each run.

    Raises:
        RunError: if the folder holds anything.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} already holds something and the demo starts afresh; delete it or choose another folder")
    from dimlift.data.synthetic.heads import simulate

    subjects = TRAINING_SUBJECTS + TEST_SUBJECTS
    progress(Event("read", message=f"simulating {subjects} subjects from the MNI152 head"))
    return compare(study(simulate(out / "subjects", subjects, size=SIZE), quick), out, progress)


def study(subjects: Path, quick: bool = False) -> StudyConfig:
    """What the demo compares: five arms, every run as long as every other."""
    arms, seeds = _arms(quick), [0] if quick else [0, 1, 2]
    seconds = (QUICK_SECONDS if quick else SECONDS) / (len(arms) * len(seeds))
    raw: dict[str, Any] = {
        "title": "Does 2D knowledge help on these volumes?",
        "notes": [*_NOTES, *([_QUICK_NOTE] if quick else [])],
        "dataset": {"path": str(subjects), "layout": "nnunet"},
        "split": {"test_cases": TEST_SUBJECTS},
        "budget": {"seconds": round(seconds, 1)},
        "training": {"batch_size": 1, "checkpoint_every": 3600.0},
        "arms": arms,
        "reference": "unet",
        "seeds": seeds,
    }
    return parse(raw, StudyConfig, source="the demo")


_NOTES = (
    "The subjects are simulated: one real head, the MNI152 average, each time with its own smooth deformation, "
    "contrast, bias field and noise. What wins here need not win on patients.",
    f"{TRAINING_SUBJECTS} subjects to learn from, {TEST_SUBJECTS} to be tested on, and seconds of training where "
    "a real study takes hours: the demo shows what dimlift does, not how good a method can become.",
)
_QUICK_NOTE = "With --quick there is one seed, and one run cannot tell a method from its luck: no verdict is given."


def _arms(quick: bool) -> dict[str, dict[str, Any]]:
    """The arms by name, the reference first. The quick demo borrows from one plane: three would eat its seconds."""
    return {
        "unet": {
            "method": "unet",
            "title": "3D U-Net",
            "description": "A plain 3D U-Net from scratch: what one would otherwise use.",
        },
        "borrowed": {
            "method": "borrowed",
            "network": NETWORK,
            "enlarge": 2.0,
            **({"planes": ["depth"], "components": 24} if quick else {}),
            "title": "3D U-Net, borrowed features",
            "description": "The same U-Net; the features a frozen ImageNet network sees in each slice are extra "
            "channels. The time to compute them counts.",
        },
        "slices": {
            "method": "slices",
            "network": NETWORK,
            "title": "2D network, slice by slice",
            "description": "The ImageNet network with a light 2D decoder; no slice sees its neighbours.",
        },
        "lifted": {
            "method": "lifted",
            "network": NETWORK,
            "title": "2D network, lifted",
            "description": "The ImageNet network with depth kernels that start as slice by slice, and a 3D decoder.",
        },
        "lifted_random": {
            "method": "lifted",
            "network": NETWORK,
            "pretrained": False,
            "title": "lifted, random weights",
            "description": "The same lifted architecture without ImageNet: the control for what the weights bring.",
        },
    }
