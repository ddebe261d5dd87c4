"""Masked autoencoders of points and their rivals: what is drawn, what is seen, who learns."""

import pytest
import torch

from dimlift.batch import PointBatch
from dimlift.errors import CannotLift, ShapeError
from dimlift.geometry.patches import cut_hierarchy, seen_below
from dimlift.geometry.views import axis_view
from dimlift.methods.points.crosspoint import CrossPoint
from dimlift.methods.points.i2p_mae import I2PMAE, picture
from dimlift.methods.points.joint_mae import JointMAE
from dimlift.methods.points.masking import at_random, draw_visible, in_sight, standardised
from dimlift.methods.points.point_mae import PointMAE
from dimlift.methods.teachers.attention_saliency import look
from dimlift.methods.teachers.teacher import open_map_teacher, open_teacher
from dimlift.models.point_classifier import CloudClassifier
from dimlift.models.point_m2ae_encoder import PointHierarchy


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return open_teacher("timm:test_vit", dynamic_img_size=True)


def student(levels: int = 3) -> CloudClassifier:
    torch.manual_seed(0)
    first = 3 - levels
    return CloudClassifier(
        PointHierarchy((32, 16, 8)[first:], (8, 4, 3)[first:], (24, 24, 48)[first:], (1, 1, 1)[first:], 2), 0
    )


def batch(clouds: int = 2) -> PointBatch:
    points = torch.randn(clouds, 80, 3, generator=torch.Generator().manual_seed(1))
    return PointBatch(points / points.norm(dim=-1).amax(), None, tuple("abcdef"[:clouds]))


METHODS = {
    "point_mae": lambda teacher: PointMAE(student(1), blocks=1),
    "point_m2ae": lambda teacher: PointMAE(student(), masked=0.8, blocks=1),
    "i2p_mae": lambda teacher: I2PMAE(student(), teacher, view_size=32),
    "joint_mae": lambda teacher: JointMAE(student(2), view_size=32),
    "crosspoint": lambda teacher: CrossPoint(student(), teacher, teacher.frozen.network.num_features, view_size=32),
}


@pytest.mark.parametrize("name", METHODS)
def test_everything_but_the_teacher_learns_and_a_step_follows_its_seed(name, teacher):
    before = {key: value.clone() for key, value in teacher.frozen.network.state_dict().items()}
    method = METHODS[name](teacher).train()
    losses = []
    for _ in range(2):
        torch.manual_seed(3)
        losses.append(method.loss(batch()))
    assert torch.equal(*losses)
    losses[0].backward()
    assert [key for key, value in method.named_parameters() if value.grad is None] == []
    handed = {id(p) for group in method.parameter_groups(1.0) for p in group["params"]}
    assert handed == {id(p) for p in method.parameters()}
    assert not handed & {id(p) for p in teacher.frozen.network.parameters()}
    assert not teacher.frozen.network.training
    assert all(p.grad is None and not p.requires_grad for p in teacher.frozen.network.parameters())
    assert all(torch.equal(before[key], value) for key, value in teacher.frozen.network.state_dict().items())


@pytest.mark.parametrize("name", METHODS)
def test_a_few_steps_lower_the_loss(name, teacher):
    method = METHODS[name](teacher).train()
    optimiser = torch.optim.AdamW(method.parameters(), 2e-3)
    found = []
    for _ in range(30):
        torch.manual_seed(0)
        loss = method.loss(batch())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    assert found[-1] < 0.8 * found[0]


def far(one, other):
    """CD-L2 of two small clouds, by its definition."""
    gaps = (one[:, None] - other[None]).square().sum(-1)
    return gaps.amin(1).mean() + gaps.amin(0).mean()


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0])
def test_i2p_is_the_distance_of_hidden_patches_plus_that_of_features_of_seen_ones(teacher, weight):
    method, shown = I2PMAE(student(), teacher, weight=weight, view_size=32), batch()
    torch.manual_seed(3)
    found = method.loss(shown)
    torch.manual_seed(3)
    levels = method.model.encoder.cut(shown.points)
    seen = method.look(shown.points, levels[0].chosen)
    visible = method.draw(seen.saliency, levels)
    tokens = method.foreseen(shown.points, levels, visible)
    shapes, features = [], []
    for cloud in range(2):
        for patch, members in enumerate(levels[1].members[cloud]):
            token = tokens[cloud, patch]
            if visible[1][cloud, patch]:
                features.append((method.features(token) - seen.features[cloud][members].flatten()).square().mean())
            else:
                around = levels[0].centres[cloud][members] - levels[1].centres[cloud, patch]
                shapes.append(far(method.points(token).view(-1, 3), around))
    assert features
    assert shapes
    torch.testing.assert_close(found, torch.stack(shapes).mean() + weight * torch.stack(features).mean())


