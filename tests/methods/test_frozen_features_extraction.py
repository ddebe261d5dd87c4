"""Features lie where the thing lies that they answer to, in every plane, whatever the padding of the network."""

import pytest
import torch

from dimlift.errors import ConfigError, RunError, ShapeError, UnknownName
from dimlift.methods.frozen_features.backbone import open_slice_network
from dimlift.methods.frozen_features.cost_estimate import estimate
from dimlift.methods.frozen_features.extraction import Extractor
from dimlift.methods.frozen_features.receptive_field import measure
from dimlift.methods.frozen_features.sampling import sample_features, window_features, window_grid
from dimlift.methods.frozen_features.settings import BorrowSettings

NETWORK = "packaged:efficientnet_lite0"
FULL_RANGE = (0.0, 100.0)
ALL_PLANES = ("depth", "height", "width")
SIZE = (14, 22, 18)


def _dot(place: tuple[int, int, int]) -> torch.Tensor:
    axes = torch.meshgrid(*(torch.arange(n) for n in SIZE), indexing="ij")
    far = sum((axis - p).square() for axis, p in zip(axes, place, strict=True))
    return torch.exp(-far / 2.0)[None]


def _where(extractor: Extractor, place: tuple[int, int, int]) -> list[torch.Tensor]:
    """Centre of mass, in voxels, of what a dot changes in each map, read on the voxels of the volume."""
    spread = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(0)) * 0.1
    spread[0, 0, 0, 0] = 3.0  # the same range with and without the dot
    settled = [spread, spread + _dot(place)]
    with_dot, without = (extractor(image) for image in reversed(settled))
    found = []
    for a, b in zip(with_dot, without, strict=True):
        energy = window_features([a - b], SIZE, (0, 0, 0), SIZE).square().sum(0)
        energy = energy * (energy > 0.1 * energy.max())
        axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in SIZE), indexing="ij")
        found.append(torch.stack([(energy * axis).sum() / energy.sum() for axis in axes]))
    return found


@pytest.mark.parametrize("enlarge", [2.0, 2.7])
def test_a_dot_is_found_at_its_place_in_all_three_planes(two_stages, enlarge):
    extractor = Extractor(
        BorrowSettings(planes=ALL_PLANES, stages=(0, 1), enlarge=enlarge, percentiles=FULL_RANGE), two_stages
    )
    for place in ((6, 9, 8), (5, 13, 10)):
        for found in _where(extractor, place):
            assert (found - torch.tensor(place)).abs().max() < 0.75


def test_the_packaged_network_puts_a_dot_at_its_place():
    extractor = Extractor(BorrowSettings(planes=ALL_PLANES, stages=(1, 2), percentiles=FULL_RANGE))
    for found in _where(extractor, (6, 11, 8)):
        assert (found - torch.tensor((6, 11, 8))).abs().max() < 1.0


def test_the_measured_shift_is_that_of_the_padding(two_stages):
    """Even padding of a 3 x 3 kernel of stride 2 centres an answer on pixel 2i, half a pixel before mid-block."""
    first, second = measure(two_stages, (0, 1))
    assert (first.stride, second.stride) == (2, 4)
    assert torch.tensor(first.shift).mean().item() == pytest.approx(-0.5, abs=0.35)
    assert torch.tensor(second.shift).mean().item() == pytest.approx(-1.5, abs=0.7)


def test_maps_have_the_foretold_grids_channels_and_cost(two_stages):
    settings = BorrowSettings(planes=ALL_PLANES, stages=(0, 1), cache_channels=8)
    extractor = Extractor(settings, two_stages)
    spacing = (4.0, 1.0, 1.0)
    maps = extractor(torch.randn(1, *SIZE), spacing)
    assert [tuple(m.shape[1:]) for m in maps] == extractor.grids(SIZE, spacing)
    assert [len(m) for m in maps] == list(extractor.channels) == [6, 8] * 3
    assert all(m.dtype == torch.float16 and m.isfinite().all() for m in maps)
    cost = estimate(extractor, [(SIZE, spacing)] * 5)
    assert cost.bytes == 5 * sum(m.numel() * 2 for m in maps)
    assert cost.volumes == 5
    assert "5 volumes" in str(cost)


def test_thick_slices_are_made_isotropic_where_they_are_cut_across(two_stages):
    extractor = Extractor(BorrowSettings(planes=("height",), stages=(0,), enlarge=1.0), two_stages)
    assert extractor.grids(SIZE, (1.0, 1.0, 1.0)) == [(7, 22, 9)]
    assert extractor.grids(SIZE, (3.0, 1.0, 1.0)) == [(21, 22, 9)]


