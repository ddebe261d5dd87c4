"""PPKT (Liu et al., 2021): every point of an RGB-D frame is contrasted with the pixel that shows it."""

import sys
from pathlib import Path

import torch

from dimlift.data.rgbd.recordings import find_frames
from dimlift.data.sampling.rgbd_pair_sampler import PixelPointPairSampler
from dimlift.methods.ppkt.method import PPKT
from dimlift.methods.teachers.feature_maps import CachedFeatureMaps
from dimlift.methods.teachers.teacher import open_map_teacher
from dimlift.models.point_sparse_unet import point_sparse_unet


def main(recording: Path, steps: int = 200, network: str = "packaged:efficientnet_lite0") -> float:
    """Pretrain a sparse U-Net on the RGB-D frames of a recording, without labels."""
    torch.manual_seed(0)
    sampler = PixelPointPairSampler(find_frames(recording), num_pairs=512)
    maps = CachedFeatureMaps(open_map_teacher(network))
    method = PPKT(point_sparse_unet(3, None, 18, width_multiplier=0.25, voxel_size=0.05), maps)
    optimizer = torch.optim.AdamW(method.param_groups(lr=1e-3))
    for step in range(steps):
        loss = method.loss(sampler.batch(step, 1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    print(f"loss {main(Path(sys.argv[1])):.3f}")
