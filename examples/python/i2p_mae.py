"""I2P-MAE (Zhang et al., 2022): a masked autoencoder of point clouds, guided by a frozen 2D vision transformer."""

import torch

from dimlift.batch import PointBatch
from dimlift.methods import open_teacher
from dimlift.methods.i2p_mae.method import I2PMAE
from dimlift.models import PointCloudClassifier, PointM2AEEncoder


def main(steps: int = 200, network: str = "timm:vit_tiny_patch16_224", pretrained: bool = False) -> float:
    """Pretrain on random point clouds; `pretrained=True` loads ImageNet weights that timm has downloaded."""
    torch.manual_seed(0)
    teacher = open_teacher(network, pretrained=pretrained)
    encoder = PointM2AEEncoder(num_groups=(64, 32), group_sizes=(16, 8), widths=(48, 96), depths=(1, 1), heads=3)
    method = I2PMAE(PointCloudClassifier(encoder, 2), teacher, render_size=32)
    optimizer = torch.optim.AdamW(method.param_groups(lr=1e-3))
    for _ in range(steps):
        points = torch.nn.functional.normalize(torch.randn(2, 256, 3), dim=-1)
        loss = method.loss(PointBatch(points, None, ("a", "b")))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    print(f"loss {main():.3f}")
