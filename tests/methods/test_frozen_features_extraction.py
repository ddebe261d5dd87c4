"""Feature maps are aligned with the volume in every plane, whatever the padding of the network."""

import pytest
import torch

from dimlift.errors import ConfigError, RunError, ShapeError, UnknownNameError
from dimlift.methods.frozen_features.backbone import open_slice_backbone, wrap_backbone
from dimlift.methods.frozen_features.cost_estimate import estimate_cost
from dimlift.methods.frozen_features.extraction import FeatureExtractor
from dimlift.methods.frozen_features.receptive_field import measure_maps
from dimlift.methods.frozen_features.sampling import sample_feature_maps, window_features, window_grid
from dimlift.methods.frozen_features.settings import FeatureExtractionSettings

NETWORK = "packaged:efficientnet_lite0"
FULL_RANGE = (0.0, 100.0)
ALL_PLANES = ("depth", "height", "width")
SIZE = (14, 22, 18)


def _dot(position: tuple[int, int, int]) -> torch.Tensor:
    axes = torch.meshgrid(*(torch.arange(n) for n in SIZE), indexing="ij")
    far = sum((axis - p).square() for axis, p in zip(axes, position, strict=True))
    return torch.exp(-far / 2.0)[None]


def _locate(extractor: FeatureExtractor, position: tuple[int, int, int]) -> list[torch.Tensor]:
    """Return the centre of mass, in voxels, of the change of each map caused by a dot."""
    spread = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(0)) * 0.1
    spread[0, 0, 0, 0] = 3.0  # the same range with and without the dot
    images = [spread, spread + _dot(position)]
    with_dot, without = (extractor(image) for image in reversed(images))
    found = []
    for a, b in zip(with_dot, without, strict=True):
        energy = window_features([a - b], SIZE, (0, 0, 0), SIZE).square().sum(0)
        energy = energy * (energy > 0.1 * energy.max())
        axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in SIZE), indexing="ij")
        found.append(torch.stack([(energy * axis).sum() / energy.sum() for axis in axes]))
    return found


@pytest.mark.parametrize("upsample", [2.0, 2.7])
def test_feature_extractor_aligns_maps_in_all_planes(two_stages, upsample):
    extractor = FeatureExtractor(
        FeatureExtractionSettings(planes=ALL_PLANES, stages=(0, 1), upsample=upsample, percentiles=FULL_RANGE),
        two_stages,
    )
    for position in ((6, 9, 8), (5, 13, 10)):
        for found in _locate(extractor, position):
            assert (found - torch.tensor(position)).abs().max() < 0.75


def test_feature_extractor_aligns_maps_of_packaged_network():
    extractor = FeatureExtractor(FeatureExtractionSettings(planes=ALL_PLANES, stages=(1, 2), percentiles=FULL_RANGE))
    for found in _locate(extractor, (6, 11, 8)):
        assert (found - torch.tensor((6, 11, 8))).abs().max() < 1.0


def test_measure_maps_finds_shift_of_padding(two_stages):
    """Symmetric padding of a 3 x 3 kernel of stride 2 centres responses on pixel 2i, half a pixel early."""
    first, second = measure_maps(two_stages, (0, 1))
    assert (first.stride, second.stride) == (2, 4)
    assert torch.tensor(first.shift).mean().item() == pytest.approx(-0.5, abs=0.35)
    assert torch.tensor(second.shift).mean().item() == pytest.approx(-1.5, abs=0.7)


def test_feature_extractor_predicts_grids_channels_and_cost(two_stages):
    settings = FeatureExtractionSettings(planes=ALL_PLANES, stages=(0, 1), cache_channels=8)
    extractor = FeatureExtractor(settings, two_stages)
    spacing = (4.0, 1.0, 1.0)
    maps = extractor(torch.randn(1, *SIZE), spacing)
    assert [tuple(m.shape[1:]) for m in maps] == extractor.grids(SIZE, spacing)
    assert [len(m) for m in maps] == list(extractor.channels) == [6, 8] * 3
    assert all(m.dtype == torch.float16 and m.isfinite().all() for m in maps)
    cost = estimate_cost(extractor, [(SIZE, spacing)] * 5)
    assert cost.bytes == 5 * sum(m.numel() * 2 for m in maps)
    assert cost.volumes == 5
    assert "5 volumes" in str(cost)


def test_feature_extractor_makes_planes_isotropic(two_stages):
    extractor = FeatureExtractor(FeatureExtractionSettings(planes=("height",), stages=(0,), upsample=1.0), two_stages)
    assert extractor.grids(SIZE, (1.0, 1.0, 1.0)) == [(7, 22, 9)]
    assert extractor.grids(SIZE, (3.0, 1.0, 1.0)) == [(21, 22, 9)]


def test_feature_extractor_keeps_slices_separate(two_stages):
    extractor = FeatureExtractor(FeatureExtractionSettings(stages=(0, 1)), two_stages)
    image = torch.rand(1, *SIZE)
    changed = image.clone()
    changed[0, 7] = changed[0, 7].flip(0)  # the same percentiles before and after
    for a, b in zip(extractor(image), extractor(changed), strict=True):
        moved = (a - b).abs().amax((0, 2, 3))
        assert moved[7] > 0
        assert moved[[0, 6, 8, 13]].max() == 0


