"""3D ResNets as MedicalNet published them, with a U-Net's decoder: MONAI's.

- Chen et al., 2019, https://arxiv.org/abs/1904.00625
"""

from typing import Literal

from monai.networks.nets import FlexibleUNet

from dimlift.models.pad_to_multiple import AnySize

ResNetName = Literal["resnet10", "resnet18", "resnet34", "resnet50"]


def medicalnet_unet(in_channels: int, classes: int, network: ResNetName = "resnet10") -> AnySize:
    """(B, C, D, H, W) -> (B, classes, D, H, W) of any size, with random weights."""
    unet = FlexibleUNet(in_channels, classes, network, pretrained=False, spatial_dims=3)
    return AnySize(unet, (32, 32, 32))
