"""Slice classifier (as MST and AnyMC3D): a frozen 2D network on every slice, attention pooling over slices."""

import torch
import torch.nn.functional as F

import dimlift
from dimlift.models import SliceAttention, SliceClassifier


def main(steps: int = 200, network: str = "packaged:efficientnet_lite0", num_classes: int = 2) -> float:
    """Train the pooling and the head on random volumes; replace the tensors by your own data loader."""
    torch.manual_seed(0)
    encoder = dimlift.lift(network, dimlift.DepthPlan(kernel=1), in_chans=1, features_only=True)
    encoder.requires_grad_(False)
    model = SliceClassifier(encoder, num_classes, SliceAttention(128), embed_dim=128, freeze_norm_stats=True)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    for _ in range(steps):
        label = torch.randint(num_classes, (2,))
        volume = torch.randn(2, 1, 8, 64, 64) + label.view(2, 1, 1, 1, 1)
        loss = F.cross_entropy(model(volume), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    print(f"loss {main():.3f}")
