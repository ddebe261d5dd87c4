"""What is hidden is hidden: a hidden slice reaches the target and nothing else, and the target carries no gradient."""

import pytest
import torch
from torch import nn

from dimlift.batch import IGNORE, VolumeBatch
from dimlift.config.method_config import Task
from dimlift.errors import ConfigError
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.lift import lift
from dimlift.methods.medical_transformer.config import MedicalTransformerArm
from dimlift.methods.medical_transformer.method import MaskedSlices, hidden_slices
from dimlift.models.medical_transformer import PlaneClassifier, PlaneTransformer
from dimlift.records.weights import write_weights
from dimlift.training.initialise import start_from

SIZE = (6, 34, 33)


def _student(dropout=0.0):
    torch.manual_seed(0)
    slices = lift("timm:test_resnet", DepthPlan(kernel=1), in_channels=1, features_only=True, certify=False)
    encoder = PlaneTransformer(slices, width=16, layers=1, heads=2, places=8, dropout=dropout)
    return PlaneClassifier(encoder, 3, dropout=dropout)


def _batch():
    image = torch.randn(2, 1, *SIZE, generator=torch.Generator().manual_seed(1))
    return VolumeBatch(image, torch.full((2, *SIZE), IGNORE), ("a", "b"))


def test_a_slice_has_a_vector_of_its_own_in_each_plane():
    method = MaskedSlices(_student()).train()
    image = _batch().image
    changed = image.clone()
    changed[:, :, 2] += 5
    with torch.no_grad():
        before, after = method.encoder.vectors(image), method.encoder.vectors(changed)
    assert [v.shape[1] for v in before] == list(SIZE)
    moved = (before[0] - after[0]).abs().amax((0, 2)) > 1e-6
    assert moved.tolist() == [False, False, True, False, False, False]  # also in training: norms are at rest
    assert ((before[1] - after[1]).abs().amax((0, 2)) > 1e-6).all()  # slices across height cross it


def test_a_hidden_slice_changes_nothing_but_the_target():
    method = MaskedSlices(_student()).train()
    vectors = [v.detach() for v in method.encoder.vectors(_batch().image)]
    masks = [torch.arange(n).expand(2, -1) % 5 == 2 for n in SIZE]
    changed = [torch.where(mask[:, :, None], v + 7, v) for v, mask in zip(vectors, masks, strict=True)]
    with torch.no_grad():
        here, there = method.encoder.context(vectors, masks), method.encoder.context(changed, masks)
        seen = method.encoder.context(changed)
    for one, other, third in zip((*here[0], *here[1]), (*there[0], *there[1]), (*seen[0], *seen[1]), strict=True):
        assert torch.equal(one, other)
        assert not torch.equal(one, third)


def test_the_target_carries_no_gradient():
    """The vectors of hidden slices get none: as input they are replaced, as target they are detached."""
    method = MaskedSlices(_student(), ratio=0.4)
    vectors, kept = method.encoder.vectors, []

    def remembered(image):
        found = vectors(image)
        for each in found:
            each.retain_grad()
        kept.extend(found)
        return found

    method.encoder.vectors = remembered
    torch.manual_seed(5)
    method.loss(_batch()).backward()
    torch.manual_seed(5)
    for vector in kept:
        mask = hidden_slices(2, vector.shape[1], 0.4, vector.device)
        assert (vector.grad[mask] == 0).all()
        assert (vector.grad[~mask] != 0).any(-1).all()


@pytest.mark.parametrize("target", ["own", "frozen"])
def test_it_learns_to_foresee(target):
    method = MaskedSlices(_student(), target=target).train()
    before = {name: value.clone() for name, value in method.model.encoder.slices.state_dict().items()}
    groups = method.parameter_groups(3e-3)
    owned = [id(p) for group in groups for p in group["params"]]
    assert len(owned) == len(set(owned))
    optimiser, losses = torch.optim.AdamW(groups), []
    for step in range(25):
        torch.manual_seed(step)
        optimiser.zero_grad()
        loss = method.loss(_batch())
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    same = all(torch.equal(before[n], v) for n, v in method.model.encoder.slices.state_dict().items())
    assert same == (target == "frozen")
    assert not any(name.startswith("encoder") for name in method.state_dict())  # once only, below the model


def test_as_many_are_hidden_as_asked_and_never_all():
    torch.manual_seed(0)
    assert (hidden_slices(3, 20, 0.15, torch.device("cpu")).sum(1) == 3).all()
    assert (hidden_slices(3, 2, 0.9, torch.device("cpu")).sum(1) == 1).all()
    assert (hidden_slices(3, 30, 0.001, torch.device("cpu")).sum(1) == 1).all()
    drawn = hidden_slices(500, 10, 0.3, torch.device("cpu")).float().mean(0)
    assert (drawn - 0.3).abs().max() < 0.1


def test_maps_start_as_the_2d_networks_and_learn_of_all_planes():
    encoder = _student().encoder.eval()
    image = _batch().image
    with torch.no_grad():
        plain, known = encoder.slices(image), encoder(image)
    assert all(torch.equal(one, other) for one, other in zip(plain, known, strict=True))
    for linear in encoder.hand_over:
        nn.init.normal_(linear.weight)
    with torch.no_grad():
        assert not torch.equal(encoder(image)[-1], plain[-1])
        other = image.clone()
        other[:, :, :, 33] += 20  # one row, across which a plane lies
        difference = (encoder(other)[-1] - encoder(image)[-1]).abs().amax((0, 1))
    assert (difference > 0).all()


@pytest.mark.parametrize("kind", ["segmentation", "classification", "regression"])
def test_every_task_starts_from_the_same_pretraining(kind, tmp_path):
    arm = MedicalTransformerArm(
        network="timm:test_resnet", pretrained=False, layer_width=16, layers=1, heads=2, width=8
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        student = arm.build(Task("classification", 1, 2, None, SIZE), fresh=False).model
    write_weights(tmp_path, student.state_dict(), {"task": "pretraining"})
    method = arm.build(Task(kind, 1, 1 if kind == "regression" else 3, None, SIZE), fresh=False)
    assert "start from" in start_from(method, tmp_path)
    key = "encoder.transformer.layers.0.linear1.weight"
    assert torch.equal(method.model.state_dict()[key], student.state_dict()[key])
    answer = method(torch.randn(1, 1, *SIZE))
    assert answer.shape == ((1, 3, *SIZE) if kind == "segmentation" else (1, 1 if kind == "regression" else 3))
    answer.square().mean().backward()
    unused = [name for name, p in method.model.named_parameters() if p.grad is None]
    assert all("learnt.hidden" in name or "hand_over" in name for name in unused)
    assert ("encoder.hand_over.0.weight" in unused) == (kind != "segmentation")


def test_other_students_and_planes_are_refused():
    with pytest.raises(ConfigError, match=r"student\.method"):
        MaskedSlices(nn.Linear(2, 2))
    for wrong, named in ({"heads": 3}, "heads"), ({"planes": ("height",)}, "planes"):
        with pytest.raises(ValueError, match=named):
            MedicalTransformerArm(**wrong)
