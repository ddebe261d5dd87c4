"""3D ResNets of MedicalNet with a U-Net decoder (MONAI).

- Chen et al., 2019, https://arxiv.org/abs/1904.00625
"""

from typing import Literal

from monai.networks.nets import FlexibleUNet

from dimlift.models.pad_to_multiple import PadToMultiple

ResNetName = Literal["resnet10", "resnet18", "resnet34", "resnet50"]


def medicalnet_unet(in_channels: int, num_classes: int, network: ResNetName = "resnet10") -> PadToMultiple:
    """Return a network (B, C, D, H, W) -> logits (B, num_classes, D, H, W) of any size, with random weights."""
    unet = FlexibleUNet(in_channels, num_classes, network, pretrained=False, spatial_dims=3)
    return PadToMultiple(unet, (32, 32, 32))
