"""Law 6 for Hugging Face transformers: a live network of theirs lifts to the function timm's twin lifts to."""

import pytest
import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.lifting.sources import open_network
from dimlift.lifting.sources.torchvision_operators import ensure_torchvision_imports
from lifting.families import answers, scramble

WIDTH, LAYERS, SIDE, PATCH = 48, 2, 64, 16
NAMES = (  # theirs, timm's
    ("vit.embeddings.position_embeddings", "pos_embed"),
    ("vit.embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("vit.embeddings.", ""),
    ("vit.layers.", "blocks."),
    ("vit.layernorm.", "norm."),
    ("layernorm_before.", "norm1."),
    ("layernorm_after.", "norm2."),
    ("attention.o_proj.", "attn.proj."),
    ("classifier.", "head."),
)


class Logits(nn.Module):
    """Hands out the logits alone; a lift wants tensors, not a record of them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.network(images).logits


def in_timm_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    renamed = {}
    for key, tensor in state.items():
        for old, new in NAMES:
            key = key.replace(old, new)
        renamed[key] = tensor
    for layer in range(LAYERS):
        for kind in ("weight", "bias"):
            parts = [renamed.pop(f"blocks.{layer}.attention.{part}_proj.{kind}") for part in "qkv"]
            renamed[f"blocks.{layer}.attn.qkv.{kind}"] = torch.cat(parts)
    return renamed


@pytest.fixture(scope="module")
def twins() -> tuple[nn.Module, nn.Module]:
    ensure_torchvision_imports()
    transformers = pytest.importorskip("transformers", reason="the package transformers is not installed")
    settings = transformers.ViTConfig(
        hidden_size=WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=3,
        intermediate_size=2 * WIDTH,
        image_size=SIDE,
        patch_size=PATCH,
        num_labels=5,
        layer_norm_eps=1e-6,
    )
    theirs = scramble(transformers.ViTForImageClassification(settings))
    shape = {"embed_dim": WIDTH, "depth": LAYERS, "num_heads": 3, "mlp_ratio": 2, "num_classes": 5}
    timm, _ = open_network("timm:vit_tiny_patch16_224", img_size=SIDE, **shape)
    timm.load_state_dict(in_timm_names(theirs.state_dict()))
    return Logits(theirs).double().eval(), timm.double().eval()


@pytest.mark.parametrize(
    "plan", [DepthPlan(kernel=3, profile="average"), DepthPlan(attention="joint"), DepthPlan(kernel=2, factorised=True)]
)
def test_sources_agree(twins, plan):
    volume = torch.randn(1, 3, 4, SIDE, SIDE, dtype=torch.float64)
    a, b = (answers(dimlift.lift(network, plan), volume)[0] for network in twins)
    assert a.abs().max() > 1e-3
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(a.abs().max()))
