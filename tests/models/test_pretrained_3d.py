"""3D networks with weights of other projects, loaded by name and shape."""

import pytest
import torch
from monai.networks import nets
from safetensors.torch import save_file

from dimlift.config.method_config import TaskSpec
from dimlift.errors import ConfigError, WeightsError
from dimlift.methods.baselines.pretrained_3d import Pretrained3DConfig
from dimlift.models.medicalnet import medicalnet_unet
from dimlift.models.residual_unet import residual_unet

TASK = TaskSpec("segmentation", 1, 3, (1.0, 1.0, 1.0), (8, 8, 8))
SMALL = {"widths": (4, 8, 8), "blocks": (1, 2, 1)}


def published(classes=5, in_channels=1):
    """Return a checkpoint of nnU-Net: another head, and encoder weights under two names."""
    torch.manual_seed(7)
    state = residual_unet(in_channels, classes, **SMALL).network.state_dict()
    state = {name.replace("decoder.head", "decoder.seg_layers.1"): value for name, value in state.items()}
    return state | {f"decoder.{name}": value for name, value in state.items() if name.startswith("encoder.")}


def build(**options):
    return Pretrained3DConfig.model_validate({"method": "pretrained_3d", **SMALL, **options}).build(TASK)


def test_residual_unet_has_names_of_nnunet_checkpoints():
    names = set(residual_unet(1, 3).network.state_dict())
    assert {
        "encoder.stem.convs.0.conv.weight",
        "encoder.stages.1.blocks.0.skip.1.conv.weight",  # behind the averaging
        "encoder.stages.5.blocks.5.conv2.norm.bias",
        "decoder.transpconvs.4.bias",
        "decoder.stages.0.convs.0.conv.weight",
    } <= names
    assert not any(
        name.startswith("encoder.stages.5.blocks.0.skip") for name in names
    )  # 320 to 320: nothing to project


def test_residual_unet_default_is_resenc_l():
    assert 100e6 < sum(p.numel() for p in residual_unet(1, 3).parameters()) < 105e6


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"network_weights": s, "current_epoch": 3}])
def test_pretrained_3d_loads_checkpoint_except_head(tmp_path, wrap):
    state = published()
    torch.save(wrap({f"module.{name}": value for name, value in state.items()}), tmp_path / "w.pth")
    method = build(weights=str(tmp_path / "w.pth"))
    own = method.model.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in own.items() if "decoder.head" not in name)
    (note,) = method.notes
    assert "w.pth" in note
    assert note.endswith("new: decoder.head.weight, decoder.head.bias")


def test_pretrained_3d_loads_encoder_weights_without_prefix(tmp_path):
    state = {k.removeprefix("encoder."): v.clone() for k, v in published().items() if k.startswith("encoder.")}
    save_file(state, tmp_path / "encoder.safetensors")
    network = build(weights=str(tmp_path / "encoder.safetensors")).model.network
    assert torch.equal(
        network.encoder.stages[1].blocks[0].conv1.conv.weight, state["stages.1.blocks.0.conv1.conv.weight"]
    )


def test_pretrained_3d_loads_medicalnet(tmp_path):
    torch.manual_seed(3)
    encoder = medicalnet_unet(1, 2).network.encoder.state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in encoder.items()}}, tmp_path / "w.pth")
    own = build(network="resnet10", weights=str(tmp_path / "w.pth")).model.network.encoder.state_dict()
    assert all(torch.equal(value, encoder[name]) for name, value in own.items())
    assert {"conv1.weight", "layer4.0.conv2.weight"} <= set(own)


def test_pretrained_3d_rejects_weights_of_another_network(tmp_path):
    torch.save(published(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"fills .*% of the encoder.*has shape \(4, 1, 3, 3, 3\) there"):
        build(weights=str(tmp_path / "w.pth"), widths=(6, 12, 12))
    with pytest.raises(WeightsError, match="is missing there"):
        build(network="resnet10", weights=str(tmp_path / "w.pth"))
    with pytest.raises(WeightsError, match="there is no weights file"):
        build(weights=str(tmp_path / "none.pth"))
    with pytest.raises(ConfigError, match="segmentation only"):
        Pretrained3DConfig().build(TaskSpec("classification", 1, 3, None, (8, 8, 8)))


MONAI = {
    "UNet": {"channels": [4, 8, 8], "strides": [2, 2], "num_res_units": 1},
    "AttentionUnet": {"channels": [4, 8, 8], "strides": [2, 2]},
    "BasicUNet": {"features": [4, 4, 8, 8, 8, 4]},
    "DynUNet": {
        "kernel_size": [3, 3, 3], "strides": [1, [2, 2, 1], 2], "upsample_kernel_size": [[2, 2, 1], 2],
        "filters": [4, 8, 8],
    },
    "SegResNet": {"init_filters": 8, "blocks_down": [1, 1], "blocks_up": [1]},
    "SwinUNETR": {"feature_size": 12, "depths": [1, 1, 1, 1]},
}  # fmt: skip


def of_monai(name, classes=5):
    torch.manual_seed(7)
    return getattr(nets, name)(spatial_dims=3, in_channels=1, out_channels=classes, **MONAI[name])


@pytest.mark.parametrize("name", MONAI)
def test_pretrained_3d_equals_monai_with_reversed_axes(tmp_path, name):
    theirs = of_monai(name, classes=TASK.num_classes).eval()
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in theirs.state_dict().items()}}, tmp_path / "w.pt"
    )
    method = build(network=f"monai:{name}", options=MONAI[name], weights=str(tmp_path / "w.pt")).eval()
    volume = torch.randn(1, 1, 32, 32, 64)
    with torch.no_grad():
        expected = theirs(volume.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)  # (x, y, z) there, (z, y, x) here
        torch.testing.assert_close(method.model(volume), expected)


def test_pretrained_3d_loads_monai_swin_with_timm_names(tmp_path):
    state = of_monai("SwinUNETR").swinViT.state_dict()
    renamed = {f"module.{key.replace('mlp.linear', 'mlp.fc')}": value for key, value in state.items()}
    torch.save({"state_dict": renamed}, tmp_path / "w.pt")
    method = build(network="monai:SwinUNETR", options=MONAI["SwinUNETR"], weights=str(tmp_path / "w.pt"))
    own = method.model.network.network.swinViT.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in own.items())


def test_pretrained_3d_reports_invalid_monai_options(tmp_path):
    with pytest.raises(
        ConfigError, match=r"MONAI's UNet cannot be built from arm.options=\{'chanels': \[4\]\}.*network_def"
    ):
        build(network="monai:UNet", options={"chanels": [4]})
    torch.save(of_monai("BasicUNet").state_dict(), tmp_path / "w.pt")
    with pytest.raises(WeightsError, match=r"of the network.*90% are required.*`options`"):
        build(network="monai:UNet", options=MONAI["UNet"], weights=str(tmp_path / "w.pt"))
    with pytest.raises(ValueError, match="'options' apply to networks of MONAI"):
        build(options={"channels": [4]})


def test_pretrained_3d_supports_any_size():
    assert build()(torch.randn(1, 1, 7, 10, 9), None).shape == (1, 3, 7, 10, 9)
