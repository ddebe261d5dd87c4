"""Simple3D-Former (Wang et al., 2022): a 2D vision transformer on voxel tokens with group embedding."""

import torch
import torch.nn.functional as F

from dimlift.backbones import create_backbone
from dimlift.models import VoxelTransformer
from dimlift.tokenizers import CubeTokenizer, GroupTokenizer


def main(steps: int = 200, network: str = "timm:deit_tiny_patch16_224", pretrained: bool = False) -> float:
    """Train a classifier on random volumes; `pretrained=True` loads ImageNet weights that timm has downloaded."""
    torch.manual_seed(0)
    num_classes, patch_size = 2, (8, 16, 16)
    vit, _ = create_backbone(network, pretrained=pretrained)
    cubes = CubeTokenizer(vit.embed_dim, patch_size, in_channels=1)
    cubes.init_from_2d(vit.patch_embed.proj.weight, vit.patch_embed.proj.bias)
    model = VoxelTransformer(GroupTokenizer(cubes, depth=4), vit, num_classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
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
