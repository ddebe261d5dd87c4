"""Joint-MAE (Guo et al., 2023): masked points and masked pixels of the depth image are predicted together."""

import torch

from dimlift.batch import PointBatch
from dimlift.methods.joint_mae.method import JointMAE
from dimlift.models import PointCloudClassifier, PointM2AEEncoder


def main(steps: int = 200) -> float:
    """Pretrain on random point clouds; replace the tensors by your own, scaled to the unit sphere."""
    torch.manual_seed(0)
    encoder = PointM2AEEncoder(num_groups=(64, 32), group_sizes=(16, 8), widths=(48, 96), depths=(1, 1), heads=3)
    method = JointMAE(PointCloudClassifier(encoder, 2), render_size=32, shared_decoder_depth=1)
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
