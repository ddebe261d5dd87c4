"""ACS, soft ACS and random depth, compared with their definitions."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.errors import PlanError
from dimlift.inflation.inflate import inflate_kernel

KERNEL = torch.randn(7, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_acs_equals_three_2d_convolutions_of_different_orientation():
    """The published operator does not inflate: three thin kernels, with 3, 2 and 2 of 7 output channels."""
    volume = torch.randn(1, 2, 5, 6, 7, dtype=torch.float64)
    a, c, s = KERNEL.split([3, 2, 2])
    thin = [
        F.conv3d(volume, a.unsqueeze(2), padding=(0, 1, 1)),
        F.conv3d(volume, c.unsqueeze(3), padding=(1, 0, 1)),
        F.conv3d(volume, s.unsqueeze(4), padding=(1, 1, 0)),
    ]
    torch.testing.assert_close(F.conv3d(volume, inflate_kernel(KERNEL, 3, "acs"), padding=1), torch.cat(thin, 1))


def test_soft_acs_is_mean_of_the_orientations():
    volume = torch.randn(1, 2, 5, 6, 7, dtype=torch.float64)
    thin = [F.conv3d(volume, KERNEL.unsqueeze(axis), padding=[int(axis != i) for i in (2, 3, 4)]) for axis in (2, 3, 4)]
    expected = torch.stack(thin).mean(0)
    torch.testing.assert_close(F.conv3d(volume, inflate_kernel(KERNEL, 3, "soft_acs"), padding=1), expected)


@pytest.mark.parametrize("name", ["acs", "soft_acs"])
@pytest.mark.parametrize("k", [2, 3])
def test_oriented_inflation_keeps_sum_of_each_kernel(name, k):
    kernel = KERNEL[..., :k, :k]
    torch.testing.assert_close(inflate_kernel(kernel, k, name).sum((2, 3, 4)), kernel.sum((2, 3)))


def test_random_depth_scales_2d_kernel_and_keeps_its_norm():
    torch.manual_seed(0)
    kernel = torch.randn(4000, 1, 3, 3, dtype=torch.float64)
    inflated = inflate_kernel(kernel, 3, "random")
    ratio = inflated / kernel[:, :, None]
    torch.testing.assert_close(ratio, ratio[..., :1, :1].expand_as(ratio))  # one number per output channel and slice
    assert float((inflated**2).sum() / (kernel**2).sum()) == pytest.approx(1, rel=0.05)
    torch.manual_seed(0)
    torch.randn(4000, 1, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(inflate_kernel(kernel, 3, "random"), inflated)


def test_oriented_inflation_rejects_kernels_without_cube():
    with pytest.raises(PlanError, match="acs rotates kernels, which must be cubic, got depth=3, height=1, width=3"):
        inflate_kernel(torch.zeros(3, 1, 1, 3), 3, "acs")
    with pytest.raises(PlanError, match="sets the axes of kernels itself"):
        inflate_kernel(KERNEL, 3, "acs", ("depth", "width"))
