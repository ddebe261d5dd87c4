"""TubeViT."""

import pytest
import torch

from dimlift.backbones.factory import create_backbone
from dimlift.batch import ImageBatch, PairedBatch, VolumeBatch
from dimlift.errors import ConfigError, LiftError, RunError
from dimlift.methods.tubevit.method import TubeViT, normalise_images
from dimlift.models.tube_transformer import TubeTransformer
from dimlift.tokenizers.tubes import Tube, TubeTokenizer

TUBES = (Tube((4, 4, 4), (6, 8, 8), (1, 2, 3)), Tube((1, 8, 8), (4, 8, 8)))


def _model(channels=1, name="timm:test_vit", **options):
    torch.manual_seed(0)
    network = create_backbone(name, image_size=64)[0]
    return TubeTransformer(TubeTokenizer(network.embed_dim, TUBES, channels), network, 3, **options)


VOLUME = torch.randn(2, 1, 8, 16, 20, generator=torch.Generator().manual_seed(1))


def test_tube_transformer_features_match_timm():
    """Equal tokens yield the output of timm's own forward, including the class token and its position."""
    model = _model().eval()
    network = create_backbone("timm:test_vit", image_size=64)[0].eval()
    network.load_state_dict({**network.state_dict(), **{k: v for k, v in model.encoder.state_dict().items()}})
    network.cls_token.data -= network.pos_embed[:, :1].data
    patches = torch.randn(2, 16, 64)
    network.patch_embed = torch.nn.Identity()
    network.patch_embed.grid_size = (4, 4)
    with torch.no_grad():
        expected = network.forward_features(patches.unflatten(1, (4, 4)))
        model.tokenizer = None
        from dimlift.tokenizers.positions import sinusoidal_embedding
        from dimlift.tokenizers.tubes import TubeTokens

        centres = torch.rand(16, 3) * 30
        values = patches + network.pos_embed[:, 1:] - sinusoidal_embedding(centres, 64)
        features = model.features(TubeTokens(values, centres))
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    assert model.heads == network.blocks[0].attn.num_heads


def test_tube_transformer_gate_is_zero_initialised_and_freezes_earlier_blocks():
    plain, gated = _model().eval(), _model(gate_from_block=1).eval()
    gated.load_state_dict(plain.state_dict(), strict=False)
    with torch.no_grad():
        assert torch.equal(plain(VOLUME), gated(VOLUME))
    gated.train()
    gated(VOLUME).square().sum().backward()
    assert gated.alpha.grad.abs() > 0
    trained = {name for name, p in gated.named_parameters() if p.grad is not None}
    assert not any(name.startswith(("tokenizer.", "encoder.blocks.0.")) for name in trained)
    assert any(name.startswith("encoder.blocks.1.") for name in trained)
    assert not gated.encoder.blocks[0].training
    with torch.no_grad():
        gated.alpha.fill_(0.5)
        assert (plain(VOLUME) - gated.eval()(VOLUME)).abs().max() > 1e-4
    with pytest.raises(ConfigError, match="gate_from_block is 99"):
        _model(gate_from_block=99)


@pytest.mark.parametrize("name", ["timm:test_vit", "timm:test_vit2", "timm:test_vit3"])
@pytest.mark.parametrize("pool", ["network", "attention"])
def test_tube_transformer_trains_all_parameters(name, pool):
    model = _model(name=name, pool=pool, gradient_checkpointing=pool == "attention").train()
    logits = model(VOLUME)
    assert logits.shape == (2, 3)
    logits.square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_tubevit_loss_adds_images_with_their_own_head():
    model = _model(num_image_classes=5)
    method = TubeViT(model, "classification", image_loss_weight=0.5)
    volumes = VolumeBatch(VOLUME, torch.tensor([0, 2]), ("a", "b"))
    images = ImageBatch(torch.rand(4, 3, 16, 24), torch.tensor([0, 4, 2, 1]), ("c",) * 4)
    alone, both = method.loss(volumes), method.loss(PairedBatch(volumes, images))
    logits = model.forward_images(normalise_images(images.image, 1))
    torch.testing.assert_close(both, alone + 0.5 * torch.nn.functional.cross_entropy(logits, images.label))
    (0.5 * torch.nn.functional.cross_entropy(logits, images.label)).backward()
    assert model.image_head.weight.grad is not None
    assert model.head.weight.grad is None
    assert model.tokenizer.kernels[0].grad is None  # tubes of several slices are for volumes
    assert model.tokenizer.kernels[1].grad is not None
    with pytest.raises(RunError, match="one folder per class"):
        method.loss(PairedBatch(volumes, images._replace(label=None)))
    with pytest.raises(ConfigError, match="num_image_classes"):
        _model().forward_images(torch.rand(1, 1, 16, 16))


def test_normalise_images_matches_the_channels_of_the_volumes():
    images = torch.rand(1, 3, 4, 4)
    assert normalise_images(images, 3).std(1).max() > 0.1
    grey = normalise_images(images, 2)
    assert torch.equal(grey[:, 0], grey[:, 1])


def test_tube_transformer_rejects_tokens_of_another_width():
    with pytest.raises(LiftError, match="tokens of width 64, the tokenizer of width 12"):
        TubeTransformer(TubeTokenizer(12, TUBES), create_backbone("timm:test_vit")[0], 3)
