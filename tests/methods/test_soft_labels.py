"""Soft labels of a 2D network on points."""

import pytest
import torch
from torch import Tensor, nn

from dimlift.data.rgbd.recordings import find_frames
from dimlift.data.sampling.rgbd_pair_sampler import PixelPointPairSampler
from dimlift.methods.soft_labels.method import SoftLabels, class_maps, is_semantic
from dimlift.methods.teachers.feature_maps import CachedFeatureMaps, pair_features
from dimlift.methods.teachers.teacher import open_teacher, wrap_teacher
from dimlift.models.point_sparse_unet import point_sparse_unet
from small_frames import write_recording


class SegmentationNetwork(nn.Module):
    """A semantic 2D network of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 5, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.layer(images)


@pytest.mark.parametrize("name", ["packaged:efficientnet_lite0", "timm:test_vit"])
def test_class_maps_average_to_the_logits_of_a_linear_head(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"dynamic_img_size": True, "global_pool": "avg", "fc_norm": False} if "vit" in name else {}
        teacher = open_teacher(name, **options)
    images = torch.rand(1, 3, 64, 96)
    maps = class_maps(teacher, images)
    assert maps.shape[2:] == ((2, 3) if "lite" in name else (4, 6))
    logits = teacher.logits(images)
    assert torch.allclose(maps.mean((2, 3)), logits, atol=1e-4 * float(logits.abs().max()))
    assert not is_semantic(teacher)


def test_soft_labels_loss_is_the_cross_entropy_with_the_teachers_probabilities(tmp_path):
    torch.manual_seed(0)
    maps = CachedFeatureMaps(wrap_teacher(SegmentationNetwork()), feature_fn=class_maps)
    assert is_semantic(maps.teacher)
    method = SoftLabels(point_sparse_unet(3, maps.channels, 18, 0.1, 0.1), maps)
    batch = PixelPointPairSampler(find_frames(write_recording(tmp_path)), stride=2, num_pairs=200).batch(0, 2)
    target = pair_features(maps(batch.image), batch).softmax(1)
    logits = method.eval()(batch)[batch.pair_points]
    expected = -(target * (logits.exp() / logits.exp().sum(1, keepdim=True)).log()).sum() / len(logits)
    assert method.loss(batch).item() == pytest.approx(expected.item(), rel=1e-5)
    method.train().loss(batch).backward()
    assert all(p.grad is None for p in maps.teacher.frozen.network.parameters())
    assert all(p.grad is not None for p in method.model.parameters())
    assert "semantic" in method.report()["soft_labels"]
