"""ACS, soft ACS and random depth, against what they are by definition."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.errors import PlanError
from dimlift.inflation.inflate import inflate

KERNEL = torch.randn(7, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_acs_is_three_2d_convolutions_one_for_each_orientation():
    """The published operator, which never inflates: three thin kernels, 3, 2 and 2 of 7 output channels."""
    volume = torch.randn(1, 2, 5, 6, 7, dtype=torch.float64)
    a, c, s = KERNEL.split([3, 2, 2])
    thin = [
        F.conv3d(volume, a.unsqueeze(2), padding=(0, 1, 1)),
        F.conv3d(volume, c.unsqueeze(3), padding=(1, 0, 1)),
        F.conv3d(volume, s.unsqueeze(4), padding=(1, 1, 0)),
    ]
    torch.testing.assert_close(F.conv3d(volume, inflate(KERNEL, 3, "acs"), padding=1), torch.cat(thin, 1))


def test_soft_acs_is_the_mean_of_the_orientations():
    volume = torch.randn(1, 2, 5, 6, 7, dtype=torch.float64)
    thin = [F.conv3d(volume, KERNEL.unsqueeze(axis), padding=[int(axis != i) for i in (2, 3, 4)]) for axis in (2, 3, 4)]
    wanted = torch.stack(thin).mean(0)
    torch.testing.assert_close(F.conv3d(volume, inflate(KERNEL, 3, "soft_acs"), padding=1), wanted)


@pytest.mark.parametrize("name", ["acs", "soft_acs"])
@pytest.mark.parametrize("k", [2, 3])
def test_turning_keeps_the_sum_of_each_kernel(name, k):
    kernel = KERNEL[..., :k, :k]
    torch.testing.assert_close(inflate(kernel, k, name).sum((2, 3, 4)), kernel.sum((2, 3)))


def test_random_depth_is_the_2d_kernel_times_numbers_that_keep_its_strength():
    torch.manual_seed(0)
    kernel = torch.randn(4000, 1, 3, 3, dtype=torch.float64)
    deep = inflate(kernel, 3, "random")
    ratio = deep / kernel[:, :, None]
    torch.testing.assert_close(ratio, ratio[..., :1, :1].expand_as(ratio))  # one number for each output and slice
    assert float((deep**2).sum() / (kernel**2).sum()) == pytest.approx(1, rel=0.05)
    torch.manual_seed(0)
    torch.randn(4000, 1, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(inflate(kernel, 3, "random"), deep)


def test_what_cannot_be_turned_says_so():
    with pytest.raises(PlanError, match="acs turns kernels and needs cubes, got depth=3, height=1, width=3"):
        inflate(torch.zeros(3, 1, 1, 3), 3, "acs")
    with pytest.raises(PlanError, match="says by itself where kernels lie"):
        inflate(KERNEL, 3, "acs", ("depth", "width"))