def test_a_slice_knows_nothing_of_its_neighbours(two_stages):
    extractor = Extractor(BorrowSettings(stages=(0, 1)), two_stages)
    image = torch.rand(1, *SIZE)
    changed = image.clone()
    changed[0, 7] = changed[0, 7].flip(0)  # the same percentiles before and after
    for a, b in zip(extractor(image), extractor(changed), strict=True):
        moved = (a - b).abs().amax((0, 2, 3))
        assert moved[7] > 0
        assert moved[[0, 6, 8, 13]].max() == 0


def test_controls_have_the_same_face_and_other_content():
    image = torch.rand(1, *SIZE, generator=torch.Generator().manual_seed(0))
    trained, drawn = (Extractor(BorrowSettings(network=name, stages=(1, 2))) for name in (NETWORK, "random"))
    for a, b in zip(trained(image), drawn(image), strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() > 0.1
    again, other = (open_slice_network(BorrowSettings(network=f"random:{NETWORK}", seed=seed)) for seed in (0, 1))
    assert again.frozen.digest() == drawn.digest != other.frozen.digest()

    filters = Extractor(BorrowSettings(network="filters", planes=ALL_PLANES, percentiles=FULL_RANGE))
    assert sum(filters.channels) == 3 * 24
    flat = filters.network(torch.full((1, 1, 32, 32), 0.7))
    for each in flat:  # only the smoothed image answers to a constant
        assert each[:, 1:].abs().max() < 1e-5
        torch.testing.assert_close(each[:, :1], torch.full_like(each[:, :1], 0.7))
    for found in _where(filters, (6, 11, 8)):
        assert (found - torch.tensor((6, 11, 8))).abs().max() < 0.75


def test_opening_a_network_leaves_the_global_seed_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    open_slice_network(BorrowSettings(network="random"))
    torch.testing.assert_close(torch.rand(1), expected, rtol=0, atol=0)


def test_features_are_read_at_voxel_centres_and_are_zero_outside():
    ramp = torch.arange(6.0)[None, :, None, None].expand(1, 6, 4, 4)  # on the voxels of a (6, 4, 4) volume
    window = window_features([ramp], (6, 4, 4), (-1, 0, 0), (8, 4, 4))
    torch.testing.assert_close(window[0, :, 1, 2], torch.tensor([0.0, 0, 1, 2, 3, 4, 5, 0]))
    halved = torch.tensor([0.5, 2.5, 4.5])[None, :, None, None]  # the same ramp at half the resolution
    inner = sample_features([halved], window_grid((6, 4, 4), (0, 0, 0), (6, 4, 4)))
    torch.testing.assert_close(inner[0, 1:5, 0, 0], torch.arange(1.0, 5.0))


def test_colour_volumes_are_shown_as_red_green_blue_and_others_need_a_choice(two_stages):
    image = torch.rand(3, *SIZE)
    whole = Extractor(BorrowSettings(stages=(0,)), two_stages)
    assert (whole(image)[0] - whole(image.flip(0))[0]).abs().max() > 0.01
    with pytest.raises(ShapeError, match="the volume has 4 and the settings choose all; set channels"):
        whole(torch.rand(4, *SIZE))
    chosen = Extractor(BorrowSettings(stages=(0,), channels=(2,)), two_stages)
    torch.testing.assert_close(chosen(torch.cat([image, image]))[0], whole(image[2:3])[0], rtol=0, atol=0)


def test_bad_settings_and_bad_values_are_refused(two_stages):
    with pytest.raises(UnknownName, match="axial"):
        BorrowSettings(planes=("axial",))
    with pytest.raises(ConfigError, match="enlarge must be above 0"):
        BorrowSettings(enlarge=0.0)
    with pytest.raises(ConfigError, match=r"stages 0 to 1, got \[4\]"):
        _ = Extractor(BorrowSettings(stages=(4,)), two_stages).facts
    image = torch.rand(1, *SIZE)
    image[0, 3, 3, 3] = float("nan")
    with pytest.raises(RunError, match="not a number"):
        Extractor(BorrowSettings(stages=(0,), percentiles=(0.0, 50.0)), two_stages)(image)


def test_settings_survive_json():
    settings = BorrowSettings(planes=("height", "depth"), stages=(0, 3), channels=(1,))
    assert BorrowSettings.from_json(settings.to_json()) == settings
