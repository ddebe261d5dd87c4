"""Files in original, timm or Hugging Face naming, with any wrapper prefix, load to the same function."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import dimlift
from cli.command_line import run_cli, run_rejected
from dimlift import DepthPlan
from dimlift.backbones import create_backbone
from dimlift.backbones.load_checkpoint import load_weights
from dimlift.backbones.load_report import resized_by
from dimlift.errors import WeightsError
from lifting.families import scramble
from lifting.twins import CASES, SIDE, TIMM, WIDTH, transformers


def final_output(network, images):
    """Return the logits, or the final tokens or map."""
    with torch.no_grad():
        if isinstance(network, transformers.ViTMAEForPreTraining):
            network = network.vit
            network.config.mask_ratio = 0.0
            tokens = network(images, noise=torch.arange(4.0)[None].expand(len(images), -1)).last_hidden_state
            return tokens
        if not isinstance(network, transformers.PreTrainedModel):
            tokens = getattr(network, "cls_token", None) is not None and not network.num_classes
            return network.forward_features(images) if tokens else network(images)
        out = network(images)
    pooled = transformers.SiglipVisionModel | transformers.DINOv3ConvNextModel
    for name in ("logits", "image_embeds"):
        if getattr(out, name, None) is not None:
            return getattr(out, name)
    return out.pooler_output if isinstance(network, pooled) else out.last_hidden_state


@pytest.mark.parametrize("case", CASES)
def test_file_of_transformers_loads_into_timm(tmp_path, case):
    make, name, options = CASES[case]
    hf_model = scramble(make()).eval()
    hf_model.save_pretrained(tmp_path)
    timm_model, _ = create_backbone(f"timm:{name}", weights=tmp_path / "model.safetensors", **options)
    side = options.get("img_size", 64)
    images = torch.randn(2, 3, side, side)
    a, b = final_output(hf_model, images), final_output(timm_model.eval(), images)
    assert a.std() > 1e-3
    torch.testing.assert_close(b, a, rtol=1e-5, atol=1e-5 * float(a.abs().max()))


@pytest.mark.parametrize("case", ["vit", "deit", "beit", "mae", "dinov2", "clip", "siglip", "resnet"])
def test_file_of_timm_loads_into_transformers(tmp_path, case):
    make, name, options = CASES[case]
    make().save_pretrained(tmp_path)
    timm_model, fresh = (create_backbone(f"timm:{name}", **options)[0] for _ in range(2))
    timm_model.load_state_dict(scramble(fresh).state_dict())
    save_file(timm_model.state_dict(), tmp_path / "timm.safetensors")
    hf_model, _ = create_backbone(f"transformers:{tmp_path}", weights=tmp_path / "timm.safetensors")
    hf_model.eval()
    images = torch.randn(2, 3, options.get("img_size", 64), options.get("img_size", 64))
    with torch.no_grad():
        out = hf_model(images)
        if isinstance(out, list):
            torch.testing.assert_close(
                out[-1], timm_model.eval().forward_intermediates(images, intermediates_only=True)[-1]
            )
        else:
            torch.testing.assert_close(out, timm_model.eval()(images))


def dinov2():
    """Return a small network of timm, and its weights in the original naming of DINOv2."""
    network, _ = create_backbone("timm:vit_small_patch14_reg4_dinov2", **TIMM)
    state = dict(scramble(network).state_dict())
    cls, grid = torch.randn(1, 1, WIDTH), torch.randn(1, 1, WIDTH)
    state["cls_token"] = cls + grid
    network.load_state_dict(state)
    state |= {"cls_token": cls, "register_tokens": state.pop("reg_token"), "mask_token": torch.zeros(1, WIDTH)}
    return network.eval(), state | {"pos_embed": torch.cat([grid, state["pos_embed"]], 1)}


def in_chunks(state):
    """Rename blocks as in training checkpoints of DINOv2 and DINOv3: chunk, then number."""
    return {key.replace("blocks.0.", "blocks.0.0.").replace("blocks.1.", "blocks.3.1."): t for key, t in state.items()}


@pytest.mark.parametrize("features_only", [False, True])
@pytest.mark.parametrize("wrap", [lambda state: state, in_chunks])
def test_training_checkpoint_in_original_names_loads(tmp_path, wrap, features_only):
    network, state = dinov2()
    teacher = {f"backbone.{key}": tensor for key, tensor in wrap(state).items()}
    teacher |= {"dino_head.mlp.0.weight": torch.ones(3, 3), "ibot_head.last_layer.weight": torch.ones(3, 3)}
    other = {f"student.backbone.{key}": tensor + 1 for key, tensor in wrap(state).items()}
    torch.save({"model": {f"teacher.{key}": t for key, t in teacher.items()} | other}, tmp_path / "teacher.pth")
    loaded, info = create_backbone(
        "timm:vit_small_patch14_reg4_dinov2",
        weights=tmp_path / "teacher.pth",
        features_only=features_only,
        **TIMM,
        **({"out_indices": (0, 1)} if features_only else {}),
    )
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        if features_only:
            wanted = network.forward_intermediates(images, indices=1, intermediates_only=True)
            torch.testing.assert_close(loaded.eval()(images)[-1], wanted[-1])
        else:
            torch.testing.assert_close(loaded.eval()(images), network(images))
    assert set(info.load_report.dropped) >= {
        "mask_token",
        f"student.backbone ({len(other)})",
        "teacher.dino_head",
        "teacher.ibot_head",
    }
    assert len(info.sha256) == 64
    assert info.load_report.prefix == "teacher.backbone."
    assert bool(info.load_report.naming) == (wrap is in_chunks)


def test_dinov3_in_original_names_needs_network_with_biases(tmp_path):
    network, fresh = (create_backbone("timm:vit_small_patch16_dinov3_qkvb", **TIMM)[0] for _ in range(2))
    state = dict(scramble(fresh).state_dict())
    network.load_state_dict(state)
    original = {}
    for key, tensor in state.items():
        key = key.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma").replace("reg_token", "storage_tokens")
        if key.endswith("q_bias"):
            zeros, value = torch.zeros(WIDTH), state[key.replace("q_bias", "v_bias")]
            original[key.replace("q_bias", "qkv.bias")] = torch.cat([tensor, zeros, value])
        elif not key.endswith("v_bias"):
            original[key] = tensor
    original |= {"mask_token": torch.zeros(1, WIDTH), "rope_embed.periods": torch.ones(4)}
    save_file({f"teacher.backbone.{key}": t for key, t in original.items()}, tmp_path / "MedDINOv3.safetensors")
    images = torch.randn(1, 3, SIDE, SIDE)
    timm_model, info = create_backbone(
        "timm:vit_small_patch16_dinov3_qkvb", weights=tmp_path / "MedDINOv3.safetensors", **TIMM
    )
    with torch.no_grad():
        torch.testing.assert_close(timm_model.eval()(images), network.eval()(images))
    assert info.licence == "dinov3-license"
    with pytest.raises(WeightsError, match=r"not of this network: blocks\.\*\.attn\.qkv\.bias"):
        create_backbone("timm:vit_small_patch16_dinov3", weights=tmp_path / "MedDINOv3.safetensors", **TIMM)


def test_clip_in_openai_and_open_clip_names_loads(tmp_path):
    options = TIMM | {"num_classes": 32}
    network, _ = create_backbone("timm:vit_base_patch16_clip_224", **options)
    state = dict(scramble(network).state_dict()) | {"head.bias": torch.zeros(32)}
    network.load_state_dict(state)
    swaps = {
        "patch_embed.proj": "conv1",
        "blocks.": "transformer.resblocks.",
        "norm_pre": "ln_pre",
        "qkv.": "in_proj_",
        "attn.proj": "attn.out_proj",
        "norm1": "ln_1",
        "norm2": "ln_2",
        "mlp.fc1": "mlp.c_fc",
        "mlp.fc2": "mlp.c_proj",
    }
    original = {"token_embedding.weight": torch.ones(4, 4), "logit_scale": torch.ones(())}
    for key, tensor in state.items():
        for timm_name, original_name in swaps.items():
            key = key.replace(timm_name, original_name)
        key = {"pos_embed": "positional_embedding", "cls_token": "class_embedding", "head.weight": "proj"}.get(key, key)
        if key.endswith("_embedding"):
            tensor = tensor.squeeze()
        original[f"visual.{key.replace('norm.', 'ln_post.')}"] = tensor.T if key == "proj" else tensor
    original.pop("visual.head.bias")
    images = torch.randn(1, 3, SIDE, SIDE)
    for prefix in ("", "module."):
        torch.save({"state_dict": {prefix + key: tensor for key, tensor in original.items()}}, tmp_path / "clip.pt")
        timm_model, info = create_backbone("timm:vit_base_patch16_clip_224", weights=tmp_path / "clip.pt", **options)
        with torch.no_grad():
            torch.testing.assert_close(timm_model.eval()(images), network.eval()(images))
        assert set(info.load_report.dropped) == {f"{prefix}token_embedding", f"{prefix}logit_scale"}


def test_positions_are_resized_to_the_image_size(tmp_path):
    network, _ = create_backbone("timm:vit_tiny_patch16_224", **TIMM)
    save_file(network.state_dict(), tmp_path / "vit.safetensors")
    larger, _ = create_backbone(
        "timm:vit_tiny_patch16_224",
        weights=tmp_path / "vit.safetensors",
        image_size=64,
        **{k: v for k, v in TIMM.items() if k != "img_size"},
    )
    assert larger.pos_embed.shape[1] == 17
    torch.testing.assert_close(larger.pos_embed[:, 0], network.pos_embed[:, 0])


@pytest.mark.parametrize("features_only", [False, True])
def test_certificate_lists_positions_resized_on_loading(tmp_path, features_only):
    network, _ = create_backbone("timm:vit_tiny_patch16_224", **TIMM)
    options = {k: v for k, v in TIMM.items() if k != "img_size"}
    save_file({f"teacher.{k}": t for k, t in network.state_dict().items()}, tmp_path / "vit.safetensors")
    lifted = dimlift.lift(
        "timm:vit_tiny_patch16_224",
        DepthPlan(attention="volume"),
        weights=tmp_path / "vit.safetensors",
        image_size=64,
        features_only=features_only,
        **options | ({"out_indices": (0, 1)} if features_only else {}),
    )
    key = "model.pos_embed" if features_only else "pos_embed"
    before, after = (1, 5, WIDTH), (1, 17, WIDTH)
    assert lifted.certificate.weights.resized == {key: (before, after)}
    assert f"resized {key}: {before} to {after}" in str(lifted.certificate)
    assert lifted.provenance["resized"] == {key: (before, after)}
    assert lifted.provenance["prefix"] == "teacher."
    assert ("head (2)" in lifted.provenance["dropped"]) == features_only
    assert lifted.provenance["filled"] == lifted.provenance["tensors"]
    assert [name for name in lifted.weights_report.new if "depth" in name]
    assert all(p.shape != after for p in lifted.depth_parameters())  # resized tensors are not new


def test_certificate_lists_positions_resized_in_live_module():
    network, _ = create_backbone("timm:vit_tiny_patch16_224", **TIMM)
    lifted = dimlift.lift(network, image_size=64)
    assert lifted.certificate.weights.resized == {"pos_embed": ((1, 5, WIDTH), (1, 17, WIDTH))}


def test_resized_by_finds_renamed_position_table():
    before = {"visual.positional_embedding": torch.ones(5, 4), "visual.proj": torch.ones(4, 4), "same": torch.ones(2)}
    after = {"pos_embed": torch.ones(1, 17, 4), "same": before["same"]}
    assert resized_by(before, after, ["visual.positional_embedding", "visual.proj"]) == {
        "pos_embed": "visual.positional_embedding"
    }
    assert resized_by(before, {"pos_embed": torch.ones(1, 5, 4)}, ["visual.positional_embedding"]) == {}


def test_mismatched_file_is_rejected_with_its_own_names(tmp_path):
    hf_model = CASES["vit"][0]()
    hf_model.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    state = load_file(file)
    removed = "vit.encoder.layer.1.attention.attention.key.weight"
    save_file({key: t for key, t in state.items() if key != removed} | {"vit.extra.weight": torch.ones(2)}, file)
    with pytest.raises(
        WeightsError, match=r"missing: blocks\.1\.attn\.qkv\.weight; not of this network: .*vit\.extra\.weight"
    ):
        create_backbone("timm:vit_tiny_patch16_224", weights=file, **TIMM, num_classes=5)
    save_file(state, file)
    with pytest.raises(WeightsError, match="of another architecture"):
        create_backbone("timm:resnet18", weights=file)
    with pytest.raises(WeightsError, match="its head is for other classes"):
        create_backbone("timm:vit_tiny_patch16_224", weights=file, **TIMM, num_classes=7)
    save_file({key: t for key, t in state.items() if not key.startswith("classifier")}, file)
    with pytest.raises(WeightsError, match="features_only=True, or with num_classes=0"):
        create_backbone("timm:vit_tiny_patch16_224", weights=file, **TIMM, num_classes=5)
    create_backbone(
        "timm:vit_tiny_patch16_224", weights=file, **TIMM, num_classes=5, features_only=True, out_indices=(1,)
    )


def test_many_mismatched_keys_are_grouped(tmp_path):
    """The blocks of the file have an additional parameter, those of the network an additional bias."""
    network = torch.nn.ModuleDict({"blocks": torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(12))})
    state = {key: value for key, value in network.state_dict().items() if key.endswith("weight")}
    save_file(state | {f"blocks.{n}.gamma": torch.ones(2) for n in range(12)}, tmp_path / "a.safetensors")
    wanted = r"missing: blocks\.\*\.bias \(12\); not of this network: blocks\.\*\.gamma \(12\); open"
    with pytest.raises(WeightsError, match=wanted):
        load_weights(network, tmp_path / "a.safetensors")


def test_lift_command_writes_provenance(tmp_path):
    network, _ = create_backbone("timm:test_resnet")
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    result = run_cli(
        "lift",
        "timm:test_resnet",
        "--weights",
        tmp_path / "mine.safetensors",
        "--licence",
        "cc-by-4.0",
        "--out",
        tmp_path / "out",
    )
    assert result.code == 0
    card = json.loads((tmp_path / "out" / "model.json").read_text())
    assert card["licence"] == card["provenance"]["licence"] == "cc-by-4.0"
    assert card["provenance"]["weights"].endswith("mine.safetensors")
    assert card["provenance"]["gated"] is None
    assert card["provenance"]["filled"] == card["provenance"]["tensors"] == len(network.state_dict())
    digest = hashlib.sha256((tmp_path / "mine.safetensors").read_bytes()).hexdigest()
    assert card["provenance"]["sha256"] == digest
    assert f"mine.safetensors; sha256 {digest[:12]}; licence cc-by-4.0" in " ".join(result.out.split())
    save_file({"a.b": torch.ones(2)}, tmp_path / "other.safetensors")
    assert "of another architecture" in run_rejected(
        "lift", "timm:test_resnet", "--weights", tmp_path / "other.safetensors"
    )
    assert "--download" in run_rejected("lift", "transformers:nobody/has-this")
