"""The fixed projection depends on no case, the fitted projection on training cases only."""

import pytest
import torch

from dimlift.errors import ConfigError, DataError, RunError, ShapeError
from dimlift.methods.frozen_features.projection import FeatureProjection, fixed_projection


def _cases(count: int, seed: int = 0) -> list[list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(6, 6, generator=generator)
    return [
        [
            torch.einsum("kc,cdhw->kdhw", mix, torch.randn(6, 3, 5, 4, generator=generator)) + 7,
            torch.randn(4, 3, 2, 2, generator=generator).half(),
        ]
        for _ in range(count)
    ]


def test_fixed_projection_is_deterministic():
    first = fixed_projection(3, 40, 8, 0)
    torch.manual_seed(99)
    torch.testing.assert_close(fixed_projection(3, 40, 8, 0), first, rtol=0, atol=0)
    torch.testing.assert_close(first @ first.T, torch.eye(8))
    for other in (fixed_projection(2, 40, 8, 0), fixed_projection(3, 40, 8, 1)):
        assert (other - first).abs().max() > 0.1
    assert fixed_projection(3, 8, 8, 0) is None


def test_feature_projection_whitens_training_cases():
    cases = _cases(4)
    projection = FeatureProjection((6, 4), num_components=7)
    assert projection.kept == (4, 3)
    projection.fit(cases)
    for index, kept in enumerate(projection.kept):
        pooled = torch.cat([projection(case)[index].flatten(1) for case in cases], dim=1)
        torch.testing.assert_close(pooled.mean(1), torch.zeros(kept), rtol=0, atol=1e-3)
        torch.testing.assert_close(pooled @ pooled.T / pooled.shape[1], torch.eye(kept), rtol=0, atol=1e-3)


def test_feature_projection_depends_on_training_cases_and_is_in_state_dict():
    train, held_out = _cases(3), _cases(2, seed=9)
    projection, same, other = (FeatureProjection((6, 4), num_components=6) for _ in range(3))
    projection.fit(train)
    before = projection(held_out[0])  # projecting a test case changes nothing
    same.fit(train)
    other.fit(train + held_out)
    torch.testing.assert_close(same(held_out[0]), before, rtol=0, atol=0)
    assert (other(held_out[0])[0] - before[0]).abs().max() > 1e-2
    restored = FeatureProjection((6, 4), num_components=6)
    restored.load_state_dict(projection.state_dict())
    torch.testing.assert_close(restored(held_out[0]), before, rtol=0, atol=0)
    assert not list(projection.parameters())


@pytest.mark.parametrize("rest", ["constant", "copies"])
def test_feature_projection_sets_redundant_components_to_zero(rest):
    two = torch.randn(2, 4, 4, 4)
    maps = [torch.cat([two, torch.full_like(two, 3.0) if rest == "constant" else 2 * two + 1])]
    projection = FeatureProjection((4,), num_components=4)
    projection.fit([maps])
    components = projection(maps)[0]
    assert components.isfinite().all()
    assert components[2:].abs().max() < 1e-3


def test_feature_projection_rejects_wrong_use():
    projection = FeatureProjection((6, 4), num_components=6)
    with pytest.raises(RunError, match="is not fitted"):
        projection(_cases(1)[0])
    with pytest.raises(DataError, match="no training case"):
        projection.fit([])
    with pytest.raises(ShapeError, match=r"\(6, 4\) channels, got \(6,\)"):
        projection.fit([_cases(1)[0][:1]])
    with pytest.raises(ConfigError, match="distributed over 3 maps"):
        FeatureProjection((6, 4, 2), num_components=2)
