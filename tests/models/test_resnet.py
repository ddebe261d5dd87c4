"""The plain 3D ResNet: a volume's answer does not depend on its neighbours in the batch."""

import pytest
import torch

from dimlift.models.resnet import plain_resnet


@pytest.mark.parametrize("layers", [10, 50])
def test_a_volume_is_answered_alike_alone_and_in_a_batch_while_it_trains(layers):
    torch.manual_seed(0)
    network = plain_resnet(1, 3, layers=layers, widths=(8, 8, 8, 16)).train()
    volumes = torch.randn(3, 1, 16, 16, 16)  # the last map is one voxel
    together, alone = network(volumes), torch.cat([network(volume[None]) for volume in volumes])
    assert together.shape == (3, 3)
    torch.testing.assert_close(together, alone)
    assert not torch.allclose(together[0], together[1])
