"""Patch sampling: determinism, joint augmentation of image, label and features, foreground oversampling."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dimlift.batch import IGNORE
from dimlift.data.orientation import Reorientation
from dimlift.data.preprocessing.foreground import ForegroundIndex
from dimlift.data.preprocessing.sample import Geometry, Sample
from dimlift.data.sampling.augmentation import Augmentation, IntensityAugmentation
from dimlift.data.sampling.patch_sampler import PatchSampler
from dimlift.data.sampling.spatial_augmentation import SpatialAugmentation
from dimlift.errors import DataError, ShapeError, UnknownNameError

ALWAYS = SpatialAugmentation(rotation_probability=1, scale_probability=1, elastic_probability=1)
NEVER = SpatialAugmentation(rotation_probability=0, scale_probability=0, elastic_probability=0)


def make_sample(seed: int = 0, shape=(14, 18, 16), label: object = None, slice_axis="z") -> Sample:
    """Return a sample whose intensity is the class number plus small noise."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, np.int16)
    mask[3:9, 4:12, 5:11] = 1
    mask[10, 13, 12] = 2
    image = (mask + rng.normal(0, 0.01, shape)).astype(np.float32)[None]
    geometry = Geometry(Reorientation(((0, 1), (1, 1), (2, 1)), slice_axis), shape, shape, (1.0, 1.0, 1.0), np.eye(4))
    return Sample(f"case_{seed}", image, mask if label is None else label, geometry)  # type: ignore[arg-type]


def equal(one, two) -> bool:
    return (
        torch.equal(one.image, two.image)
        and torch.equal(one.label, two.label)
        and one.cases == two.cases
        and (one.features is None) == (two.features is None)
        and (one.features is None or torch.equal(one.features, two.features))
    )


def test_patch_sampler_item_depends_on_seed_step_and_index():
    samples = [make_sample(seed) for seed in range(3)]
    features = [[[torch.randn(2, 7, 6, 4)], [torch.randn(2, 4, 4, 4)]] for _ in samples]
    options = {"augment": Augmentation(ALWAYS, ("z", "y", "x")), "features": features}
    one, two = (PatchSampler(samples, (8, 8, 8), seed=4, **options) for _ in range(2))
    for step in (5, 1, 3):
        two.batch(step, 3)
    for step in range(6):
        long, short = two.batch(step, 4), one.batch(step, 2)
        assert torch.equal(long.image[:2], short.image)
        assert equal(one.batch(step, 2), short)
    assert not equal(one.batch(0, 2), one.batch(1, 2))
    assert not torch.equal(*one.batch(0, 2).image)  # the two items of one batch
    assert not equal(one.batch(0, 2), PatchSampler(samples, (8, 8, 8), seed=5, **options).batch(0, 2))


def test_patch_sampler_features_do_not_change_patches():
    samples = [make_sample(seed) for seed in range(2)]
    alone = PatchSampler(samples, (8, 8, 8)).batch(3, 4)
    beside = PatchSampler(samples, (8, 8, 8), features=[[[torch.randn(2, 3, 3, 3)]] for _ in samples]).batch(3, 4)
    assert torch.equal(alone.image, beside.image)
    assert alone.features is None
    assert beside.features is not None
    assert beside.features.shape == (4, 2, 8, 8, 8)


def test_patch_sampler_shapes_and_types():
    batch = PatchSampler([make_sample()], (8, 9, 10), augment=True).batch(0, 3)
    assert batch.image.shape == (3, 1, 8, 9, 10)
    assert batch.image.dtype == torch.float32
    assert batch.label.shape == (3, 8, 9, 10)
    assert batch.label.dtype == torch.int64
    assert batch.cases == ("case_0",) * 3
    assert type(batch.image) is torch.Tensor


@pytest.mark.parametrize("mirror", [(), ("z", "y", "x")])
def test_patch_sampler_transforms_label_and_features_alike(mirror):
    """Image, label and features have equal values, so they must agree after any transform."""
    sample = make_sample()
    settings = Augmentation(ALWAYS, mirror, intensity=0)
    sampler = PatchSampler(
        [sample], (12, 12, 12), augment=settings, features=[[[torch.from_numpy(sample.image)]]], oversample_foreground=1
    )
    for step in range(6):
        batch = sampler.batch(step, 2)
        agree = (batch.image[:, 0].round().long() == batch.label).float().mean()
        assert agree > 0.97  # except for interpolation at borders
        assert batch.features is not None
        inside = batch.features[:, 0] != 0
        assert (batch.features[:, 0][inside] - batch.image[:, 0][inside]).abs().mean() < 0.03


