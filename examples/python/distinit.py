"""DistInit (Girdhar et al., 2019): a 3D network learns the outputs of an image classifier for one slice."""

import torch

from dimlift.batch import VolumeBatch
from dimlift.methods import open_teacher
from dimlift.methods.distinit.method import DistInit, pair_with_slices
from dimlift.models import plain_resnet


def main(steps: int = 200, network: str = "packaged:efficientnet_lite0", image_size: int = 64) -> float:
    """Pretrain a 3D ResNet on random volumes without labels; replace the tensors by your own data loader."""
    torch.manual_seed(0)
    teacher = open_teacher(network)
    num_classes = teacher.logits(torch.zeros(1, 3, image_size, image_size)).shape[1]
    student = plain_resnet(1, num_classes, widths=(8, 16, 32, 64))
    method = DistInit(student, [teacher], [num_classes])
    optimizer = torch.optim.AdamW(method.param_groups(lr=1e-3))
    for step in range(steps):
        volumes = VolumeBatch(torch.randn(2, 1, 16, 32, 32), torch.zeros(2), ("a", "b"))
        loss = method.loss(pair_with_slices(volumes, image_size, seed=0, step=step))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    print(f"loss {main():.3f}")
