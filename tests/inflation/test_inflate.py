"""Inflation is one formula; channel adaptation keeps the answer to grey."""

import pytest
import torch
import torch.nn.functional as F

from dimlift.errors import PlanError
from dimlift.inflation.inflate import inflate
from dimlift.inflation.input_channels import adapt_channels
from dimlift.inflation.profiles import PROFILES

KERNEL = torch.randn(4, 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_the_sum_over_depth_is_the_2d_kernel(profile, k):
    torch.testing.assert_close(inflate(KERNEL, k, profile).sum(2), KERNEL)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("axes", [("depth", "width"), ("depth", "width", "height"), ("width",)])
def test_more_axes_keep_the_sum_of_the_whole_kernel(profile, axes):
    deep = inflate(KERNEL, 3, profile, axes)
    torch.testing.assert_close(deep.sum((2, 3, 4)), KERNEL.sum((2, 3)))


def test_two_axes_are_the_published_formula():
    g = torch.exp(-torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64) / (2 * 0.25**2))
    # 2G of Kienzle et al. in (h, w, d): r (W[h, w] g(d) + W[h, d] g(w)), r = 1 / (2 sum g)
    theirs = torch.einsum("oihw,d->oihwd", KERNEL, g) + torch.einsum("oihd,w->oihwd", KERNEL, g)
    theirs = theirs / (2 * g.sum())
    torch.testing.assert_close(inflate(KERNEL, 3, "gaussian", ("depth", "width")), theirs.permute(0, 1, 4, 2, 3))


def test_a_kernel_that_is_no_cube_says_so():
    with pytest.raises(PlanError, match=r"depth=3, height=1, width=3; use axes"):
        inflate(torch.zeros(1, 1, 1, 3), 3, "average", ("depth", "height"))


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_a_grey_image_gets_the_same_answer_through_any_number_of_channels(channels):
    kernel = torch.randn(5, 3, 3, 3, dtype=torch.float64)
    grey = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    adapted = adapt_channels(kernel, channels)
    assert adapted.shape == (5, channels, 3, 3)
    torch.testing.assert_close(
        F.conv2d(grey.expand(-1, channels, -1, -1), adapted), F.conv2d(grey.expand(-1, 3, -1, -1), kernel)
    )
