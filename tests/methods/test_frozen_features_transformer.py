"""Frozen features of a vision transformer: slices that are no multiple of the patch size, selected blocks."""

from pathlib import Path

import pytest
import torch

from dimlift.methods.frozen_features.extraction import FeatureExtractor
from dimlift.methods.frozen_features.settings import FeatureExtractionSettings

WEIGHTS = Path(__file__).parents[2].parent / "shared" / "data" / "dinov2_vits14_saliency" / "vits14_fp16.pth"


@pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"no weights in {WEIGHTS}")
def test_selected_transformer_blocks_cover_slices_of_any_size():
    settings = FeatureExtractionSettings(
        network="timm:vit_small_patch14_dinov2",
        weights=str(WEIGHTS),
        out_indices=(3, 7, 11),
        stages=(0, 2),
        planes=("depth", "height"),
        upsample=1.0,
    )
    extractor = FeatureExtractor(settings)
    assert [geometry.stride for geometry in extractor.map_geometry] == [14, 14]
    assert [geometry.channels for geometry in extractor.map_geometry] == [384, 384]
    volume = torch.randn(1, 3, 33, 45, generator=torch.Generator().manual_seed(0))
    maps = extractor(volume)
    assert [tuple(each.shape[1:]) for each in maps] == [tuple(grid) for grid in extractor.grids((3, 33, 45))]
    assert tuple(maps[0].shape) == (32, 3, 3, 4)  # 33 x 45 pixels are 3 x 4 patches of 14, the last ones cut
    assert not torch.equal(maps[0], maps[1])


def test_hashed_settings_contain_selected_blocks():
    plain, chosen = FeatureExtractionSettings(), FeatureExtractionSettings(out_indices=(2, 5))
    assert plain.hashed_settings()["out_indices"] is None
    assert chosen.hashed_settings()["out_indices"] == [2, 5]
    assert FeatureExtractionSettings.from_json(chosen.to_json()) == chosen
