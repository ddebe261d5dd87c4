"""Models of transformers; with the weights of timm they lift to the same function (law 6)."""

import pytest
import torch

import dimlift
from dimlift import DepthPlan
from dimlift.errors import LiftError, PlanError, UnknownNameError, WeightsError
from lifting.families import run_network, scramble
from lifting.twins import CASES, SHAPE, STAGES, SWIN, build_hf, transformers

MEAN, JOINT = DepthPlan(kernel=3, inflation="average"), DepthPlan(kernel=1, attention="volume")
TUBELETS = DepthPlan(kernel=2, stride="kernel", inflation="average", attention="volume")


@pytest.mark.parametrize(
    ("case", "plan", "features_only"),
    [
        ("vit", MEAN, False),
        ("vit", JOINT, False),
        ("dinov2", DepthPlan(kernel=2, factorised=True), True),
        ("dinov2", TUBELETS, True),
        ("dinov3", JOINT, True),
        ("clip", JOINT, True),
        ("swin", MEAN, False),
        ("swin", MEAN, True),
        ("convnext", DepthPlan(kernel=3, inflation="gaussian"), False),
        ("convnext", DepthPlan(kernel=3, inflation="average", depth_pool=(1, 2, 1, 1)), True),
        ("resnet", MEAN, True),
    ],
)
def test_transformers_and_timm_lift_to_the_same_function(tmp_path, case, plan, features_only):
    make, name, options = CASES[case]
    hf_model = scramble(make())
    hf_model.save_pretrained(tmp_path)
    side, column = options.get("img_size", 64), "embed_dim" in options and "depths" not in options
    chosen = {"out_indices": (0, 1)} if features_only and column else {}
    two = [
        dimlift.lift(f"transformers:{tmp_path}", plan, features_only=features_only, in_chans=1, **chosen),
        dimlift.lift(
            f"timm:{name}",
            plan,
            features_only=features_only,
            in_chans=1,
            weights=tmp_path / "model.safetensors",
            **options,
            **chosen,
        ),
    ]
    volume = torch.randn(1, 1, 4, side, side)
    one, other = (run_network(lifted.eval(), volume) for lifted in two)
    if features_only and case == "resnet":
        other = other[1:]  # timm also returns the map after its first convolution
    for a, b in zip(one, other, strict=True):
        assert a.abs().max() > 1e-3
        torch.testing.assert_close(a, b, rtol=1e-5, atol=2e-5 * float(a.abs().max()))


LIVE = {
    "ViT": lambda: build_hf("ViT:ViTModel", **SHAPE),
    "DeiT": lambda: build_hf("DeiT:DeiTForImageClassification", **SHAPE),
    "BEiT": lambda: build_hf("Beit:BeitModel", **SHAPE, use_relative_position_bias=True),
    "DINOv2 with registers": lambda: build_hf("Dinov2WithRegisters:Dinov2WithRegistersModel", **SHAPE),
    "DINOv2, its backbone": lambda: build_hf("Dinov2:Dinov2Backbone", **SHAPE, out_features=["stage1", "stage2"]),
    "DINOv3": lambda: build_hf("DINOv3ViT:DINOv3ViTModel", **SHAPE, num_register_tokens=4),
    "SigLIP": lambda: build_hf("SiglipVision:SiglipVisionModel", **SHAPE),
    "Swin": lambda: build_hf("Swin:SwinModel", **SWIN, window_size=4),
    "SwinV2": lambda: build_hf("Swinv2:Swinv2Model", **SWIN, window_size=4),
    "DINOv3 ConvNeXt": lambda: build_hf("DINOv3ConvNext:DINOv3ConvNextModel", **STAGES),
    "SegFormer": lambda: build_hf("Segformer:SegformerModel", hidden_sizes=[16, 16, 32, 32], depths=[1] * 4),
}


