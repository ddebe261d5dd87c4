"""Networks of torchvision; with the weights of timm they lift to the same function (law 6)."""

import re

import pytest
import torch
from safetensors.torch import save_file

import dimlift
from dimlift import DepthPlan
from dimlift.backbones import create_backbone
from dimlift.errors import PlanError, ShapeError, UnknownNameError, WeightsError
from lifting.families import run_network, scramble

NAMES = {
    "resnet18": [],  # timm kept torchvision's
    "vit_b_16": [
        (r"class_token", "cls_token"),
        (r"encoder\.pos_embedding", "pos_embed"),
        (r"conv_proj\.", "patch_embed.proj."),
        (r"encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
        (r"ln_(\d)\.", r"norm\1."),
        (r"self_attention\.in_proj_", "attn.qkv."),
        (r"self_attention\.out_proj\.", "attn.proj."),
        (r"mlp\.0\.", "mlp.fc1."),
        (r"mlp\.3\.", "mlp.fc2."),
        (r"encoder\.ln\.", "norm."),
        (r"heads\.head\.", "head."),
    ],
}


def twins(name):
    if name == "vit_b_16":
        from torchvision.models import VisionTransformer

        torchvision = VisionTransformer(32, 16, num_layers=2, num_heads=12, hidden_dim=768, mlp_dim=3072)
        timm, _ = create_backbone("timm:vit_base_patch16_224", img_size=32, depth=2)
    else:
        torchvision, _ = create_backbone(f"torchvision:{name}")
        timm, _ = create_backbone(f"timm:{name}")
    state = scramble(torchvision).state_dict()
    for pattern, new in NAMES[name]:
        state = {re.sub(pattern, new, key): tensor for key, tensor in state.items()}
    timm.load_state_dict(state)
    return torchvision.double().eval(), timm.double().eval()


@pytest.mark.parametrize("plan", [DepthPlan(kernel=3, inflation="average"), DepthPlan(kernel=2, factorised=True)])
@pytest.mark.parametrize("name", NAMES)
def test_torchvision_and_timm_lift_to_the_same_function(name, plan):
    one, other = (dimlift.lift(network, plan, in_chans=1) for network in twins(name))
    volume = torch.randn(1, 1, 4, 32, 32, dtype=torch.float64)
    a, b = run_network(one, volume)[0], run_network(other, volume)[0]
    assert a.abs().max() > 1e-3
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * float(a.abs().max()))
    sums = [sorted(float(t.double().sum()) for t in dimlift.flatten(lifted).values()) for lifted in (one, other)]
    assert sums[0] == pytest.approx(sums[1])


def test_torchvision_and_timm_lift_to_the_same_maps():
    torchvision, _ = create_backbone("torchvision:resnet18", features_only=True)
    timm, _ = create_backbone("timm:resnet18", features_only=True)
    scramble(torchvision)
    timm.load_state_dict(torchvision.state_dict())
    plan = DepthPlan(kernel=3, inflation="gaussian", depth_pool=(1, 2, 1, 2))
    one, other = dimlift.lift(torchvision, plan), dimlift.lift(timm, plan)
    volume = torch.randn(1, 3, 5, 64, 64)
    for a, b in zip(run_network(one.eval(), volume), run_network(other.eval(), volume), strict=True):
        torch.testing.assert_close(a, b)
    assert one.channels == other.channels
    assert one.strides == other.strides


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "swin_t", "regnet_y_400mf"])
def test_maps_of_other_networks_hold_the_laws(name):
    lifted = dimlift.lift(f"torchvision:{name}", features_only=True, in_chans=1, num_stages=3)
    assert lifted.certificate.holds
    assert len(lifted.channels) == 3
    maps = lifted(torch.randn(1, 1, 2, 64, 64))
    assert [m.shape[1] for m in maps] == list(lifted.channels)
    assert [round(64 / m.shape[-1]) for m in maps] == [stride[-1] for stride in lifted.strides]
    assert lifted.source == f"torchvision:{name}"


def test_create_torchvision_rejects_unknown_names_and_sizes(tmp_path, monkeypatch):
    with pytest.raises(UnknownNameError, match="resnet18"):
        dimlift.lift("torchvision:resnet_18")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError, match="download=True"):
        dimlift.lift("torchvision:resnet18", pretrained=True)
    with pytest.raises(PlanError, match="is not a sequence of modules"):
        dimlift.lift("torchvision:vit_b_16", features_only=True, image_size=32, num_classes=2)
    with pytest.raises(PlanError, match="square images, got 32 x 48"):
        dimlift.lift("torchvision:vit_b_16", image_size=(32, 48))


def test_network_bound_to_its_size_states_it():
    lifted = dimlift.lift("torchvision:vit_b_32", image_size=64, num_classes=2, certify=False)
    with pytest.raises(ShapeError, match="reads slices of 64 x 64"):
        lifted(torch.zeros(1, 3, 2, 32, 32))


def test_features_only_loads_file_of_full_network(tmp_path):
    full, _ = create_backbone("torchvision:squeezenet1_1")
    save_file(full.state_dict(), tmp_path / "full.safetensors")
    part, _ = create_backbone("torchvision:squeezenet1_1", features_only=True, weights=tmp_path / "full.safetensors")
    for key, tensor in part.state_dict().items():
        assert torch.equal(tensor, full.state_dict()[key])
