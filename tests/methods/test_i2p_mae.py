"""I2P-MAE."""

import pytest
import torch

from dimlift.errors import LiftError, ShapeError
from dimlift.geometry.views import axis_view
from dimlift.methods.i2p_mae.method import I2PMAE
from dimlift.methods.point_pretraining.depth_images import depth_to_rgb
from dimlift.methods.teachers.attention_saliency import attention_saliency
from dimlift.methods.teachers.teacher import open_teacher
from small_point_clouds import cd_l2, point_batch, small_network


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return open_teacher("timm:test_vit", dynamic_img_size=True)


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0])
def test_i2p_mae_loss_sums_masked_points_and_visible_features(teacher, weight):
    method, batch = I2PMAE(small_network(), teacher, feature_weight=weight, render_size=32), point_batch()
    torch.manual_seed(3)
    loss = method.loss(batch)
    torch.manual_seed(3)
    levels = method.model.encoder.cut(batch.points)
    targets = method.point_targets(batch.points, levels[0].chosen)
    visible = method.sample_mask(targets.saliency, levels)
    tokens = method.predict_tokens(batch.points, levels, visible)
    shapes, features = [], []
    for row in range(2):
        for patch, members in enumerate(levels[1].members[row]):
            token = tokens[row, patch]
            if visible[1][row, patch]:
                error = method.feature_head(token) - targets.features[row][members].flatten()
                features.append(error.square().mean())
            else:
                target = levels[0].centres[row][members] - levels[1].centres[row, patch]
                shapes.append(cd_l2(method.point_head(token).view(-1, 3), target))
    assert features
    assert shapes
    torch.testing.assert_close(loss, torch.stack(shapes).mean() + weight * torch.stack(features).mean())


def test_i2p_mae_rejects_teacher_without_attention_and_encoder_of_one_level():
    with pytest.raises(LiftError, match="vision transformer"):
        I2PMAE(small_network(), open_teacher("timm:test_resnet"), render_size=32)
    with pytest.raises(ShapeError, match="two levels or more"):
        I2PMAE(small_network(1), open_teacher("timm:test_vit"))


def test_i2p_mae_mask_keeps_salient_patches_at_low_temperature(teacher):
    method = I2PMAE(small_network(), teacher, mask_ratio=0.5, saliency_temperature=1e-6, render_size=32)
    levels = method.model.encoder.cut(point_batch().points)
    saliency = torch.rand(2, 32)
    visible = method.sample_mask(saliency, levels)[-1]
    coarse = saliency.gather(1, levels[1].chosen.gather(1, levels[2].chosen))
    assert coarse[visible].view(2, -1).amin() > 0
    for row in range(2):
        assert coarse[row][visible[row]].min() >= coarse[row][~visible[row]].max()


def test_i2p_mae_point_targets_match_upsampled_maps(teacher):
    """Upsampling the maps to the image size and reading the pixel, as the authors do, agrees up to half a pixel."""
    channels = teacher.frozen.network.num_features
    method = I2PMAE(small_network(), teacher, render_size=64)
    points = point_batch().points
    targets = method.point_targets(points, torch.arange(80).expand(2, -1))
    assert targets.features.shape == (2, 80, 3 * channels)
    view = axis_view(points, 0, 64)
    maps = attention_saliency(teacher, depth_to_rgb(view.depth)).maps
    upsampled = torch.nn.functional.interpolate(maps, (512, 512), mode="bicubic", align_corners=False)
    pixels = ((view.uv + 1) / 2 * 512).floor().long()
    expected = torch.stack([upsampled[b, :, pixels[b, :, 1], pixels[b, :, 0]].T for b in range(2)])
    torch.testing.assert_close(targets.features[..., :channels], expected, atol=0.02, rtol=0.02)
