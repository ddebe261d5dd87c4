"""ResNet-18 in three dimensions, from the layers of torch: an independent statement of what a lift should give."""

import torch
import torch.nn.functional as F
from torch import nn


def conv3d(in_channels, out_channels, kernel, stride):
    """Return a cubic convolution without bias that pads half its kernel with zeros."""
    padding = tuple(size // 2 for size in kernel)
    return nn.Conv3d(in_channels, out_channels, kernel, stride, padding, bias=False)


class Block(nn.Module):
    """Two 3x3x3 convolutions and a shortcut."""

    def __init__(self, in_channels, channels, stride):
        super().__init__()
        self.conv1 = conv3d(in_channels, channels, (3, 3, 3), stride)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = conv3d(channels, channels, (3, 3, 3), 1)
        self.bn2 = nn.BatchNorm3d(channels)
        self.downsample = None
        if max(stride) > 1 or in_channels != channels:
            self.downsample = nn.Sequential(conv3d(in_channels, channels, (1, 1, 1), stride), nn.BatchNorm3d(channels))

    def forward(self, x):
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class Conv3dResNet18(nn.Module):
    """Stem (3, 7, 7), max pool 3x3x3, stride 2 along depth in the pool and in layers 2 to 4."""

    def __init__(self, in_channels, stem_depth_stride):
        super().__init__()
        self.conv1 = conv3d(in_channels, 64, (3, 7, 7), (stem_depth_stride, 2, 2))
        self.bn1 = nn.BatchNorm3d(64)
        self.maxpool = nn.MaxPool3d(3, 2, 1)
        widths = [64, 64, 128, 256, 512]
        for index in range(1, 5):
            stride = (1, 1, 1) if index == 1 else (2, 2, 2)
            blocks = [Block(widths[index - 1], widths[index], stride), Block(widths[index], widths[index], (1, 1, 1))]
            setattr(self, f"layer{index}", nn.Sequential(*blocks))

    def forward(self, x):
        maps = [F.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(maps[0])
        for index in range(1, 5):
            x = getattr(self, f"layer{index}")(x)
            maps.append(x)
        return maps


def load_by_key(network, state):
    """Load the weights of a lifted ResNet by key; kernels without a depth axis gain one of length 1."""
    own = network.state_dict()
    fitted = {name: t[:, :, None] if t.ndim == own[name].ndim - 1 else t for name, t in state.items()}
    network.load_state_dict(fitted)


def randomise(network, seed=0):
    """Give every tensor of a network random values, so that no tap and no norm is neutral."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if tensor.is_floating_point():
                noise = torch.randn(tensor.shape, generator=generator).to(tensor)
                fan_in = tensor[0].numel() if tensor.ndim > 2 else 1
                positive = "running_var" in name or (tensor.ndim == 1 and name.endswith("weight"))
                tensor.copy_(
                    1 + 0.3 * noise.abs() if positive else noise * (2 / fan_in) ** 0.5 if fan_in > 1 else noise
                )