def test_point_mae_foresees_what_is_hidden_and_nothing_else():
    method, shown = METHODS["point_mae"](None), batch()
    torch.manual_seed(3)
    found = method.loss(shown)
    torch.manual_seed(3)
    levels = method.model.encoder.cut(shown.points)
    visible = seen_below(levels, at_random(levels[-1].centres, 0.6))
    tokens, distances = method.foreseen(shown.points, levels, visible), []
    for cloud, patch in (~visible[0]).nonzero().tolist():
        around = shown.points[cloud][levels[0].members[cloud, patch]] - levels[0].centres[cloud, patch]
        distances.append(far(method.points(tokens[cloud, patch]).view(-1, 3), around))
    assert len(distances) == 2 * int(0.6 * 8)
    torch.testing.assert_close(found, torch.stack(distances).mean())


@pytest.mark.parametrize("weight", [0.0, 1.0, 3.0])
def test_joint_mae_is_points_plus_pixels_that_are_hidden_plus_the_cross_term(weight):
    method, shown = JointMAE(student(2), weight=weight, view_size=32), batch()
    torch.manual_seed(3)
    found = method.loss(shown)
    torch.manual_seed(3)
    levels = method.model.encoder.cut(shown.points)
    drawn = method.draw(shown.points)
    points_seen, pixels_seen = at_random(levels[-1].centres, 0.75), at_random(drawn.pixels, 0.75)
    tokens = method.encode(shown.points, levels, drawn, points_seen, pixels_seen)
    of_points, of_pixels = method.decode(*tokens, levels[-1].centres)
    shapes, shades, placed = [], [], [[], []]
    for cloud, patch in (~points_seen).nonzero().tolist():
        around = levels[0].centres[cloud][levels[1].members[cloud, patch]] - levels[1].centres[cloud, patch]
        foreseen = method.points(of_points[cloud, patch]).view(-1, 3)
        shapes.append(far(foreseen, around))
        placed[cloud].append(foreseen + levels[1].centres[cloud, patch])
    for cloud, patch in (~pixels_seen).nonzero().tolist():
        shades.append((method.pixels(of_pixels[cloud, patch]) - drawn.pixels[cloud, patch]).square().mean())
    cross = method.cross(torch.stack([torch.cat(each) for each in placed]), shown.points, drawn)
    expected = torch.stack(shapes).mean() + torch.stack(shades).mean() + weight * cross
    assert cross > 1e-3
    torch.testing.assert_close(found, expected)


def test_crosspoint_contrasts_two_versions_and_their_mean_with_the_picture(teacher, monkeypatch):
    method, asked = METHODS["crosspoint"](teacher), []

    def scripted(one, other):
        asked.append((one, other))
        return one.new_tensor(10.0 ** len(asked))

    monkeypatch.setattr(method, "contrast", scripted)
    monkeypatch.setattr(method, "seen", lambda points: torch.ones(len(points), method.of_pictures[0].in_features))
    assert method.loss(batch()) == 10 + 100
    (one, other), (mean, pictures) = asked
    assert not torch.allclose(one, other)
    torch.testing.assert_close(mean, (one + other) / 2)
    torch.testing.assert_close(pictures, method.of_pictures(torch.ones(2, method.of_pictures[0].in_features)))


def test_as_many_as_promised_are_masked():
    visible = at_random(torch.zeros(5, 64, 3), 0.8)
    assert (visible.sum(1) == 13).all()  # int(0.8 * 64) = 51 are hidden
    with pytest.raises(ShapeError, match="at least one"):
        at_random(torch.zeros(1, 4, 3), 0.1)


def test_drawing_follows_the_softmax_of_the_scores():
    """The first of one draw: the frequencies are the softmax, here 0.6439, 0.2369, 0.1192 within five deviations."""
    scores = torch.tensor([[0.0, -1.0, -1.687]])
    visible = draw_visible(scores.expand(20000, -1), 0.67)
    assert (visible.sum(1) == 1).all()
    torch.testing.assert_close(visible.float().mean(0), scores.softmax(1)[0], atol=0.018, rtol=0)


def test_the_published_temperature_masks_almost_at_random():
    """Shares of attention of 64 patches, very uneven ones: at temperature 1 the most salient quarter gains nothing."""
    torch.manual_seed(0)
    shares = torch.distributions.Dirichlet(torch.full((64,), 0.3)).sample((4000,))
    order = shares.argsort(1)
    lowest, highest = order[:, :16], order[:, 48:]

    def chances(scores, temperature):
        visible = draw_visible(scores, 0.8, temperature).float()
        return visible.gather(1, highest).mean().item(), visible.gather(1, lowest).mean().item()

    high, low = chances(shares, 1.0)
    assert abs(high - low) < 0.03  # 13 of 64 are seen: 0.203 by chance
    high, low = chances(shares, 0.01)
    assert high > 0.4 > 0.2 > low
    high, low = chances(standardised(shares), 1.0)
    assert high > 0.35 > 0.2 > low


