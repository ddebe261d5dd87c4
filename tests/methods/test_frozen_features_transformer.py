"""Features borrowed from a vision transformer: patches that do not divide a slice, blocks of one's choice."""

from pathlib import Path

import pytest
import torch

from dimlift.methods.frozen_features.extraction import Extractor
from dimlift.methods.frozen_features.settings import BorrowSettings

WEIGHTS = Path(__file__).parents[2].parent / "shared" / "data" / "dinov2_vits14_saliency" / "vits14_fp16.pth"


@pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"no weights in {WEIGHTS}")
def test_chosen_blocks_of_a_transformer_cover_slices_of_any_size():
    settings = BorrowSettings(
        network="timm:vit_small_patch14_dinov2",
        weights=str(WEIGHTS),
        maps=(3, 7, 11),
        stages=(0, 2),
        planes=("depth", "height"),
        enlarge=1.0,
    )
    extractor = Extractor(settings)
    assert [fact.stride for fact in extractor.facts] == [14, 14]
    assert [fact.channels for fact in extractor.facts] == [384, 384]
    volume = torch.randn(1, 3, 33, 45, generator=torch.Generator().manual_seed(0))
    maps = extractor(volume)
    assert [tuple(each.shape[1:]) for each in maps] == [tuple(grid) for grid in extractor.grids((3, 33, 45))]
    assert tuple(maps[0].shape) == (32, 3, 3, 4)  # 33 x 45 pixels are 3 x 4 patches of 14, the last ones cut
    assert not torch.equal(maps[0], maps[1])


def test_blocks_count_for_the_cache_only_where_they_are_chosen():
    plain, chosen = BorrowSettings(), BorrowSettings(maps=(2, 5))
    assert "maps" not in plain.decisive()
    assert chosen.decisive()["maps"] == [2, 5]
    assert BorrowSettings.from_json(chosen.to_json()) == chosen