def test_patch_sampler_without_augmentation_crops():
    sample = make_sample()
    batch = PatchSampler([sample], (8, 8, 8), augment=Augmentation(NEVER, intensity=0)).batch(0, 4)
    windows = torch.from_numpy(sample.image[0]).unfold(0, 8, 1).unfold(1, 8, 1).unfold(2, 8, 1)
    for patch in batch.image[:, 0]:
        assert ((windows - patch).abs().amax(dim=(-1, -2, -3)) == 0).sum() == 1


def test_patch_sampler_mirrors_named_axis():
    """If x is the depth axis, mirroring x flips depth."""
    sample = make_sample(slice_axis="x")
    settings = Augmentation(NEVER, ("x",), intensity=0)
    sampler = PatchSampler([sample], sample.image.shape[1:], augment=settings)
    plain = torch.from_numpy(sample.image)
    seen = {
        "unchanged" if torch.equal(image, plain) else "flipped" if torch.equal(image, plain.flip(1)) else "wrong"
        for step in range(12)
        for image in sampler.batch(step, 1).image
    }
    assert seen == {"unchanged", "flipped"}


def test_augmentation_mirrors_nothing_by_default():
    assert Augmentation().mirror_axes == ()
    with pytest.raises(UnknownNameError, match="z"):
        Augmentation(mirror_axes=("left",))  # type: ignore[arg-type]


@pytest.mark.parametrize("spatial", [NEVER, ALWAYS])
def test_patch_sampler_pads_small_volumes(spatial):
    sample = make_sample(shape=(14, 18, 16))
    features = [[[torch.ones(1, 14, 18, 16)]]]
    sampler = PatchSampler([sample], (40, 40, 40), augment=Augmentation(spatial, intensity=0), features=features)
    batch = sampler.batch(0, 2)
    assert batch.features is not None
    for corner in ((0, 0, 0), (-1, -1, -1), (0, -1, 0)):
        assert torch.allclose(batch.image[:, 0][:, corner[0], corner[1], corner[2]], torch.tensor(sample.image.min()))
        assert (batch.label[:, corner[0], corner[1], corner[2]] == 0).all()
        assert (batch.features[:, 0][:, corner[0], corner[1], corner[2]] == 0).all()
    assert (batch.label == 1).any()


def test_foreground_index_samples_classes_uniformly():
    """Class 2 is one voxel of one case in five."""
    samples = [make_sample(seed) for seed in range(5)]
    for sample in samples[1:]:
        sample.label[sample.label == 2] = 0
    index = ForegroundIndex([sample.foreground for sample in samples])
    rng = np.random.default_rng(0)
    samples_drawn = [index.sample(rng) for _ in range(400)]
    rare = sum(samples[number].label[voxel] == 2 for number, voxel in samples_drawn)
    assert 160 < rare < 240


@pytest.mark.parametrize("fraction", [0.0, 0.5, 1.0])
def test_patch_sampler_oversamples_foreground(fraction: float):
    sample = make_sample(shape=(60, 60, 60))
    sampler = PatchSampler([sample], (3, 3, 3), augment=False, oversample_foreground=fraction)
    hits = sum(bool((sampler.batch(step, 1).label[0, 1, 1, 1] > 0).item()) for step in range(200))
    assert fraction * 200 - 25 <= hits <= fraction * 200 + 25


def test_patch_sampler_keeps_ignored_voxels():
    sample = make_sample()
    sample.label[:, :, :8] = IGNORE
    for settings in (False, Augmentation(ALWAYS)):
        label = PatchSampler([sample], (14, 18, 16), augment=settings).batch(0, 2).label
        assert set(label.unique().tolist()) <= {IGNORE, 0, 1, 2}
        assert (label == IGNORE).any()


def test_patch_sampler_returns_one_label_per_volume():
    classes = PatchSampler([make_sample(0, label=1)], (8, 8, 8), task="classification").batch(0, 3)
    assert classes.label.tolist() == [1, 1, 1]
    assert classes.label.dtype == torch.int64
    numbers = PatchSampler([make_sample(0, label=1.5)], (8, 8, 8), task="regression").batch(0, 3)
    assert numbers.label.tolist() == [1.5, 1.5, 1.5]
    plain = PatchSampler([make_sample(0, label=1)], (8, 8, 8), task="classification", augment=False).batch(0, 1)
    assert torch.equal(plain.image[0], torch.from_numpy(make_sample(0).image[:, 3:11, 5:13, 4:12]))


