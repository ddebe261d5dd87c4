"""Medical Transformer."""

import pytest
import torch
from torch import nn

from dimlift.batch import IGNORE, VolumeBatch
from dimlift.config.method_config import TaskSpec
from dimlift.errors import ConfigError
from dimlift.lifting.depth_plan import DepthPlan
from dimlift.lifting.lift import lift
from dimlift.methods.medical_transformer.config import MedicalTransformerConfig
from dimlift.methods.medical_transformer.method import MaskedSlicePrediction, sample_masked_slices
from dimlift.models.medical_transformer import PlaneClassifier, PlaneTransformer
from dimlift.records.weights import write_weights
from dimlift.training.initialise import init_from_weights

SIZE = (6, 34, 33)


def _model(dropout=0.0):
    torch.manual_seed(0)
    slices = lift("timm:test_resnet", DepthPlan(kernel=1), in_chans=1, features_only=True, certify=False)
    encoder = PlaneTransformer(slices, width=16, layers=1, heads=2, num_positions=8, dropout=dropout)
    return PlaneClassifier(encoder, 3, dropout=dropout)


def _batch():
    image = torch.randn(2, 1, *SIZE, generator=torch.Generator().manual_seed(1))
    return VolumeBatch(image, torch.full((2, *SIZE), IGNORE), ("a", "b"))


def test_slice_vectors_depend_on_their_slice_alone():
    method = MaskedSlicePrediction(_model()).train()
    image = _batch().image
    changed = image.clone()
    changed[:, :, 2] += 5
    with torch.no_grad():
        before, after = method.encoder.vectors(image), method.encoder.vectors(changed)
    assert [v.shape[1] for v in before] == list(SIZE)
    moved = (before[0] - after[0]).abs().amax((0, 2)) > 1e-6
    assert moved.tolist() == [False, False, True, False, False, False]  # also in training mode: norms stay in eval mode
    assert ((before[1] - after[1]).abs().amax((0, 2)) > 1e-6).all()  # slices across height cross it


def test_context_ignores_masked_slices():
    method = MaskedSlicePrediction(_model()).train()
    vectors = [v.detach() for v in method.encoder.vectors(_batch().image)]
    masks = [torch.arange(n).expand(2, -1) % 5 == 2 for n in SIZE]
    changed = [torch.where(mask[:, :, None], v + 7, v) for v, mask in zip(vectors, masks, strict=True)]
    with torch.no_grad():
        here, there = method.encoder.context(vectors, masks), method.encoder.context(changed, masks)
        unmasked = method.encoder.context(changed)
    for one, other, third in zip(
        (*here[0], *here[1]), (*there[0], *there[1]), (*unmasked[0], *unmasked[1]), strict=True
    ):
        assert torch.equal(one, other)
        assert not torch.equal(one, third)


def test_masked_slice_vectors_get_no_gradient():
    """As input they are replaced, as target they are detached."""
    method = MaskedSlicePrediction(_model(), mask_ratio=0.4)
    vectors, recorded = method.encoder.vectors, []

    def recording(image):
        outputs = vectors(image)
        for each in outputs:
            each.retain_grad()
        recorded.extend(outputs)
        return outputs

    method.encoder.vectors = recording
    torch.manual_seed(5)
    method.loss(_batch()).backward()
    torch.manual_seed(5)
    for vector in recorded:
        mask = sample_masked_slices(2, vector.shape[1], 0.4, vector.device)
        assert (vector.grad[mask] == 0).all()
        assert (vector.grad[~mask] != 0).any(-1).all()


@pytest.mark.parametrize("target", ["own", "frozen"])
def test_masked_slice_prediction_lowers_the_loss(target):
    method = MaskedSlicePrediction(_model(), target=target).train()
    before = {name: value.clone() for name, value in method.model.encoder.slices.state_dict().items()}
    groups = method.param_groups(3e-3)
    grouped = [id(p) for group in groups for p in group["params"]]
    assert len(grouped) == len(set(grouped))
    optimizer, losses = torch.optim.AdamW(groups), []
    for step in range(25):
        torch.manual_seed(step)
        optimizer.zero_grad()
        loss = method.loss(_batch())
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    same = all(torch.equal(before[n], v) for n, v in method.model.encoder.slices.state_dict().items())
    assert same == (target == "frozen")
    assert not any(name.startswith("encoder") for name in method.state_dict())  # only once, as part of the model


def test_sample_masked_slices_masks_the_ratio():
    torch.manual_seed(0)
    assert (sample_masked_slices(3, 20, 0.15, torch.device("cpu")).sum(1) == 3).all()
    assert (sample_masked_slices(3, 2, 0.9, torch.device("cpu")).sum(1) == 1).all()
    assert (sample_masked_slices(3, 30, 0.001, torch.device("cpu")).sum(1) == 1).all()
    frequencies = sample_masked_slices(500, 10, 0.3, torch.device("cpu")).float().mean(0)
    assert (frequencies - 0.3).abs().max() < 0.1


def test_plane_transformer_maps_are_initially_those_of_the_2d_network():
    encoder = _model().encoder.eval()
    image = _batch().image
    with torch.no_grad():
        plain, maps = encoder.slices(image), encoder(image)
    assert all(torch.equal(one, other) for one, other in zip(plain, maps, strict=True))
    for linear in encoder.to_maps:
        nn.init.normal_(linear.weight)
    with torch.no_grad():
        assert not torch.equal(encoder(image)[-1], plain[-1])
        other = image.clone()
        other[:, :, :, 33] += 20  # one row, which is one slice of a plane
        difference = (encoder(other)[-1] - encoder(image)[-1]).abs().amax((0, 1))
    assert (difference > 0).all()


@pytest.mark.parametrize("kind", ["segmentation", "classification", "regression"])
def test_medical_transformer_init_from_supports_every_task(kind, tmp_path):
    arm = MedicalTransformerConfig(
        network="timm:test_resnet", pretrained=False, layer_width=16, layers=1, heads=2, decoder_channels=8
    )
    with torch.random.fork_rng():
        torch.manual_seed(1)
        pretrained = arm.build(TaskSpec("classification", 1, 2, None, SIZE), load_pretrained=False).model
    write_weights(tmp_path, pretrained.state_dict(), {"task": "pretraining"})
    method = arm.build(TaskSpec(kind, 1, 1 if kind == "regression" else 3, None, SIZE), load_pretrained=False)
    assert "start from" in init_from_weights(method.trainable_network(), tmp_path)
    key = "encoder.transformer.layers.0.linear1.weight"
    assert torch.equal(method.model.state_dict()[key], pretrained.state_dict()[key])
    output = method(torch.randn(1, 1, *SIZE))
    assert output.shape == ((1, 3, *SIZE) if kind == "segmentation" else (1, 1 if kind == "regression" else 3))
    output.square().mean().backward()
    unused = [name for name, p in method.model.named_parameters() if p.grad is None]
    assert all("embeddings.mask" in name or "to_maps" in name for name in unused)
    assert ("encoder.to_maps.0.weight" in unused) == (kind != "segmentation")


def test_medical_transformer_rejects_other_networks_and_invalid_options():
    with pytest.raises(ConfigError, match=r"arm\.method"):
        MaskedSlicePrediction(nn.Linear(2, 2))
    for options, name in ({"heads": 3}, "heads"), ({"planes": ("height",)}, "planes"):
        with pytest.raises(ValueError, match=name):
            MedicalTransformerConfig(**options)
