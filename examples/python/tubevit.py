"""TubeViT (Piergiovanni et al., 2022): a 2D vision transformer on tubes of several shapes."""

import torch
import torch.nn.functional as F

from dimlift.backbones import create_backbone
from dimlift.models import TubeTransformer
from dimlift.tokenizers import Tube, TubeTokenizer


def main(steps: int = 200, network: str = "timm:vit_tiny_patch16_224", pretrained: bool = False) -> float:
    """Train a classifier on random volumes; `pretrained=True` loads ImageNet weights that timm has downloaded."""
    torch.manual_seed(0)
    num_classes = 2
    vit, _ = create_backbone(network, pretrained=pretrained)
    tubes = (Tube((1, 16, 16), (8, 16, 16)), Tube((8, 8, 8), (8, 16, 16)))  # (kernel, stride) in voxels
    tokenizer = TubeTokenizer(vit.embed_dim, tubes, in_channels=1)
    tokenizer.init_from_2d(vit.patch_embed.proj.weight, vit.patch_embed.proj.bias)
    model = TubeTransformer(tokenizer, vit, num_classes)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for _ in range(steps):
        label = torch.randint(num_classes, (2,))
        volume = torch.randn(2, 1, 16, 64, 64) + label.view(2, 1, 1, 1, 1)
        loss = F.cross_entropy(model(volume), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    print(f"loss {main():.3f}")
