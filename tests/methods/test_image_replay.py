"""Image replay."""

import copy

import pytest
import torch

from dimlift.backbones.factory import create_backbone
from dimlift.batch import ImageBatch, PairedBatch, VolumeBatch
from dimlift.errors import LiftError, RunError
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.lift import lift
from dimlift.methods.image_replay.image_branch import ImageBranch
from dimlift.methods.image_replay.method import ImageReplayDistillation
from dimlift.methods.teachers.teacher import open_teacher, wrap_teacher
from dimlift.models.classifier import Classifier
from dimlift.models.voxel_transformer import VoxelTransformer
from dimlift.tokenizers.voxels import CubeTokenizer

NETWORK = "packaged:efficientnet_lite0"
TRANSFORMER = {"img_size": 32, "embed_dim": 24, "depth": 2, "num_heads": 4, "num_classes": 9}


def images(count, size=48, seed=0):
    """Smooth colours; all images differ, so that predictions differ."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)


def volumes(step=0):
    generator = torch.Generator().manual_seed(step)
    return VolumeBatch(torch.randn(2, 1, 4, 32, 32, generator=generator), torch.tensor([0, 1]), ("a", "b"))


def paired_batch(step=0):
    return PairedBatch(volumes(step), ImageBatch(images(8, seed=step + 100), None, ("x",) * 8))


def student(plan=DepthPlan(), in_channels=1, **options):  # noqa: B008
    return lift(NETWORK, plan, in_chans=in_channels, features_only=True, certify=False, **options)


@pytest.fixture(scope="module")
def teacher():
    return open_teacher(NETWORK)


@pytest.fixture(scope="module")
def transformer():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return create_backbone("timm:vit_tiny_patch16_224", **TRANSFORMER)[0].eval()


@pytest.mark.parametrize(
    "plan",
    [
        DepthPlan(),
        DepthPlan(inflation="average"),
        DepthPlan(inflation="gaussian", factorised=True),
        DepthPlan(kernel=1),
    ],
    ids=["centre", "average", "factorised", "slices"],
)
@pytest.mark.parametrize("in_channels", [1, 3, 4])
def test_image_branch_matches_the_teacher_before_training(teacher, plan, in_channels):
    branch, batch = ImageBranch(teacher, student(plan, in_channels)), images(4)
    torch.testing.assert_close(branch.logits(batch), teacher.logits(batch), rtol=1e-3, atol=1e-3)
    assert branch.agreement(batch) == 1.0


def test_image_branch_supports_voxel_tokens(transformer):
    student = VoxelTransformer(CubeTokenizer(24, (2, 8, 8), 1), transformer, 2)
    branch = ImageBranch(wrap_teacher(copy.deepcopy(transformer)), student.encoder)
    assert branch.agreement(images(16, 32)) == 1.0
    assert sum("blocks.1." in name for name in branch.shared) == 12
    assert not any("patch_embed" in name or "head" in name or "pos_embed" in name for name in branch.shared)


def test_image_branch_rejects_another_number_of_heads(transformer):
    with torch.random.fork_rng():
        other, _ = create_backbone("timm:vit_tiny_patch16_224", **{**TRANSFORMER, "num_heads": 2})
    other.load_state_dict(transformer.state_dict())  # as in the published code: the shapes are equal
    with pytest.raises(LiftError, match="4 attention heads"):
        ImageBranch(wrap_teacher(copy.deepcopy(transformer)), other)


def test_image_branch_rejects_another_network(teacher, transformer):
    with pytest.raises(LiftError, match="no weight in common"):
        ImageBranch(wrap_teacher(copy.deepcopy(transformer)), student())


@pytest.mark.parametrize("in_channels", [1, 3])
def test_image_branch_gradients_reach_the_body_alone(teacher, in_channels):
    encoder = student(in_channels=in_channels)  # with three channels the first layer has the shape of the teacher's
    ImageBranch(teacher, encoder).logits(images(2)).sum().backward()
    reached = {name for name, p in encoder.network.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert any(name.startswith("blocks.") for name in reached)
    assert not any(name.startswith("conv_stem") for name in reached)  # the stem is the teacher's
    assert not any(p.requires_grad or p.grad is not None for p in teacher.frozen.network.parameters())


def test_image_replay_excludes_the_teacher_from_parameters_and_state(teacher):
    plain = ImageReplayDistillation(Classifier(student(), 2), "classification")
    before = set(plain.state_dict())
    parameters = {id(p) for group in plain.param_groups(1.0) for p in group["params"]}
    plain.set_teacher(teacher, images(2))
    assert set(plain.state_dict()) == before
    assert {id(p) for group in plain.param_groups(1.0) for p in group["params"]} == parameters
    assert not parameters & {id(p) for p in teacher.frozen.network.parameters()}


def test_image_branch_keeps_norm_statistics(teacher):
    method = ImageReplayDistillation(Classifier(student(), 2), "classification").train()
    method.set_teacher(teacher)
    statistics = {name: value.clone() for name, value in method.state_dict().items() if "running" in name}
    method.branch.logits(images(4))
    assert all(torch.equal(method.state_dict()[name], value) for name, value in statistics.items())
    assert not teacher.frozen.network.training


def train_report(teacher, distill_weight, steps=20):
    torch.manual_seed(0)
    method = ImageReplayDistillation(Classifier(student(), 2), "classification", distill_weight=distill_weight).train()
    method.set_teacher(teacher, images(64, seed=7))
    optimizer = torch.optim.SGD(method.parameters(), 1e-2)
    for step in range(steps):
        optimizer.zero_grad()
        method.loss(paired_batch(step) if distill_weight else volumes(step)).backward()
        optimizer.step()
    return method.report()


def test_image_replay_limits_forgetting(teacher):
    plain, distilled = train_report(teacher, 0.0), train_report(teacher, 0.3)
    assert plain["initial_teacher_agreement"] == distilled["initial_teacher_agreement"] == 1.0
    assert plain["teacher_agreement"] < 0.2
    assert distilled["teacher_agreement"] > plain["teacher_agreement"] + 0.1


def test_image_replay_loss_adds_the_weighted_distillation_loss(teacher):
    encoder = student()
    with torch.no_grad():  # a student that differs from its teacher
        for p in encoder.parameters():
            p.mul_(1.05)
    losses = {}
    for distill_weight in (0.0, 1.0, 2.0):
        torch.manual_seed(0)
        method = ImageReplayDistillation(
            Classifier(encoder, 2, dropout=0.0), "classification", distill_weight=distill_weight, hard_labels=True
        )
        method.eval().set_teacher(teacher)
        losses[distill_weight] = method.loss(paired_batch())
    distill_loss = torch.nn.functional.cross_entropy(
        ImageBranch(teacher, encoder).logits(paired_batch().images.image),
        teacher.logits(paired_batch().images.image).argmax(1),
    )
    torch.testing.assert_close(losses[1.0] - losses[0.0], distill_loss, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(losses[2.0] - losses[0.0], 2 * distill_loss, rtol=1e-4, atol=1e-4)


def test_image_replay_rejects_images_without_a_teacher():
    with pytest.raises(RunError, match="set_teacher"):
        ImageReplayDistillation(Classifier(student(), 2), "classification").loss(paired_batch())


def test_image_replay_loss_of_volumes_is_supervised(teacher):
    method = ImageReplayDistillation(Classifier(student(), 2), "classification").eval()
    method.set_teacher(teacher)
    from dimlift.losses.volume import classification_loss

    batch = volumes()
    torch.testing.assert_close(method.loss(batch), classification_loss(method(batch.image), batch.label))
