"""Python examples: each trains for two steps on small networks, and is short enough to read in a minute."""

import importlib.util
import math
from pathlib import Path

import pytest

from small_frames import write_recording

EXAMPLES = Path(__file__).parents[1] / "examples" / "python"
SMALL = {
    "simple3d_former": {"network": "timm:test_vit"},
    "tubevit": {"network": "timm:test_vit"},
    "i2p_mae": {"network": "timm:test_vit"},
    "convnext3d": {"network": "timm:test_convnext"},
}
"""Smaller networks where the example's own is slow."""
NEED_FRAMES = {"ppkt", "soft_labels"}


def load(path):
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_trains(path, tmp_path):
    arguments = []
    if path.stem in NEED_FRAMES:
        write_recording(tmp_path / "room")
        arguments = [tmp_path / "room"]
    assert math.isfinite(load(path).main(*arguments, steps=2, **SMALL.get(path.stem, {})))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_example_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60
