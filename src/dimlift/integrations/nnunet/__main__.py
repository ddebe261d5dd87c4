"""`python -m dimlift.experiments.nnunet`: make nnUNetTrainerDimlift known to the nnU-Net that is installed.

nnU-Net from 2.8 looks into the folders of `nnUNet_extTrainer` as well (`FOLDER` below). Older ones look inside their
own package alone, so that one line has to be put there.
"""

import importlib.util
from pathlib import Path

import typer

from dimlift.errors import ConfigError

FOLDER = Path(__file__).parent / "trainers"
"""Holds the one line nnU-Net has to find."""

LINE = "nnUNetTrainerDimlift.py"


def make_known() -> Path:
    """Put the line where the installed nnU-Net looks for trainers.

    Returns:
        the file that was written.

    Raises:
        ConfigError: if nnU-Net is not installed.
    """
    found = importlib.util.find_spec("nnunetv2")
    if found is None or not found.submodule_search_locations:
        raise ConfigError("nnunetv2 is not installed; pip install 'dimlift[nnunet]'")
    place = Path(found.submodule_search_locations[0]) / "training" / "nnUNetTrainer" / "variants" / LINE
    place.write_text((FOLDER / LINE).read_text(encoding="utf-8"), encoding="utf-8")
    return place


if __name__ == "__main__":
    typer.echo(f"wrote {make_known()}")
