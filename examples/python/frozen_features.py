"""Frozen features: the maps of a frozen 2D network, fused into a 3D U-Net through convolutions initialised to zero."""

import torch

from dimlift.batch import VolumeBatch
from dimlift.methods import FeatureExtractionSettings, FeatureExtractor, FrozenFeatureUNet
from dimlift.methods.frozen_features.sampling import window_features


def main(steps: int = 200, network: str = "packaged:efficientnet_lite0", num_classes: int = 2) -> float:
    """Train on random volumes; replace the tensors by your own, normalised as for any U-Net."""
    torch.manual_seed(0)
    extractor = FeatureExtractor(FeatureExtractionSettings(network))
    method = FrozenFeatureUNet(extractor, in_channels=1, num_classes=num_classes, num_components=24, fusion="input")
    volumes = [torch.randn(1, 16, 32, 32) for _ in range(2)]  # (channels, depth, height, width)
    spacing = (5.0, 1.0, 1.0)  # millimetres along depth, height, width
    maps = [extractor(volume, spacing) for volume in volumes]  # once per volume
    method.fit(maps)  # principal components of the maps
    coarse = [method.coarse_features(volume, spacing) for volume in volumes]
    optimizer = torch.optim.AdamW(method.param_groups(lr=1e-3))
    for step in range(steps):
        volume = volumes[step % 2][None]
        whole = volume.shape[2:]
        features = window_features(coarse[step % 2], whole, (0, 0, 0), whole)[None]  # here the patch is the volume
        batch = VolumeBatch(volume, (volume[:, 0] > 0).long(), ("case",), features)
        loss = method.loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    print(f"loss {main():.3f}")
