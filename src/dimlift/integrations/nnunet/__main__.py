"""`python -m dimlift.integrations.nnunet`: install nnUNetTrainerDimlift into the installed nnU-Net.

nnU-Net from 2.8 also searches the folders of `nnUNet_extTrainer` (`TRAINER_FOLDER` below). Older versions search their
own package only, so that a file has to be copied there.
"""

import importlib.util
from pathlib import Path

import typer

from dimlift.errors import ConfigError

TRAINER_FOLDER = Path(__file__).parent / "trainers"
TRAINER_FILE = "nnUNetTrainerDimlift.py"


def install_trainer() -> Path:
    """Copy the trainer file to where the installed nnU-Net searches, and return its path.

    Raises:
        ConfigError: if nnU-Net is not installed.
    """
    found = importlib.util.find_spec("nnunetv2")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("nnunetv2 is not installed; pip install 'dimlift[nnunet]'")
    path = Path(found.submodule_search_locations[0]) / "training" / "nnUNetTrainer" / "variants" / TRAINER_FILE
    path.write_text((TRAINER_FOLDER / TRAINER_FILE).read_text(encoding="utf-8"), encoding="utf-8")
    return path


if __name__ == "__main__":
    typer.echo(f"wrote {install_trainer()}")
