"""How many tubes there are, where they are, what they see, and that an even volume gets the 2D token from each."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.errors import ShapeError
from dimlift.inflation.resize_kernel import stretched_kernel
from dimlift.tokenizers.positions import sinusoids
from dimlift.tokenizers.tubes import CORE, FOUR, SPLIT, Tube, TubeTokens, widened

SMALL = (Tube((4, 4, 4), (6, 8, 8), (1, 2, 3)), Tube((1, 8, 8), (4, 8, 8)), Tube((8, 2, 2), (4, 8, 8), (0, 3, 3)))


@pytest.mark.parametrize(
    ("tubes", "size", "wanted"),
    [
        (FOUR, (32, 224, 224), [98, 147, 98, 196]),  # 539; the paper says 559, its own table gives this
        (SPLIT, (32, 224, 224), [98, 147, 98, 196]),  # space to depth: as many
        (FOUR, (64, 224, 224), [196, 392, 196, 392]),  # 1176
        (CORE, (32, 224, 224), [392, 392]),
    ],
)
def test_as_many_tokens_as_valid_convolutions_give(tubes, size, wanted):
    assert [torch.tensor(tube.count(size)).prod().item() for tube in tubes] == wanted


@pytest.mark.parametrize("tubes", [FOUR, SPLIT])
def test_the_tokens_are_as_many_as_counted(tubes):
    tokens = TubeTokens(24, tubes)
    found = tokens(torch.randn(2, 1, 32, 64, 64))
    count = sum(torch.tensor(tube.count((32, 64, 64))).prod().item() for tube in tubes)
    assert found.values.shape == (2, count, 24)
    assert found.centres.shape == (count, 3)


def test_centres_are_the_middle_of_what_a_token_sees():
    """Found by asking: a token depends on exactly the voxels of its sight, around its centre."""
    split = Tube((4, 2, 2), (8, 4, 4), (1, 2, 0), split=(2, 1, 2))
    for tube in (*SMALL, split):
        tokens = TubeTokens(8, (tube,))
        volume = torch.randn(1, 1, 24, 20, 20, requires_grad=True)
        found = tokens(volume)
        for number in (0, found.values.shape[1] // 2, found.values.shape[1] - 1):
            (gradient,) = torch.autograd.grad(found.values[0, number].square().sum(), volume, retain_graph=True)
            touched = gradient[0, 0].nonzero().float()
            first, last = touched.amin(0), touched.amax(0) + 1
            inside = last < torch.tensor([24.0, 20.0, 20.0])  # beyond the volume its last voxels are repeated
            middle = (first + last) / 2
            assert torch.equal(found.centres[number][inside], middle[inside])
            assert torch.equal((last - first)[inside], torch.tensor(tube.sight).float()[inside])


def test_positions_tell_centres_apart_and_leave_the_remainder_zero():
    centres = torch.tensor([[0.5, 8.0, 8.0], [16.5, 8.0, 8.0], [0.5, 24.0, 8.0], [0.5, 8.0, 40.0]])
    found = sinusoids(centres, 1024)  # 1024 = 6 x 170 + 4
    assert found.shape == (4, 1024)
    assert (found[:, 1020:] == 0).all()
    assert torch.cdist(found, found).fill_diagonal_(9).min() > 1
    assert torch.allclose(found[:, :2], torch.stack([centres[:, 0].sin(), centres[:, 0].cos()], 1))
    slow = sinusoids(centres, 12)[:, 6:]  # the second of two frequencies: 10000 ^ -1/2
    assert torch.allclose(slow[:, 2], (centres[:, 1] / 100).sin())


@pytest.mark.parametrize("interpolated", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 2])
def test_a_constant_volume_gets_the_2d_token_from_every_tube(interpolated, channels):
    torch.manual_seed(0)
    patch = torch.nn.Conv2d(3, 12, 16, 16)
    tokens = TubeTokens(12, FOUR, channels, interpolated=interpolated)
    tokens.inherit(patch.weight, patch.bias)
    grey = 1.7
    found = tokens(torch.full((1, channels, 32, 64, 64), grey)).values[0]
    wanted = patch(torch.full((1, 3, 16, 16), grey))[0, :, 0, 0]
    torch.testing.assert_close(found, wanted.expand_as(found), rtol=1e-4, atol=1e-4)


def test_a_drawn_common_kernel_answers_an_even_volume_alike_and_learns():
    torch.manual_seed(0)
    tokens = TubeTokens(6, FOUR, interpolated=True)
    assert len(tokens.kernels) == 1
    found = tokens(torch.ones(1, 1, 32, 64, 64)).values[0]
    torch.testing.assert_close(found, found[:1].expand_as(found), rtol=1e-4, atol=1e-4)
    tokens(torch.randn(1, 1, 32, 64, 64)).values.square().sum().backward()
    assert (tokens.kernels[0].grad != 0).all()


@pytest.mark.parametrize("size", [(3, 9), (8, 2), (5, 4)])
def test_a_stretched_kernel_says_what_the_kernel_says_to_the_window_resized(size):
    torch.manual_seed(0)
    kernel, window = torch.randn(2, 3, 5, 4, dtype=torch.float64), torch.randn(1, 3, *size, dtype=torch.float64)
    resized = window
    for axis, n in ((2, 5), (3, 4)):
        shape = (n, resized.shape[3]) if axis == 2 else (resized.shape[2], n)
        resized = F.interpolate(resized, shape, mode="bilinear", antialias=True)
    found = (stretched_kernel(kernel, size) * window).sum((1, 2, 3))
    torch.testing.assert_close(found, (kernel * resized).sum((1, 2, 3)))
    torch.testing.assert_close(stretched_kernel(kernel, size).sum((2, 3)), kernel.sum((2, 3)))


def test_pictures_are_read_by_tubes_of_one_slice():
    tokens = TubeTokens(12, FOUR, 3)
    assert tokens.of_pictures(torch.randn(2, 3, 48, 64)).values.shape == (2, 12, 12)
    with pytest.raises(ShapeError, match="one slice"):
        TubeTokens(12, FOUR[:2], 3).of_pictures(torch.randn(2, 3, 48, 64))


def test_a_wider_tube_keeps_the_kernel():
    small, large = TubeTokens(12, FOUR), TubeTokens(48, [widened(tube, 4) for tube in FOUR])
    assert [k.shape for k in small.kernels] == [k.shape for k in large.kernels]
    assert [t.count((32, 64, 64)) for t in small.tubes] == [t.count((32, 64, 64)) for t in large.tubes]


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ShapeError, match=r"needs a volume of \[20, 12, 12\]"):
        TubeTokens(12, FOUR)(torch.randn(1, 1, 18, 64, 64))
    with pytest.raises(ShapeError, match=r"reads \(B, 1, D, H, W\)"):
        TubeTokens(12, FOUR)(torch.randn(1, 2, 32, 64, 64))
    with pytest.raises(ShapeError, match="multiple of its split"):
        Tube((4, 4, 4), (5, 4, 4), split=(2, 1, 1))
    with pytest.raises(ShapeError, match="neighbours"):
        TubeTokens(13, SPLIT)
    with pytest.raises(ShapeError, match="no common kernel"):
        TubeTokens(12, SPLIT, interpolated=True)
    with pytest.raises(ShapeError, match="16 times"):
        widened(FOUR[0], 16)