def test_control_networks_have_same_shapes_and_other_features():
    image = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(0))
    trained, random = (
        FeatureExtractor(FeatureExtractionSettings(network=name, stages=(1, 2))) for name in (NETWORK, "random")
    )
    for a, b in zip(trained(image), random(image), strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() > 0.1
    again, other = (
        open_slice_backbone(FeatureExtractionSettings(network=f"random:{NETWORK}", seed=seed)) for seed in (0, 1)
    )
    assert again.frozen.digest() == random.digest != other.frozen.digest()

    filters = FeatureExtractor(FeatureExtractionSettings(network="filters", planes=ALL_PLANES, percentiles=FULL_RANGE))
    assert sum(filters.channels) == 3 * 24
    flat = filters.backbone(torch.full((1, 1, 32, 32), 0.7))
    for each in flat:  # only the smoothed image responds to a constant
        assert each[:, 1:].abs().max() < 1e-5
        torch.testing.assert_close(each[:, :1], torch.full_like(each[:, :1], 0.7))
    for found in _locate(filters, (6, 11, 8)):
        assert (found - torch.tensor((6, 11, 8))).abs().max() < 0.75


def test_open_slice_backbone_restores_global_rng():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    open_slice_backbone(FeatureExtractionSettings(network="random"))
    torch.testing.assert_close(torch.rand(1), expected, rtol=0, atol=0)


def test_window_features_samples_voxel_centres_and_is_zero_outside():
    ramp = torch.arange(6.0)[None, :, None, None].expand(1, 6, 4, 4)  # on the voxels of a (6, 4, 4) volume
    window = window_features([ramp], (6, 4, 4), (-1, 0, 0), (8, 4, 4))
    torch.testing.assert_close(window[0, :, 1, 2], torch.tensor([0.0, 0, 1, 2, 3, 4, 5, 0]))
    halved = torch.tensor([0.5, 2.5, 4.5])[None, :, None, None]  # the same ramp at half the resolution
    inner = sample_feature_maps([halved], window_grid((6, 4, 4), (0, 0, 0), (6, 4, 4)))
    torch.testing.assert_close(inner[0, 1:5, 0, 0], torch.arange(1.0, 5.0))


def test_feature_extractor_selects_input_channels(two_stages):
    image = torch.rand(3, *SIZE)
    extractor = FeatureExtractor(FeatureExtractionSettings(stages=(0,)), two_stages)
    assert (extractor(image)[0] - extractor(image.flip(0))[0]).abs().max() > 0.01
    with pytest.raises(ShapeError, match="the volume has 4 and the settings select all; set input_channels"):
        extractor(torch.rand(4, *SIZE))
    chosen = FeatureExtractor(FeatureExtractionSettings(stages=(0,), input_channels=(2,)), two_stages)
    torch.testing.assert_close(chosen(torch.cat([image, image]))[0], extractor(image[2:3])[0], rtol=0, atol=0)


def test_feature_extraction_rejects_invalid_settings_and_nan(two_stages):
    with pytest.raises(UnknownNameError, match="axial"):
        FeatureExtractionSettings(planes=("axial",))
    with pytest.raises(ConfigError, match="upsample must be above 0"):
        FeatureExtractionSettings(upsample=0.0)
    with pytest.raises(ConfigError, match=r"stages 0 to 1, got \[4\]"):
        _ = FeatureExtractor(FeatureExtractionSettings(stages=(4,)), two_stages).map_geometry
    image = torch.rand(1, *SIZE)
    image[0, 3, 3, 3] = float("nan")
    with pytest.raises(RunError, match="check the image for NaN"):
        FeatureExtractor(FeatureExtractionSettings(stages=(0,), percentiles=(0.0, 50.0)), two_stages)(image)


def test_feature_extraction_settings_json_round_trip():
    settings = FeatureExtractionSettings(planes=("height", "depth"), stages=(0, 3), input_channels=(1,))
    assert FeatureExtractionSettings.from_json(settings.to_json()) == settings


@pytest.mark.parametrize("size", [(33, 47), (64, 40)])
def test_last_row_and_column_change_features_of_a_network_without_padding(size):
    """A stem without padding leaves the last pixels of images unread whose sizes are multiples of its strides."""
    torch.manual_seed(0)
    stem = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, 2), torch.nn.Conv2d(8, 8, 3, 2))
    backbone = wrap_backbone(ListOfMaps(stem))
    extractor = FeatureExtractor(FeatureExtractionSettings(upsample=1.0, percentiles=FULL_RANGE), backbone)
    assert extractor.slice_padding.multiple == (4, 4)
    assert extractor.slice_padding.remainder == (3, 3)
    volume = torch.rand(1, 2, *size, generator=torch.Generator().manual_seed(0))
    volume[0, 0, :2, 0] = torch.tensor([0.0, 1.0])
    plain = extractor(volume)[0]
    for y, x in ((-1, 0), (0, -1)):
        changed = volume.clone()
        changed[0, 1, y, x] = 1 - changed[0, 1, y, x]
        assert not torch.equal(extractor(changed)[0], plain)


class ListOfMaps(torch.nn.Module):
    def __init__(self, stem: torch.nn.Module) -> None:
        super().__init__()
        self.stem = stem

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [self.stem(images)]
