"""Joint-MAE."""

import pytest
import torch

from dimlift.geometry.patches import propagate_visibility
from dimlift.methods.joint_mae.images import cross_reconstruction_loss, local_attention_mask, render_depth_images
from dimlift.methods.joint_mae.method import JointMAE
from dimlift.methods.point_pretraining.masking import sample_visible_uniformly
from small_point_clouds import cd_l2, point_batch, small_network


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0])
def test_joint_mae_loss_sums_masked_points_masked_pixels_and_cross_term(weight):
    method, batch = JointMAE(small_network(2), cross_weight=weight, render_size=32), point_batch()
    torch.manual_seed(3)
    loss = method.loss(batch)
    torch.manual_seed(3)
    levels = method.model.encoder.cut(batch.points)
    rendered = render_depth_images(batch.points, 32)
    points_visible = sample_visible_uniformly(levels[-1].centres, 0.75)
    pixels_visible = sample_visible_uniformly(rendered.patches, 0.75)
    tokens = method.encode(batch.points, levels, rendered, points_visible, pixels_visible)
    point_tokens, image_tokens = method.decode(*tokens, levels[-1].centres)
    shapes, pixels, absolute = [], [], [[], []]
    for row, patch in (~points_visible).nonzero().tolist():
        target = levels[0].centres[row][levels[1].members[row, patch]] - levels[1].centres[row, patch]
        predicted = method.point_head(point_tokens[row, patch]).view(-1, 3)
        shapes.append(cd_l2(predicted, target))
        absolute[row].append(predicted + levels[1].centres[row, patch])
    for row, patch in (~pixels_visible).nonzero().tolist():
        pixels.append((method.pixel_head(image_tokens[row, patch]) - rendered.patches[row, patch]).square().mean())
    cross = cross_reconstruction_loss(torch.stack([torch.cat(each) for each in absolute]), batch.points, rendered)
    assert cross > 1e-3
    torch.testing.assert_close(loss, torch.stack(shapes).mean() + torch.stack(pixels).mean() + weight * cross)


def test_joint_mae_encoder_ignores_masked_pixels_and_points():
    method = JointMAE(small_network(2), mask_ratio=0.5, render_size=64)
    points = point_batch().points
    levels = method.model.encoder.cut(points)
    rendered = render_depth_images(points, 64)
    visible = sample_visible_uniformly(levels[-1].centres, 0.5), sample_visible_uniformly(rendered.patches, 0.5)
    tokens = method.encode(points, levels, rendered, *visible)
    noise = torch.rand_like(rendered.patches)
    changed = rendered._replace(patches=torch.where(visible[1][..., None], rendered.patches, noise))
    shown = torch.zeros(2, 80, dtype=torch.bool)
    finest = propagate_visibility(levels, visible[0])[0]
    for row in range(2):
        shown[row, levels[0].members[row][finest[row]].flatten()] = True
    moved = torch.where(shown[..., None], points, points + 10)
    for one, other in zip(tokens, method.encode(moved, levels, changed, *visible), strict=True):
        torch.testing.assert_close(one, other)


def test_local_attention_mask_separates_distant_tokens_of_different_modality():
    patches, rotation = torch.arange(16).expand(1, -1), torch.eye(3)[None]
    centres = torch.tensor([[[0.0, 0.0, 0.0], [-0.7, -0.7, 0.0]]])
    mask = local_attention_mask(centres, patches, rotation, 64, 0.3)[0]
    assert mask.shape == (18, 18)
    assert torch.equal(mask, mask.T)
    assert not mask[:2, :2].any()
    assert not mask[2:, 2:].any()
    assert mask[0, 2:].all()  # of 4 x 4 patches, the four around the middle are 0.35 away
    mask = local_attention_mask(torch.zeros(1, 1, 3), patches, rotation, 64, 0.36)[0]
    assert set((~mask[0, 1:]).nonzero().flatten().tolist()) == {5, 6, 9, 10}


def test_cross_reconstruction_loss_is_smaller_for_the_true_points():
    points = point_batch().points
    rendered = render_depth_images(points, 128)
    truth = cross_reconstruction_loss(points, points, rendered)
    assert truth < cross_reconstruction_loss(-points, points, rendered)
