"""TransSeg (Zhang et al., 2022): the first layer of a 2D network reads a window of slices."""

import torch

from dimlift.decoders import UPerNetDecoder
from dimlift.losses import DiceCELoss
from dimlift.models import SliceWindowSegmenter, tubelet_encoder


def main(
    steps: int = 200, network: str = "packaged:efficientnet_lite0", window: int = 5, num_classes: int = 2
) -> float:
    """Train on random volumes; replace the tensors by your own data loader."""
    torch.manual_seed(0)
    encoder = tubelet_encoder(network, window, in_chans=1)
    strides = [(1, *stride[1:]) for stride in encoder.strides]  # maps of a window have one slice
    decoder = UPerNetDecoder(encoder.channels, strides, num_classes, depth_kernel=1)
    model = SliceWindowSegmenter(encoder, decoder, num_classes)
    loss_fn = DiceCELoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _ in range(steps):
        volume = torch.randn(1, 1, window + 3, 64, 64)  # (batch, channels, depth, height, width)
        label = (volume[:, 0] > 0).long()
        loss = loss_fn(model(volume), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    print(f"loss {main():.3f}")
