"""Asked about pictures, a lifted network is its 2D teacher at the start, and stays near it if it is reminded."""

import copy

import pytest
import torch

from dimlift.backbones.open_network import open_network
from dimlift.batch import ImageBatch, PairedBatch, VolumeBatch
from dimlift.errors import CannotLift, RunError
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.lift import lift
from dimlift.methods.image_replay.image_branch import PicturePath
from dimlift.methods.image_replay.method import Retrospect
from dimlift.methods.teachers.teacher import open_teacher, wrap_teacher
from dimlift.models.classifier import Classifier
from dimlift.models.voxel_transformer import VoxelTransformer
from dimlift.tokenizers.voxels import CubeTokens

NETWORK = "packaged:efficientnet_lite0"
TRANSFORMER = {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 4, "num_classes": 9}


def pictures(count, size=48, seed=0):
    """Smooth colours: no two pictures alike, so that answers differ."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


def volumes(step=0):
    generator = torch.Generator().manual_seed(step)
    return VolumeBatch(torch.randn(2, 1, 4, 32, 32, generator=generator), torch.tensor([0, 1]), ("a", "b"))


def paired(step=0):
    return PairedBatch(volumes(step), ImageBatch(pictures(8, seed=step + 100), None, ("x",) * 8))


def student(plan=DepthPlan(), in_channels=1, **options):  # noqa: B008
    return lift(NETWORK, plan, in_channels=in_channels, features_only=True, certify=False, **options)


@pytest.fixture(scope="module")
def teacher():
    return open_teacher(NETWORK)


@pytest.fixture(scope="module")
def transformer():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return open_network("timm:vit_tiny_patch16_224", **TRANSFORMER)[0].eval()


@pytest.mark.parametrize(
    "plan",
    [DepthPlan(), DepthPlan(profile="average"), DepthPlan(profile="gaussian", factorised=True), DepthPlan(kernel=1)],
    ids=["centre", "average", "factorised", "slices"],
)
@pytest.mark.parametrize("in_channels", [1, 3, 4])
def test_at_the_start_the_2d_path_is_the_teacher(teacher, plan, in_channels):
    path, shown = PicturePath(teacher, student(plan, in_channels)), pictures(4)
    torch.testing.assert_close(path.logits(shown), teacher.logits(shown), rtol=1e-3, atol=1e-3)
    assert path.agreement(shown) == 1.0


def test_so_it_is_for_a_transformer_on_voxel_tokens(transformer):
    student = VoxelTransformer(CubeTokens(24, (2, 8, 8), 1), transformer, 2)
    path = PicturePath(wrap_teacher(copy.deepcopy(transformer)), student.encoder)
    assert path.agreement(pictures(16, 32)) == 1.0
    assert sum("blocks.1." in name for name in path.shared) == 12
    assert not any("patch_embed" in name or "head" in name or "pos_embed" in name for name in path.shared)


def test_another_number_of_heads_is_another_network(transformer):
    with torch.random.fork_rng():
        other, _ = open_network("timm:vit_tiny_patch16_224", **{**TRANSFORMER, "num_heads": 2})
    other.load_state_dict(transformer.state_dict())  # as the published program does: the shapes are the same
    with pytest.raises(CannotLift, match="4 attention heads"):
        PicturePath(wrap_teacher(copy.deepcopy(transformer)), other)


def test_a_student_of_another_network_is_refused(teacher, transformer):
    with pytest.raises(CannotLift, match="no weight in common"):
        PicturePath(wrap_teacher(copy.deepcopy(transformer)), student())


@pytest.mark.parametrize("in_channels", [1, 3])
def test_gradients_reach_the_students_body_and_nothing_else(teacher, in_channels):
    encoder = student(in_channels=in_channels)  # of three channels, a first layer has the shape of the teacher's
    PicturePath(teacher, encoder).logits(pictures(2)).sum().backward()
    reached = {name for name, p in encoder.network.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert any(name.startswith("blocks.") for name in reached)
    assert not any(name.startswith("conv_stem") for name in reached)  # what reads pictures is the teacher's
    assert not any(p.requires_grad or p.grad is not None for p in teacher.frozen.network.parameters())


def test_the_teacher_is_in_no_optimiser_and_no_checkpoint(teacher):
    plain = Retrospect(Classifier(student(), 2), "classification")
    before = set(plain.state_dict())
    parameters = {id(p) for group in plain.parameter_groups(1.0) for p in group["params"]}
    plain.remember(teacher, pictures(2))
    assert set(plain.state_dict()) == before
    assert {id(p) for group in plain.parameter_groups(1.0) for p in group["params"]} == parameters
    assert not parameters & {id(p) for p in teacher.frozen.network.parameters()}


def test_pictures_move_no_norm_statistics_of_volumes(teacher):
    method = Retrospect(Classifier(student(), 2), "classification").train()
    method.remember(teacher)
    statistics = {name: value.clone() for name, value in method.state_dict().items() if "running" in name}
    method.path.logits(pictures(4))
    assert all(torch.equal(method.state_dict()[name], value) for name, value in statistics.items())
    assert not teacher.frozen.network.training


def trained(teacher, retention, steps=20):
    torch.manual_seed(0)
    method = Retrospect(Classifier(student(), 2), "classification", retention=retention).train()
    method.remember(teacher, pictures(64, seed=7))
    optimiser = torch.optim.SGD(method.parameters(), 1e-2)
    for step in range(steps):
        optimiser.zero_grad()
        method.loss(paired(step) if retention else volumes(step)).backward()
        optimiser.step()
    return method.report()


def test_reminded_it_forgets_less(teacher):
    forgetful, reminded = trained(teacher, 0.0), trained(teacher, 0.3)
    assert forgetful["memory_at_start"] == reminded["memory_at_start"] == 1.0
    assert forgetful["memory_kept"] < 0.2
    assert reminded["memory_kept"] > forgetful["memory_kept"] + 0.1


def test_the_loss_is_the_tasks_plus_retention_times_the_distance(teacher):
    encoder = student()
    with torch.no_grad():  # a student that has learnt something
        for p in encoder.parameters():
            p.mul_(1.05)
    losses = {}
    for retention in (0.0, 1.0, 2.0):
        torch.manual_seed(0)
        method = Retrospect(Classifier(encoder, 2, dropout=0.0), "classification", retention=retention, hard=True)
        method.eval().remember(teacher)
        losses[retention] = method.loss(paired())
    recalled = torch.nn.functional.cross_entropy(
        PicturePath(teacher, encoder).logits(paired().pictures.image),
        teacher.logits(paired().pictures.image).argmax(1),
    )
    torch.testing.assert_close(losses[1.0] - losses[0.0], recalled, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(losses[2.0] - losses[0.0], 2 * recalled, rtol=1e-4, atol=1e-4)


def test_pictures_without_a_teacher_are_refused():
    with pytest.raises(RunError, match="remember"):
        Retrospect(Classifier(student(), 2), "classification").loss(paired())


def test_volumes_alone_are_plain_supervision(teacher):
    method = Retrospect(Classifier(student(), 2), "classification").eval()
    method.remember(teacher)
    from dimlift.losses.volume import classification_loss

    batch = volumes()
    torch.testing.assert_close(method.loss(batch), classification_loss(method(batch.image), batch.label))
