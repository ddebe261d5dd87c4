"""Run the command line in this process, and write small images."""

from dataclasses import dataclass

import nibabel
import numpy as np
from typer.testing import CliRunner

SHAPE = (18, 20, 16)


@dataclass
class CommandResult:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def message(self):
        """The error message without line breaks."""
        return " ".join(self.err.split())


def run_cli(*words):
    """Run a command and return its result."""
    from dimlift.cli.app import app

    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return CommandResult(result.exit_code, result.stdout, result.stderr)


def run_rejected(*words):
    """Run a command that must fail with exit code 2 and without traceback, and return its error message."""
    result = run_cli(*words)
    assert result.code == 2, result.out + result.err
    assert "Traceback" not in result.out + result.err
    return result.message


def write_image(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0]) if affine is None else affine), path)
    return path


def head(seed, shape=SHAPE):
    """Return an image with a bright and a dim block, and its labels."""
    rng = np.random.default_rng(seed)
    label = np.zeros(shape, np.uint8)
    x, y, z = rng.integers(2, 5, size=3)
    label[x : x + 7, y : y + 6, z : z + 8] = 1
    label[x + 7 : x + 12, y : y + 6, z : z + 8] = 2
    image = np.choose(label, [0.0, 3.0, 1.5]) + rng.normal(0, 0.2, shape)
    return image.astype(np.float32), label


QUICK = (
    "arm.method=unet",
    "arm.widths=[4,8]",
    "budget.steps=2",
    "training.patch_size=[16,16,16]",
    "training.batch_size=1",
)
"""Overrides for two steps of a very small network."""
