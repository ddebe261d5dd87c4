"""Point-MAE and Point-M2AE."""

import torch

from dimlift.geometry.patches import propagate_visibility
from dimlift.methods.point_mae.method import PointMAE
from dimlift.methods.point_pretraining.masking import sample_visible_uniformly
from small_point_clouds import cd_l2, point_batch, small_network


def test_point_mae_loss_is_the_chamfer_distance_of_masked_patches():
    method, batch = PointMAE(small_network(1), decoder_depth=1), point_batch()
    torch.manual_seed(3)
    loss = method.loss(batch)
    torch.manual_seed(3)
    levels = method.model.encoder.cut(batch.points)
    visible = propagate_visibility(levels, sample_visible_uniformly(levels[-1].centres, 0.6))
    tokens, distances = method.predict_tokens(batch.points, levels, visible), []
    for row, patch in (~visible[0]).nonzero().tolist():
        target = batch.points[row][levels[0].members[row, patch]] - levels[0].centres[row, patch]
        distances.append(cd_l2(method.point_head(tokens[row, patch]).view(-1, 3), target))
    assert len(distances) == 2 * int(0.6 * 8)
    torch.testing.assert_close(loss, torch.stack(distances).mean())


def test_point_mae_report_contains_the_leakage():
    method = PointMAE(small_network(), mask_ratio=0.8, decoder_depth=1)
    method.loss(point_batch())
    assert method.report() == {}
    method.eval().loss(point_batch())
    assert 0 < method.report()["leakage"] < 1
