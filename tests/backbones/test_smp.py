"""Segmentation networks of smp, lifted with their decoders."""

import pytest
import torch

import dimlift
from dimlift import DepthPlan
from dimlift.config.method_config import TaskSpec
from dimlift.errors import ConfigError, PlanError, UnknownNameError, WeightsError
from dimlift.inference.predictor import load_state_strict
from dimlift.losses.segmentation import DiceCELoss
from dimlift.methods.lifted.config import LiftedConfig
from lifting.families import run_network, scramble

smp = pytest.importorskip("segmentation_models_pytorch", reason="the package segmentation_models_pytorch is missing")

SMALL = {"encoder_depth": 3, "decoder_channels": (16, 8, 8), "classes": 3}


def unet(**options):
    return scramble(smp.Unet("mobilenet_v2", encoder_weights=None, **SMALL, **options)).eval()


def test_lifted_unet_keeps_output_of_every_slice():
    network = unet(in_channels=1).double()
    lifted = dimlift.lift(network, DepthPlan(kernel=3)).eval()
    claimed = {claim.law for claim in lifted.certificate.claims if claim.claimed and claim.holds}
    assert claimed == {"slices", "constancy", "coverage", "location"}
    volume = torch.randn(2, 1, 3, 32, 64, dtype=torch.float64)
    out = run_network(lifted, volume)[0]
    assert out.shape == (2, 3, 3, 32, 64)
    slices = run_network(network, volume.transpose(1, 2).flatten(0, 1))[0]
    torch.testing.assert_close(out.transpose(1, 2).flatten(0, 1), slices, rtol=1e-9, atol=1e-9)
    assert any(key.startswith("decoder.") for key in lifted.weights_report.inflated)
    assert any(key.startswith("segmentation_head.") for key in lifted.weights_report.inflated)


def test_lifted_unet_trains_on_a_volume():
    lifted = dimlift.lift("smp:Unet/mobilenet_v2", DepthPlan(kernel=3), in_chans=1, **SMALL).train()
    optimizer = torch.optim.SGD(lifted.parameters(), 0.05)
    volume = torch.randn(1, 1, 4, 32, 32)
    label, losses = (volume[:, 0] > 0).long(), []
    for _ in range(3):
        loss = DiceCELoss()(lifted(volume), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[2] < losses[0]
    depth = lifted.network.get_parameter("decoder.blocks.0.conv1.0.weight").grad
    assert depth.ndim == 5
    assert depth[:, :, 0].abs().max() > 0  # the outer taps, zero at the start, are trained


OTHERS = ("FPN", "UnetPlusPlus", "DeepLabV3Plus", "UPerNet", "Linknet", "MAnet")


@pytest.mark.parametrize(
    "name",
    [
        "Segformer/mit_b0",
        "PSPNet/mobilenet_v2",
        *(pytest.param(f"{architecture}/mobilenet_v2", marks=pytest.mark.slow) for architecture in OTHERS),
    ],
)
def test_other_architectures_hold_the_laws(name):
    lifted = dimlift.lift(f"smp:{name}", DepthPlan(kernel=3), in_chans=1, classes=2)
    assert lifted.certificate.holds
    assert lifted(torch.randn(1, 1, 2, 64, 64)).shape == (1, 2, 2, 64, 64)
    assert lifted.strides == ((1, 1, 1),)


def test_create_smp_rejects_unknown_names_and_loads_files(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UnknownNameError, match="Unet"):
        dimlift.lift("smp:Unett/resnet18")
    with pytest.raises(UnknownNameError, match="resnet18"):
        dimlift.lift("smp:Unet/resnet_18")
    with pytest.raises(WeightsError, match="download=True"):
        dimlift.lift("smp:Unet/resnet18", pretrained=True)
    with pytest.raises(PlanError, match="timm:resnet18"):
        dimlift.lift("smp:Unet/resnet18", features_only=True)
    network = unet()
    torch.save(network.state_dict(), tmp_path / "unet.pth")
    lifted = dimlift.lift("smp:Unet/mobilenet_v2", certify=False, weights=tmp_path / "unet.pth", **SMALL)
    for key, tensor in dimlift.flatten(lifted).items():
        torch.testing.assert_close(tensor, network.state_dict()[key])


def test_lifted_config_builds_smp_network(tmp_path):
    arm = LiftedConfig(network="smp:Unet/mobilenet_v2", pretrained=False)
    task = TaskSpec("segmentation", 1, 3, (1.0, 1.0, 1.0), (4, 32, 32))
    method = arm.build(task)
    volume = torch.randn(1, 1, 3, 40, 36)  # not a multiple of 32
    assert method.eval()(volume).shape == (1, 3, 3, 40, 36)
    rebuilt = arm.build(task, load_pretrained=False)
    load_state_strict(rebuilt, method.state_dict(), tmp_path)
    torch.testing.assert_close(rebuilt.eval()(volume), method(volume))
    with pytest.raises(ConfigError):
        arm.build(TaskSpec("classification", 1, 3, None, (4, 32, 32)))