def test_patches_of_a_classification_reach_every_voxel():
    """Training crops are where those of prediction are: anywhere in the volume."""
    sample = make_sample(0, label=1)
    sample.image[:] = np.arange(sample.image[0].size).reshape(sample.image.shape[1:])
    sampler = PatchSampler([sample], (8, 8, 8), task="classification", augment=Augmentation(NEVER, intensity=0))
    corners = [int(image[0, 0, 0, 0]) for step in range(40) for image in sampler.batch(step, 4).image]
    shape = sample.image.shape[1:]
    for found, full in zip(np.unravel_index(corners, shape), shape, strict=True):
        assert set(found) == set(range(full - 8 + 1))


def test_patch_sampler_does_not_modify_samples():
    sample = make_sample()
    before = sample.image.copy(), sample.label.copy()
    sampler = PatchSampler([sample], (14, 18, 16), augment=Augmentation(NEVER))
    for step in range(10):
        sampler.batch(step, 2)
    assert np.array_equal(sample.image, before[0])
    assert np.array_equal(sample.label, before[1])


def test_intensity_augmentation_applies_all_transforms():
    image = torch.randn(1, 8, 8, 8)
    off, on = IntensityAugmentation(0.0), IntensityAugmentation(1.0)
    assert torch.equal(off(image, np.random.default_rng(0)), image)
    changed = [not torch.equal(on(image, np.random.default_rng(seed)), image) for seed in range(60)]
    assert 30 < sum(changed) < 60
    for transform in on._transforms:
        transform.prob = 1.0
    for transform in on._transforms:
        transform.set_random_state(seed=0)
        out = transform(image)
        assert out.shape == image.shape
        assert not torch.equal(torch.as_tensor(out), image), type(transform).__name__
        assert torch.isfinite(torch.as_tensor(out)).all()


def test_intensity_augmentation_of_constant_patches_is_finite():
    on = IntensityAugmentation(1.0)
    for transform in on._transforms:
        transform.prob = 1.0
    assert torch.isfinite(on(torch.zeros(1, 6, 6, 6), np.random.default_rng(0))).all()


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"samples": []}, DataError, "check the split"),
        ({"patch_size": (8, 8)}, ShapeError, "three positive"),
        ({"patch_size": (8, 0, 8)}, ShapeError, "three positive"),
        ({"features": []}, DataError, "0 cases, but there are 1"),
        ({"task": "classification"}, DataError, "'case_0' has no label for classification"),
        ({"samples": [replace(make_sample(), label=None)]}, DataError, "'case_0' has no label"),
    ],
)
def test_patch_sampler_rejects_invalid_input(change, kind, message):
    options = {"samples": [make_sample()], "patch_size": (8, 8, 8), **change}
    with pytest.raises(kind, match=message):
        PatchSampler(options.pop("samples"), options.pop("patch_size"), **options)


@pytest.mark.parametrize("spatial", [ALWAYS, NEVER])
def test_patch_sampler_feature_stride(spatial):
    """Features that are linear in the position: the value at the centre of a block is its mean."""
    sample = make_sample(shape=(16, 16, 16))
    ramp = sum(torch.arange(16.0).view([-1 if axis == other else 1 for other in range(3)]) for axis in range(3))
    options = {"augment": Augmentation(spatial, intensity=0), "features": [[[ramp[None]]]], "seed": 3}
    fine = PatchSampler([sample], (8, 8, 8), **options).batch(0, 4).features
    coarse = PatchSampler([sample], (8, 8, 8), **options, feature_stride=2).batch(0, 4).features
    assert fine is not None
    assert coarse is not None
    assert coarse.shape == (4, 1, 4, 4, 4)
    inside = torch.nn.functional.avg_pool3d((fine > 0).float(), 2) == 1
    assert inside.float().mean() > 0.5
    torch.testing.assert_close(coarse[inside], torch.nn.functional.avg_pool3d(fine, 2)[inside], atol=0.3, rtol=0)


def test_patch_sampler_requires_multiples_of_feature_stride():
    with pytest.raises(ShapeError, match=r"blocks of 2 voxels; .* a multiple of that, such as \(8, 8, 10\)"):
        PatchSampler([make_sample()], (8, 8, 9), features=[[[torch.zeros(1, 2, 2, 2)]]], feature_stride=2)


def test_patch_sampler_samples_one_feature_variant():
    sample = make_sample()
    variants = [[torch.full((1, 2, 2, 2), float(number))] for number in (1, 2, 3)]
    sampler = PatchSampler([sample], (8, 8, 8), augment=False, features=[variants])
    batch = sampler.batch(0, 30)
    assert batch.features is not None
    found = batch.features.flatten(1)
    assert (found == found[:, :1]).all()
    assert set(found[:, 0].tolist()) == {1, 2, 3}
