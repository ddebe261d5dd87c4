"""VDT: pretrain a lifted network on images passed as volumes of three slices, with soft labels of a teacher."""

import torch

import dimlift
from dimlift.batch import ImageBatch
from dimlift.methods import open_teacher
from dimlift.methods.vdt.method import VDT
from dimlift.models import Classifier


def main(steps: int = 200, network: str = "packaged:efficientnet_lite0") -> float:
    """Train on random images; replace the tensors by your own image loader (values from 0 to 1)."""
    torch.manual_seed(0)
    teacher = open_teacher(network)
    encoder = dimlift.lift(network, dimlift.DepthPlan(kernel=3), in_chans=1, features_only=True)
    method = VDT(Classifier(encoder, num_classes=1000), teacher)
    optimizer = torch.optim.AdamW(method.param_groups(lr=1e-4))
    for _ in range(steps):
        images = ImageBatch(torch.rand(2, 3, 64, 64), label=None, cases=("a", "b"))
        loss = method.loss(images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


if __name__ == "__main__":
    print(f"loss {main():.3f}")
