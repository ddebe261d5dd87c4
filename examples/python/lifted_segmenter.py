"""A lifted 2D encoder with a decoder: starts as slice by slice, and learns to mix along depth."""

import torch

import dimlift
from dimlift.losses import DiceCELoss
from dimlift.models import Segmenter


def main(steps: int = 200, network: str = "packaged:efficientnet_lite0", num_classes: int = 2) -> float:
    """Train on random volumes; replace the tensors by your own data loader."""
    torch.manual_seed(0)
    encoder = dimlift.lift(network, dimlift.DepthPlan(kernel=3), in_chans=1, features_only=True)
    print(encoder.certificate)  # what was inflated, and the measured error against the 2D network
    model = Segmenter(encoder, num_classes)
    loss_fn = DiceCELoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _ in range(steps):
        volume = torch.randn(1, 1, 8, 64, 64)  # (batch, channels, depth, height, width)
        label = (volume[:, 0] > 0).long()
        loss = loss_fn(model(volume), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    print(f"loss {main():.3f}")
