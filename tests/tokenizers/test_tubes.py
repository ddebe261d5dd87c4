"""Tube tokenizer."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.errors import ShapeError
from dimlift.inflation.resize_kernel import linear_resize_kernel
from dimlift.tokenizers.positions import sinusoidal_embedding
from dimlift.tokenizers.tubes import CORE_TUBES, FOUR_TUBES, SPLIT_TUBES, Tube, TubeTokenizer, widen_tube

SMALL = (Tube((4, 4, 4), (6, 8, 8), (1, 2, 3)), Tube((1, 8, 8), (4, 8, 8)), Tube((8, 2, 2), (4, 8, 8), (0, 3, 3)))


@pytest.mark.parametrize(
    ("tubes", "size", "expected"),
    [
        (FOUR_TUBES, (32, 224, 224), [98, 147, 98, 196]),  # 539; the paper states 559, its own table yields this
        (SPLIT_TUBES, (32, 224, 224), [98, 147, 98, 196]),  # space to depth: equally many
        (FOUR_TUBES, (64, 224, 224), [196, 392, 196, 392]),  # 1176
        (CORE_TUBES, (32, 224, 224), [392, 392]),
    ],
)
def test_tube_count_equals_valid_convolution_positions(tubes, size, expected):
    assert [torch.tensor(tube.count(size)).prod().item() for tube in tubes] == expected


@pytest.mark.parametrize("tubes", [FOUR_TUBES, SPLIT_TUBES])
def test_tube_tokenizer_returns_the_counted_tokens(tubes):
    tokens = TubeTokenizer(24, tubes)
    found = tokens(torch.randn(2, 1, 32, 64, 64))
    count = sum(torch.tensor(tube.count((32, 64, 64))).prod().item() for tube in tubes)
    assert found.values.shape == (2, count, 24)
    assert found.centres.shape == (count, 3)


def test_tube_centres_are_the_centres_of_the_receptive_fields():
    """By gradients: a token depends on exactly the voxels of its receptive field."""
    split = Tube((4, 2, 2), (8, 4, 4), (1, 2, 0), split=(2, 1, 2))
    for tube in (*SMALL, split):
        tokens = TubeTokenizer(8, (tube,))
        volume = torch.randn(1, 1, 24, 20, 20, requires_grad=True)
        found = tokens(volume)
        for number in (0, found.values.shape[1] // 2, found.values.shape[1] - 1):
            (gradient,) = torch.autograd.grad(found.values[0, number].square().sum(), volume, retain_graph=True)
            touched = gradient[0, 0].nonzero().float()
            first, last = touched.amin(0), touched.amax(0) + 1
            inside = last < torch.tensor([24.0, 20.0, 20.0])  # beyond the volume the last voxels are repeated
            middle = (first + last) / 2
            assert torch.equal(found.centres[number][inside], middle[inside])
            assert torch.equal((last - first)[inside], torch.tensor(tube.receptive_field).float()[inside])


def test_sinusoidal_embedding_separates_centres_and_pads_with_zeros():
    centres = torch.tensor([[0.5, 8.0, 8.0], [16.5, 8.0, 8.0], [0.5, 24.0, 8.0], [0.5, 8.0, 40.0]])
    found = sinusoidal_embedding(centres, 1024)  # 1024 = 6 x 170 + 4
    assert found.shape == (4, 1024)
    assert (found[:, 1020:] == 0).all()
    assert torch.cdist(found, found).fill_diagonal_(9).min() > 1
    assert torch.allclose(found[:, :2], torch.stack([centres[:, 0].sin(), centres[:, 0].cos()], 1))
    slow = sinusoidal_embedding(centres, 12)[:, 6:]  # the second of two frequencies: 10000 ^ -1/2
    assert torch.allclose(slow[:, 2], (centres[:, 1] / 100).sin())


@pytest.mark.parametrize("interpolated", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 2])
def test_tube_init_from_2d_reproduces_the_2d_token_of_a_constant_image(interpolated, channels):
    torch.manual_seed(0)
    patch = torch.nn.Conv2d(3, 12, 16, 16)
    tokens = TubeTokenizer(12, FOUR_TUBES, channels, interpolated=interpolated)
    tokens.init_from_2d(patch.weight, patch.bias)
    grey = 1.7
    found = tokens(torch.full((1, channels, 32, 64, 64), grey)).values[0]
    expected = patch(torch.full((1, 3, 16, 16), grey))[0, :, 0, 0]
    torch.testing.assert_close(found, expected.expand_as(found), rtol=1e-4, atol=1e-4)


def test_interpolated_tubes_agree_on_a_constant_volume_and_train():
    torch.manual_seed(0)
    tokens = TubeTokenizer(6, FOUR_TUBES, interpolated=True)
    assert len(tokens.kernels) == 1
    found = tokens(torch.ones(1, 1, 32, 64, 64)).values[0]
    torch.testing.assert_close(found, found[:1].expand_as(found), rtol=1e-4, atol=1e-4)
    tokens(torch.randn(1, 1, 32, 64, 64)).values.square().sum().backward()
    assert (tokens.kernels[0].grad != 0).all()


@pytest.mark.parametrize("size", [(3, 9), (8, 2), (5, 4)])
def test_linear_resize_kernel_equals_resizing_the_window(size):
    torch.manual_seed(0)
    kernel, window = torch.randn(2, 3, 5, 4, dtype=torch.float64), torch.randn(1, 3, *size, dtype=torch.float64)
    resized = window
    for axis, n in ((2, 5), (3, 4)):
        shape = (n, resized.shape[3]) if axis == 2 else (resized.shape[2], n)
        resized = F.interpolate(resized, shape, mode="bilinear", antialias=True)
    found = (linear_resize_kernel(kernel, size) * window).sum((1, 2, 3))
    torch.testing.assert_close(found, (kernel * resized).sum((1, 2, 3)))
    torch.testing.assert_close(linear_resize_kernel(kernel, size).sum((2, 3)), kernel.sum((2, 3)))


def test_tokenize_images_uses_tubes_of_one_slice():
    tokens = TubeTokenizer(12, FOUR_TUBES, 3)
    assert tokens.tokenize_images(torch.randn(2, 3, 48, 64)).values.shape == (2, 12, 12)
    with pytest.raises(ShapeError, match="one slice"):
        TubeTokenizer(12, FOUR_TUBES[:2], 3).tokenize_images(torch.randn(2, 3, 48, 64))


def test_widen_tube_keeps_kernel_and_count():
    small, large = TubeTokenizer(12, FOUR_TUBES), TubeTokenizer(48, [widen_tube(tube, 4) for tube in FOUR_TUBES])
    assert [k.shape for k in small.kernels] == [k.shape for k in large.kernels]
    assert [t.count((32, 64, 64)) for t in small.tubes] == [t.count((32, 64, 64)) for t in large.tubes]


def test_tube_tokenizer_rejects_invalid_tubes_and_volumes():
    with pytest.raises(ShapeError, match=r"needs a volume of \[20, 12, 12\]"):
        TubeTokenizer(12, FOUR_TUBES)(torch.randn(1, 1, 18, 64, 64))
    with pytest.raises(ShapeError, match=r"expects \(B, 1, D, H, W\)"):
        TubeTokenizer(12, FOUR_TUBES)(torch.randn(1, 2, 32, 64, 64))
    with pytest.raises(ShapeError, match="divisible by its split"):
        Tube((4, 4, 4), (5, 4, 4), split=(2, 1, 1))
    with pytest.raises(ShapeError, match="neighbours"):
        TubeTokenizer(13, SPLIT_TUBES)
    with pytest.raises(ShapeError, match="no common kernel"):
        TubeTokenizer(12, SPLIT_TUBES, interpolated=True)
    with pytest.raises(ShapeError, match="16 times"):
        widen_tube(FOUR_TUBES[0], 16)
