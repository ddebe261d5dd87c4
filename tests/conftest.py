"""What every test needs before it imports anything heavy."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dimlift.backbones.torchvision_ops import ensure_torchvision_imports

ensure_torchvision_imports()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six cases in images/ and labels/."""
    from small_runs import write_case

    folder = tmp_path_factory.mktemp("data") / "blobs"
    for number in range(6):
        write_case(folder, f"case_{number}", number)
    return folder