def test_saliency_is_the_class_tokens_attention(teacher):
    pictures = torch.rand(2, 3, 64, 64)
    found = look(teacher, pictures)
    torch.testing.assert_close(found.maps, teacher.maps(pictures))
    network = teacher.frozen.network
    attention, heard = network.blocks[-1].attn, []
    fused, attention.fused_attn = attention.fused_attn, False  # written out, timm's own softmax can be listened to
    hook = attention.attn_drop.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    teacher.maps(pictures)
    hook.remove()
    attention.fused_attn = fused
    expected = heard[0][:, :, 0].mean(1)[:, network.num_prefix_tokens :]
    torch.testing.assert_close(found.saliency.flatten(1), expected)
    assert (found.saliency.flatten(1).sum(1) <= 1 + 1e-6).all()


SMALL = {"img_size": 32, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2}


@pytest.mark.parametrize("name", ["beit_base_patch16_224", "eva02_tiny_patch14_224"])
def test_biases_and_rotary_positions_have_their_part_in_saliency(name):
    """These add to queries, turn them, or add to their products, behind the layer that makes them."""
    torch.manual_seed(0)
    told = open_teacher(f"timm:{name}", **SMALL)
    network, heard = told.frozen.network, []
    with torch.no_grad():
        for key, value in network.named_parameters():
            if "bias" in key:
                value.normal_()
    pictures = torch.rand(1, 3, 32, 32)
    found = look(told, pictures)
    for module in network.modules():
        if hasattr(module, "fused_attn"):
            module.fused_attn = False
    hook = network.blocks[-1].attn.attn_drop.register_forward_pre_hook(lambda _, inputs: heard.append(inputs[0]))
    told.maps(pictures)
    hook.remove()
    torch.testing.assert_close(found.saliency.flatten(1), heard[0][:, :, 0].mean(1)[:, 1:])


@pytest.mark.parametrize("kind", ["ViT", "Dinov2"])
def test_a_transformer_of_transformers_says_what_is_salient(kind, tmp_path):
    transformers = pytest.importorskip("transformers")
    size = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    torch.manual_seed(0)
    settings = getattr(transformers, f"{kind}Config")(image_size=32, patch_size=16, **size)
    model = getattr(transformers, f"{kind}Model")(settings)
    model.save_pretrained(tmp_path)
    told, pictures = open_map_teacher(f"transformers:{tmp_path}"), torch.rand(2, 3, 32, 32)
    found = look(told, pictures)
    whole = type(model).from_pretrained(tmp_path, attn_implementation="eager").eval()
    with torch.no_grad():
        shares = whole(told.normalised(pictures), output_attentions=True).attentions[-1]
    torch.testing.assert_close(found.saliency.flatten(1), shares[:, :, 0].mean(1)[:, 1:], rtol=1e-4, atol=1e-6)
    loss = I2PMAE(student(), told, view_size=32).loss(batch())
    assert torch.isfinite(loss)


def test_a_teacher_without_attention_is_refused_at_once():
    with pytest.raises(CannotLift, match="vision transformer"):
        I2PMAE(student(), open_teacher("timm:test_resnet"), view_size=32)
    with pytest.raises(ShapeError, match="two levels or more"):
        I2PMAE(student(1), open_teacher("timm:test_vit"))


def test_salient_patches_are_the_visible_ones_at_a_low_temperature(teacher):
    method = I2PMAE(student(), teacher, masked=0.5, saliency_temperature=1e-6, view_size=32)
    points = batch().points
    levels = method.model.encoder.cut(points)
    saliency = torch.rand(2, 32)
    visible = method.draw(saliency, levels)[-1]
    coarse = saliency.gather(1, levels[1].chosen.gather(1, levels[2].chosen))
    assert coarse[visible].view(2, -1).amin() > 0
    for cloud in range(2):
        assert coarse[cloud][visible[cloud]].min() >= coarse[cloud][~visible[cloud]].max()


def test_features_of_a_point_are_the_maps_where_it_falls(teacher):
    """Enlarging the maps to the picture and reading the pixel, as the authors do, gives the same up to half a pixel."""
    channels = teacher.frozen.network.num_features
    method = I2PMAE(student(), teacher, view_size=64)
    points = batch().points
    index = torch.arange(80).expand(2, -1)
    seen = method.look(points, index)
    assert seen.features.shape == (2, 80, 3 * channels)
    view = axis_view(points, 0, 64)
    maps = look(teacher, picture(view)).maps
    large = torch.nn.functional.interpolate(maps, (512, 512), mode="bicubic", align_corners=False)
    at = ((view.places + 1) / 2 * 512).floor().long()
    expected = torch.stack([large[b, :, at[b, :, 1], at[b, :, 0]].T for b in range(2)])
    torch.testing.assert_close(seen.features[..., :channels], expected, atol=0.02, rtol=0.02)


