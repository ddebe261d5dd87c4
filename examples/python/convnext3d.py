"""3D-ConvNeXt (Kienzle et al., 2022): 2D ConvNeXt kernels are inflated to cubes with Gaussian weights."""

import torch
import torch.nn.functional as F

import dimlift
from dimlift.models import Classifier


def main(
    steps: int = 200, network: str = "timm:convnext_atto", pretrained: bool = False, num_classes: int = 2
) -> float:
    """Train a classifier on random volumes; `pretrained=True` loads ImageNet weights that timm has downloaded."""
    torch.manual_seed(0)
    plan = dimlift.DepthPlan(kernel="cubic", inflation="gaussian", axes=("depth", "width"), stride="kernel")
    encoder = dimlift.lift(network, plan, in_chans=1, features_only=True, pretrained=pretrained)
    model = Classifier(encoder, num_classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-5)
    for _ in range(steps):
        label = torch.randint(num_classes, (2,))
        volume = torch.randn(2, 1, 32, 64, 64) + label.view(2, 1, 1, 1, 1)
        loss = F.cross_entropy(model(volume), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    print(f"loss {main():.3f}")
