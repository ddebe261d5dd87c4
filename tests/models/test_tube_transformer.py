"""A gate starts closed, frozen blocks stay, pictures have a head of their own, and any ViT gives its blocks."""

import pytest
import torch

from dimlift.backbones.open_network import open_network
from dimlift.batch import ImageBatch, PairedBatch, VolumeBatch
from dimlift.errors import CannotLift, ConfigError, RunError
from dimlift.methods.tubevit.method import TubeViT, shown_as_slices
from dimlift.models.tube_transformer import TubeTransformer
from dimlift.tokenizers.tubes import Tube, TubeTokens

TUBES = (Tube((4, 4, 4), (6, 8, 8), (1, 2, 3)), Tube((1, 8, 8), (4, 8, 8)))


def _model(channels=1, name="timm:test_vit", **options):
    torch.manual_seed(0)
    network = open_network(name, image_size=64)[0]
    return TubeTransformer(TubeTokens(network.embed_dim, TUBES, channels), network, 3, **options)


VOLUME = torch.randn(2, 1, 8, 16, 20, generator=torch.Generator().manual_seed(1))


def test_the_blocks_are_the_networks_own():
    """On the same tokens it computes what timm's own forward computes, class token and its position included."""
    model = _model().eval()
    network = open_network("timm:test_vit", image_size=64)[0].eval()
    network.load_state_dict({**network.state_dict(), **{k: v for k, v in model.encoder.state_dict().items()}})
    network.cls_token.data -= network.pos_embed[:, :1].data
    patches = torch.randn(2, 16, 64)
    network.patch_embed = torch.nn.Identity()
    network.patch_embed.grid_size = (4, 4)
    with torch.no_grad():
        wanted = network.forward_features(patches.unflatten(1, (4, 4)))
        model.tokenizer = None
        from dimlift.tokenizers.positions import sinusoids
        from dimlift.tokenizers.tubes import Tubes

        centres = torch.rand(16, 3) * 30
        values = patches + network.pos_embed[:, 1:] - sinusoids(centres, 64)
        found = model.features(Tubes(values, centres))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    assert model.heads == network.blocks[0].attn.num_heads


def test_the_gate_starts_closed_and_what_lies_before_it_stays():
    plain, gated = _model().eval(), _model(gate_after=1).eval()
    gated.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        assert torch.equal(plain(VOLUME), gated(VOLUME))
    gated.train()
    gated(VOLUME).square().sum().backward()
    assert gated.alpha.grad.abs() > 0
    learning = {name for name, p in gated.named_parameters() if p.grad is not None}
    assert not any(name.startswith(("tokenizer.", "encoder.blocks.0.")) for name in learning)
    assert any(name.startswith("encoder.blocks.1.") for name in learning)
    assert not gated.encoder.blocks[0].training
    with torch.no_grad():
        gated.alpha.fill_(0.5)
        assert (plain(VOLUME) - gated.eval()(VOLUME)).abs().max() > 1e-4
    with pytest.raises(ConfigError, match="gate_after is 99"):
        _model(gate_after=99)


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_vit2", "timm:test_vit3"])
@pytest.mark.parametrize("pool", ["network", "attention"])
def test_every_weight_learns(name, pool):
    model = _model(name=name, pool=pool, gradient_checkpointing=pool == "attention").train()
    answer = model(VOLUME)
    assert answer.shape == (2, 3)
    answer.square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_volumes_and_pictures_learn_together_each_with_its_head():
    model = _model(picture_classes=5)
    method = TubeViT(model, "classification", picture_weight=0.5)
    volumes = VolumeBatch(VOLUME, torch.tensor([0, 2]), ("a", "b"))
    pictures = ImageBatch(torch.rand(4, 3, 16, 24), torch.tensor([0, 4, 2, 1]), ("c",) * 4)
    alone, both = method.loss(volumes), method.loss(PairedBatch(volumes, pictures))
    logits = model.pictures(shown_as_slices(pictures.image, 1))
    torch.testing.assert_close(both, alone + 0.5 * torch.nn.functional.cross_entropy(logits, pictures.label))
    (0.5 * torch.nn.functional.cross_entropy(logits, pictures.label)).backward()
    assert model.picture_head.weight.grad is not None
    assert model.head.weight.grad is None
    assert model.tokenizer.kernels[0].grad is None  # tubes of several slices are for volumes
    assert model.tokenizer.kernels[1].grad is not None
    with pytest.raises(RunError, match="folder for each class"):
        method.loss(PairedBatch(volumes, pictures._replace(label=None)))
    with pytest.raises(ConfigError, match="picture_classes"):
        _model().pictures(torch.rand(1, 1, 16, 16))


def test_pictures_are_shown_in_the_channels_of_the_volumes():
    pictures = torch.rand(1, 3, 4, 4)
    assert shown_as_slices(pictures, 3).std(1).max() > 0.1
    grey = shown_as_slices(pictures, 2)
    assert torch.equal(grey[:, 0], grey[:, 1])


def test_tokens_of_another_width_are_refused():
    with pytest.raises(CannotLift, match="tokens of 64 numbers, the tokenizer's have 12"):
        TubeTransformer(TubeTokens(12, TUBES), open_network("timm:test_vit")[0], 3)