def test_masked_pixels_and_points_never_reach_the_joint_encoder():
    method = JointMAE(student(2), masked=0.5, view_size=64)
    points = batch().points
    levels = method.model.encoder.cut(points)
    shot = method.draw(points)
    seen = at_random(levels[-1].centres, 0.5), at_random(shot.pixels, 0.5)
    tokens = method.encode(points, levels, shot, *seen)
    painted = shot._replace(pixels=torch.where(seen[1][..., None], shot.pixels, torch.rand_like(shot.pixels)))
    shown = torch.zeros(2, 80, dtype=torch.bool)
    finest = seen_below(levels, seen[0])[0]
    for cloud in range(2):
        shown[cloud, levels[0].members[cloud][finest[cloud]].flatten()] = True
    moved = torch.where(shown[..., None], points, points + 10)
    for one, other in zip(tokens, method.encode(moved, levels, painted, *seen), strict=True):
        torch.testing.assert_close(one, other)


def test_points_and_pixels_listen_to_each_other_only_nearby():
    method = JointMAE(student(2), radius=0.3, view_size=64)
    places = torch.arange(16).expand(1, -1)
    rotation = torch.eye(3)[None]
    barred = method.far_apart(torch.tensor([[[0.0, 0.0, 0.0], [-0.7, -0.7, 0.0]]]), places, rotation)
    heads = method.model.encoder.heads
    assert barred.shape == (heads, 18, 18)
    assert torch.equal(barred[0], barred[0].T)
    assert not barred[0, :2, :2].any()
    assert not barred[0, 2:, 2:].any()
    middle = {2 + 5, 2 + 6, 2 + 9, 2 + 10}  # of 4 x 4 patches, the four around the middle lie 0.35 away
    assert barred[0, 0, 2:].all()
    method.radius = 0.36
    near = set((~method.far_apart(torch.zeros(1, 1, 3), places, rotation)[0, 0, 1:]).nonzero().flatten().tolist())
    assert {n + 2 for n in near} == middle


def test_points_where_they_are_agree_with_their_picture():
    """The cross-reconstruction of the truth is what drawing loses; of a cloud turned inside out it is more."""
    method = JointMAE(student(2), view_size=128)
    points = batch().points
    shot = method.draw(points)
    seen = points[:, :, :]
    assert method.cross(seen, points, shot) < method.cross(-seen, points, shot)


def test_a_contrast_knows_which_cloud_is_which(teacher):
    method = CrossPoint(student(), teacher, teacher.frozen.network.num_features)
    one = torch.eye(4)
    assert method.contrast(one, one) < 0.01 < method.contrast(one, one.flip(0))
    with pytest.raises(ShapeError, match="batch_size"):
        method.loss(batch(1))


@pytest.mark.parametrize("levels", [1, 3])
def test_patches_far_from_all_that_is_seen_are_out_of_sight(levels):
    torch.manual_seed(0)
    points = torch.randn(2, 64, 3)
    points[:, :32, 0] += 1000
    cut = cut_hierarchy(points, (16, 8, 4)[:levels], (4, 2, 2)[:levels])
    visible = seen_below(cut, cut[-1].centres[..., 0] > 500)
    assert in_sight(64, cut, min(1, levels - 1), visible) == 0


def test_hidden_patches_of_all_points_are_in_sight_whole():
    points = torch.randn(2, 64, 3, generator=torch.Generator().manual_seed(0))
    cut = cut_hierarchy(points, (4,), (64,))
    assert in_sight(64, cut, 0, [torch.tensor([[True, False, False, False]] * 2)]) == 1


def test_what_is_in_sight_of_finer_tokens_is_counted_one_by_one():
    torch.manual_seed(0)
    cut = cut_hierarchy(torch.randn(2, 64, 3), (16, 8, 4), (4, 4, 2))
    visible = seen_below(cut, at_random(cut[-1].centres, 0.5))
    held = [
        bool(visible[0][cloud, token])
        for cloud in range(2)
        for patch in range(8)
        for token in cut[1].members[cloud, patch]
        if not visible[1][cloud, patch]
    ]
    assert 0 < sum(held) < len(held)
    assert in_sight(64, cut, 1, visible).item() == pytest.approx(sum(held) / len(held))


def test_a_record_says_how_much_of_the_hidden_stood_in_sight():
    method = PointMAE(student(), masked=0.8, blocks=1)
    assert method.report() == {}
    method.loss(batch())
    assert 0 < method.report()["hidden_in_sight"] < 1
