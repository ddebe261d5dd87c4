"""Options of U-Nets trained from scratch."""

import pytest

from dimlift.config.method_config import TaskSpec
from dimlift.methods.baselines.unets import UNetConfig
from dimlift.methods.frozen_features.config import FrozenFeaturesConfig

TASK = TaskSpec("segmentation", 1, 3, (10.0, 1.4, 1.4), (8, 64, 64))
"""Slices 10 mm apart, pixels of 1.4 mm."""


@pytest.mark.parametrize(("strides", "multiple"), [("isotropic", (16, 16, 16)), ("spacing", (2, 16, 16))])
def test_unet_strides_follow_the_spacing_on_request(strides, multiple):
    widths = (4, 4, 4, 4, 4)
    assert UNetConfig(strides=strides, widths=widths).network(TASK).multiple == multiple
    fused = FrozenFeaturesConfig(strides=strides, widths=widths, network="filters").build(TASK)
    assert fused.unet.multiple == multiple