@pytest.mark.parametrize("name", LIVE)
def test_live_model_lifts_unchanged(name):
    network = LIVE[name]().eval()
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    kind = type(network)
    lifted = dimlift.lift(network, DepthPlan(kernel=3), in_chans=1)
    certificate = lifted.certificate
    assert certificate.holds
    laws = {"slices", "constancy", "coverage"} | ({"location"} if lifted.strides else set())
    assert {claim.law for claim in certificate.claims if claim.claimed} == laws
    assert type(network) is kind
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    kept = set(lifted.network.state_dict())
    assert {key for key in before if not key.startswith(("pooler", "head"))} <= kept
    out = lifted(torch.randn(1, 1, 2, 64, 96))  # not square, not the size it was built for
    if isinstance(out, list):
        assert [m.shape[1] for m in out] == list(lifted.channels)
        assert [(64 // m.shape[3], 96 // m.shape[4]) for m in out] == [stride[1:] for stride in lifted.strides]
    if any(word in name for word in ("ViT", "DeiT", "BEiT", "DINOv3", "SigLIP")) and "ConvNeXt" not in name:
        joint = dimlift.lift(network, TUBELETS, in_chans=1)
        assert joint.certificate.holds
        assert not joint.attention_within_slices


@pytest.mark.parametrize("name", ["SegFormer", "UPerNet"])
def test_segmentation_model_returns_logits_per_slice(name):
    if name == "SegFormer":
        small = {"hidden_sizes": [16, 16, 32, 32], "depths": [1, 1, 1, 1], "decoder_hidden_size": 16}
        made = build_hf("Segformer:SegformerForSemanticSegmentation", **small, num_labels=5)
    else:
        backbone = transformers.ConvNextConfig(**STAGES, out_features=["stage1", "stage2", "stage3", "stage4"])
        small = {"backbone_config": backbone, "hidden_size": 16, "auxiliary_in_channels": 48}
        made = build_hf("UperNet:UperNetForSemanticSegmentation", **small, num_labels=5)
    lifted = dimlift.lift(made, MEAN, in_chans=1)
    assert lifted.certificate.holds
    inflated = lifted.weights_report.inflated
    assert name == "SegFormer" or any(key.startswith("decode_head") for key in inflated)
    step = 4 if name == "SegFormer" else 1
    assert lifted.strides == ((1, step, step),)
    volume = torch.randn(2, 1, 3, 64, 96, requires_grad=True)
    if name == "SegFormer":  # UPerNet has no gradient checkpointing
        lifted.set_grad_checkpointing()
    out = lifted.train()(volume)
    assert out.shape == (2, 5, 3, 64 // step, 96 // step)
    out.square().mean().backward()
    assert volume.grad.abs().max() > 0


def test_create_hf_loads_folders_and_rejects_missing_weights(tmp_path, monkeypatch):
    network = CASES["vit"][0]()
    network.save_pretrained(tmp_path / "vit")
    lifted = dimlift.lift(f"transformers:{tmp_path / 'vit'}", certify=False, licence="cc-by-4.0")
    weight = "vit.embeddings.patch_embeddings.projection.weight"
    assert torch.equal(lifted.network.get_parameter(weight).sum(2), network.get_parameter(weight))
    assert (lifted.licence, lifted.info.weights) == ("cc-by-4.0", str(tmp_path / "vit"))
    drawn = dimlift.lift(f"transformers:{tmp_path / 'vit'}", certify=False, pretrained=False)
    assert not torch.equal(drawn.network.get_parameter(weight), lifted.network.get_parameter(weight))
    filled = dimlift.lift(f"transformers:{tmp_path / 'vit'}", certify=False, weights=tmp_path / "vit/model.safetensors")
    assert torch.equal(filled.network.get_parameter(weight), lifted.network.get_parameter(weight))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="download=True"):
        dimlift.lift("transformers:nobody/has-this")
    with pytest.raises(WeightsError, match="gated: Meta"):
        dimlift.lift("transformers:facebook/dinov3-vits16-pretrain-lvd1689m")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"contains no config\.json"):
        dimlift.lift(f"transformers:{tmp_path / 'empty'}")
    with pytest.raises(PlanError, match="2 maps"):
        dimlift.lift(f"transformers:{tmp_path / 'vit'}", features_only=True, out_indices=(4,))
    transformers.BertConfig(num_hidden_layers=1).save_pretrained(tmp_path / "text")
    with pytest.raises((LiftError, UnknownNameError, WeightsError)):
        dimlift.lift(f"transformers:{tmp_path / 'text'}", pretrained=False)


def test_missing_weights_are_named(tmp_path):
    from safetensors.torch import load_file, save_file

    CASES["dinov2"][0]().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    removed = "encoder.layer.0.norm1.weight"
    state.pop(removed)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=f"missing: {removed}"):
        dimlift.lift(f"transformers:{tmp_path}", certify=False)
