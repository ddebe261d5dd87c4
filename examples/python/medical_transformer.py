"""Medical Transformer (Jun et al., 2021): sequences of slices in three planes, pretrained by masked slices."""

import torch
import torch.nn.functional as F

import dimlift
from dimlift.batch import VolumeBatch
from dimlift.methods.medical_transformer.method import MaskedSlicePrediction
from dimlift.models import PlaneClassifier, PlaneTransformer


def main(steps: int = 200, network: str = "packaged:efficientnet_lite0", num_classes: int = 2) -> float:
    """Pretrain, then fine-tune a classifier; replace the random tensors by your own data loader."""
    torch.manual_seed(0)
    slices = dimlift.lift(network, dimlift.DepthPlan(kernel=1), in_chans=1, features_only=True)
    encoder = PlaneTransformer(slices, width=64, layers=2, heads=4)
    model = PlaneClassifier(encoder, num_classes)
    pretraining = MaskedSlicePrediction(model, mask_ratio=0.15, target="frozen")
    optimizer = torch.optim.AdamW(pretraining.param_groups(lr=1e-4))
    for _ in range(steps):
        volume = torch.randn(2, 1, 32, 32, 32)
        loss = pretraining.loss(VolumeBatch(volume, torch.zeros(2), ("a", "b")))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    for _ in range(steps):
        label = torch.randint(num_classes, (2,))
        loss = F.cross_entropy(model(torch.randn(2, 1, 32, 32, 32) + label.view(2, 1, 1, 1, 1)), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    print(f"loss {main():.3f}")
