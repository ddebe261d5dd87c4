"""Inflation of kernels, and adaptation of input channels (law 5)."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.errors import PlanError
from dimlift.inflation.inflate import inflate_kernel
from dimlift.inflation.input_channels import adapt_channels
from dimlift.inflation.profiles import PROFILES

KERNEL = torch.randn(4, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_inflate_kernel_sums_over_depth_to_2d_kernel(profile, k):
    torch.testing.assert_close(inflate_kernel(KERNEL, k, profile).sum(2), KERNEL)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("axes", [("depth", "width"), ("depth", "width", "height"), ("width",)])
def test_inflate_kernel_along_more_axes_keeps_total_sum(profile, axes):
    inflated = inflate_kernel(KERNEL, 3, profile, axes)
    torch.testing.assert_close(inflated.sum((2, 3, 4)), KERNEL.sum((2, 3)))


def test_inflate_kernel_along_two_axes_matches_published_2g():
    g = torch.exp(-torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64) / (2 * 0.25**2))
    # 2G of Kienzle et al. in (h, w, d): r (W[h, w] g(d) + W[h, d] g(w)), r = 1 / (2 sum g)
    published = torch.einsum("oihw,d->oihwd", KERNEL, g) + torch.einsum("oihd,w->oihwd", KERNEL, g)
    published = (published / (2 * g.sum())).permute(0, 1, 4, 2, 3)
    torch.testing.assert_close(inflate_kernel(KERNEL, 3, "gaussian", ("depth", "width")), published)


def test_inflate_kernel_rejects_several_axes_without_cube():
    with pytest.raises(PlanError, match=r"depth=3, height=1, width=3; use axes"):
        inflate_kernel(torch.zeros(1, 1, 1, 3), 3, "average", ("depth", "height"))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_adapt_channels_keeps_response_to_grey(channels):
    kernel = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    grey = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    adapted = adapt_channels(kernel, channels)
    assert adapted.shape == (5, channels, 3, 3)
    torch.testing.assert_close(
        F.conv2d(grey.expand(-1, channels, -1, -1), adapted), F.conv2d(grey.expand(-1, 3, -1, -1), kernel)
    )
