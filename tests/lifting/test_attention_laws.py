"""The laws "slices" and "constancy" for every type of attention and every extent of it."""

import pytest
import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.backbones.torchvision_ops import ensure_torchvision_imports
from dimlift.errors import LiftError, PlanError
from lifting.families import Family, build, images, run_network, scramble
from lifting.test_laws import error, repeated, volume

TINY_SWIN = {"img_size": 64, "window_size": 4, "depths": (2, 2, 1, 1), "embed_dim": 24, "num_heads": (1, 2, 4, 8)}
PLAIN = [
    Family("vit_tiny_patch16_224", 32, True, {"img_size": 32, "depth": 4, "embed_dim": 48}),
    Family("deit_tiny_distilled_patch16_224", 32, True, {"img_size": 32, "depth": 4, "embed_dim": 48}),
    Family("beit_base_patch16_224", 32, True, {"img_size": 32, "depth": 4, "embed_dim": 48, "num_heads": 3}),
    Family("vit_small_patch14_reg4_dinov2", 28, True, {"img_size": 28, "depth": 4, "embed_dim": 48, "num_heads": 3}),
    Family("vit_small_patch16_dinov3", 32, True, {"img_size": 32, "depth": 4, "embed_dim": 48, "num_heads": 3}),
    Family("eva02_tiny_patch14_224", 28, True, {"img_size": 28, "depth": 4, "embed_dim": 48, "num_heads": 3}),
    Family("cait_xxs24_224", 32, True, {"img_size": 32, "depth": 4, "embed_dim": 48, "num_heads": 3}),
]
OTHERS = [
    Family("swin_tiny_patch4_window7_224", 64, True, TINY_SWIN),
    Family("swinv2_tiny_window8_256", 64, True, TINY_SWIN),
    Family("maxvit_rmlp_pico_rw_256", 64, True, {"img_size": 64}),
    Family("coatnet_nano_rw_224", 64, True, {"img_size": 64}),
    Family("hiera_tiny_224", 64, True, {"img_size": 64, "embed_dim": 24}),
    Family("pvt_v2_b0", 64),
    Family("xcit_nano_12_p16_224", 64, True, {"img_size": 64, "depth": 3, "embed_dim": 32}),
    Family("volo", 64, False),
    Family("levit_128s", 64, False, {"img_size": 64}),
    Family("efficientformerv2_s0", 64, True, {"img_size": 64}),
    Family("gcvit_xxtiny", 64, True, {"img_size": 64}),
    Family("edgenext_xx_small", 64),
    Family("mobilevitv2_050", 64),
    Family("swinv2_cr_tiny_224", 64, True, TINY_SWIN),
    Family("mvitv2_tiny", 64, True, {"img_size": 64}),
    Family("torchvision swin", 64, False),
    Family("torchvision vision transformer", 32, False),
]
WITHIN_SLICES = {"volo": "OutlookAttention"}


@pytest.fixture(scope="module", params=[*PLAIN, *OTHERS], ids=lambda family: family.name)
def case(request):
    network = small(request.param)
    slices = images(request.param, 4, 3, torch.float64)
    return request.param, network, slices, run_network(network, slices)


def small(family: Family) -> nn.Module:
    ensure_torchvision_imports()
    if family.name == "volo":
        from timm.models.volo import VOLO

        shape = {"layers": (1, 1, 2, 1), "embed_dims": (48, 96, 96, 96), "num_heads": (3, 6, 6, 6)}
        where = {"downsamples": (True, False, False, False), "outlook_attention": (True, False, False, False)}
        return scramble(VOLO(img_size=64, num_classes=5, post_layers=("ca",), **shape, **where)).double().eval()
    if family.name == "torchvision swin":
        from torchvision.models import SwinTransformer

        swin = SwinTransformer([4, 4], 24, [2, 2], [1, 2], [4, 4], num_classes=5)
        return scramble(swin).double().eval()
    if family.name == "torchvision vision transformer":
        from torchvision.models import VisionTransformer

        return scramble(VisionTransformer(32, 16, 4, 3, 48, 96, num_classes=5)).double().eval()
    return build(family, torch.float64)


def dependence(lifted, slices):
    """Return the change of the first slice's output when another slice changes, relative to the largest output."""
    changed = slices.clone()
    changed[1] += 1
    before, after = (run_network(lifted, volume(s))[-1] for s in (slices, changed))
    if before.ndim == 5:
        before, after = before[:, :, 0], after[:, :, 0]
    return float((before - after).abs().max() / before.abs().max())


@pytest.mark.parametrize("attention", [3, "volume"])
def test_attention_across_slices_keeps_constancy(case, attention):
    family, network, slices, flat = case
    lifted = dimlift.lift(network, DepthPlan(kernel=1, attention=attention), certify=False)
    assert error([repeated(f) for f in flat], run_network(lifted, volume(repeated(slices)))) < 1e-9
    assert dependence(lifted, slices) > 1e-9
    skipped = {type(lifted.network.get_submodule(name)).__name__ for name in lifted.attention_within_slices}
    assert skipped == ({WITHIN_SLICES[family.name]} if family.name in WITHIN_SLICES else set())


def test_attention_per_slice_keeps_slices(case):
    _, network, slices, flat = case
    lifted = dimlift.lift(network, DepthPlan(kernel=1, attention="per_slice"), certify=False)
    assert error(flat, run_network(lifted, volume(slices))) < 1e-9


def test_planecycle_adds_no_parameter_and_claims_no_law(case):
    family, network, slices, _ = case
    plan = DepthPlan(kernel=1, attention="planecycle")
    if family in PLAIN or family.name == "torchvision vision transformer":
        lifted = dimlift.lift(network, plan)
        assert not lifted.weights_report.new
        assert [type(layer.description) for layer in lifted.certificate.layers] == [str, str]
        constancy = next(claim for claim in lifted.certificate.claims if claim.law == "constancy")
        assert not constancy.claimed
        assert "planes other than the slice" in constancy.reason
        assert constancy.error > 1e-6
        assert dependence(lifted, slices) > 1e-9
    else:
        with pytest.raises((PlanError, LiftError), match=r"planecycle.*use attention='volume'"):
            dimlift.lift(network, plan)
