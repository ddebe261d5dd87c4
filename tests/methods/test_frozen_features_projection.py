"""The first projection knows no case, the second only those that train."""

import pytest
import torch

from dimlift.errors import ConfigError, DataError, RunError, ShapeError
from dimlift.methods.frozen_features.projection import FeatureProjection, fixed_projection


def _cases(count: int, seed: int = 0) -> list[list[torch.Tensor]]:
    draw = torch.Generator().manual_seed(seed)
    mix = torch.randn(6, 6, generator=draw)
    return [
        [
            torch.einsum("kc,cdhw->kdhw", mix, torch.randn(6, 3, 5, 4, generator=draw)) + 7,
            torch.randn(4, 3, 2, 2, generator=draw).half(),
        ]
        for _ in range(count)
    ]


def test_the_fixed_projection_follows_from_stage_channels_and_seed_alone():
    first = fixed_projection(3, 40, 8, 0)
    torch.manual_seed(99)
    torch.testing.assert_close(fixed_projection(3, 40, 8, 0), first, rtol=0, atol=0)
    torch.testing.assert_close(first @ first.T, torch.eye(8))
    for other in (fixed_projection(2, 40, 8, 0), fixed_projection(3, 40, 8, 1)):
        assert (other - first).abs().max() > 0.1
    assert fixed_projection(3, 8, 8, 0) is None


def test_components_are_standardised_and_uncorrelated_over_the_training_cases():
    cases = _cases(4)
    projection = FeatureProjection((6, 4), components=7)
    assert projection.kept == (4, 3)
    projection.fit(cases)
    for index, kept in enumerate(projection.kept):
        pooled = torch.cat([projection(case)[index].flatten(1) for case in cases], dim=1)
        torch.testing.assert_close(pooled.mean(1), torch.zeros(kept), rtol=0, atol=1e-3)
        torch.testing.assert_close(pooled @ pooled.T / pooled.shape[1], torch.eye(kept), rtol=0, atol=1e-3)


def test_only_the_cases_it_was_given_shape_it_and_it_travels_with_the_weights():
    train, held_out = _cases(3), _cases(2, seed=9)
    projection, same, other = (FeatureProjection((6, 4), components=6) for _ in range(3))
    projection.fit(train)
    before = projection(held_out[0])  # reading a test case changes nothing
    same.fit(train)
    other.fit(train + held_out)
    torch.testing.assert_close(same(held_out[0]), before, rtol=0, atol=0)
    assert (other(held_out[0])[0] - before[0]).abs().max() > 1e-2
    restored = FeatureProjection((6, 4), components=6)
    restored.load_state_dict(projection.state_dict())
    torch.testing.assert_close(restored(held_out[0]), before, rtol=0, atol=0)
    assert not list(projection.parameters())


@pytest.mark.parametrize("rest", ["constant", "copies"])
def test_channels_that_add_nothing_answer_zero_and_not_noise(rest):
    two = torch.randn(2, 4, 4, 4)
    maps = [torch.cat([two, torch.full_like(two, 3.0) if rest == "constant" else 2 * two + 1])]
    projection = FeatureProjection((4,), components=4)
    projection.fit([maps])
    answer = projection(maps)[0]
    assert answer.isfinite().all()
    assert answer[2:].abs().max() < 1e-3


def test_misuse_is_refused():
    projection = FeatureProjection((6, 4), components=6)
    with pytest.raises(RunError, match="not been fitted"):
        projection(_cases(1)[0])
    with pytest.raises(DataError, match="no training case"):
        projection.fit([])
    with pytest.raises(ShapeError, match=r"\(6, 4\) channels, got \(6,\)"):
        projection.fit([_cases(1)[0][:1]])
    with pytest.raises(ConfigError, match="shared out over 3 maps"):
        FeatureProjection((6, 4, 2), components=2)
