"""3D ResNet: outputs are independent of the other volumes of a batch."""

import pytest
import torch

from dimlift.models.resnet import plain_resnet


@pytest.mark.parametrize("layers", [10, 50])
def test_plain_resnet_output_is_independent_of_the_batch(layers):
    torch.manual_seed(0)
    network = plain_resnet(1, 3, layers=layers, widths=(8, 8, 8, 16)).train()
    volumes = torch.randn(3, 1, 16, 16, 16)  # the last map is one voxel
    batched, alone = network(volumes), torch.cat([network(volume[None]) for volume in volumes])
    assert batched.shape == (3, 3)
    torch.testing.assert_close(batched, alone)
    assert not torch.allclose(batched[0], batched[1])
