"""A lifted encoder with MONAI's decoder of FlexibleUNet and its sliding window."""

import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets.flexible_unet import UNetDecoder

import dimlift


def test_lifted_encoder_works_with_monai_decoder_and_inferer():
    plan = dimlift.DepthPlan(kernel=3, depth_pool=(2, 2, 2, 2, 2))
    encoder = dimlift.lift("timm:resnet10t", plan, in_chans=1, features_only=True, certify=False).eval()
    assert encoder.strides == tuple((2**n, 2**n, 2**n) for n in range(1, 6))
    decoder = UNetDecoder(
        3, (1, *encoder.channels), (8, 8, 8, 8, 4), act="relu", norm="instance", dropout=0.0, bias=False,
        upsample="nontrainable", pre_conv="default", interp_mode="nearest", align_corners=None, is_pad=True,
    ).eval()  # fmt: skip
    volume = torch.randn(1, 1, 32, 64, 96)

    def network(window):
        return decoder([window, *encoder(window)])

    with torch.no_grad():
        full = network(volume)
        windows = sliding_window_inference(volume, (32, 64, 64), 1, network, overlap=0.5)
    assert full.shape == windows.shape == (1, 4, 32, 64, 96)
    loss = network(volume[..., :32, :32, :32]).square().mean()
    loss.backward()
    assert all(p.grad is not None for p in encoder.depth_mixing_parameters())
