"""Training step of lifted networks and of 3D networks of other libraries: output shapes, time and memory.

    pip install --no-deps --target peers timm_3d==1.0.1 ACSConv==0.1.1
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive PYTHONPATH=peers python benchmarks/peers.py

All are resnet18 with five maps, depth 16 -> 8, 4, 2, 1, 1. They run alternating in one process on one thread, each in
its faster memory format. The median over the rounds of the ratio to the 2D network is reported, in CPU time. Memory is
the peak of a separate process minus its memory before the first step.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

import dimlift
from dimlift import DepthPlan
from dimlift.backbones.factory import create_backbone
from dimlift.backbones.torchvision_ops import ensure_torchvision_imports

DEPTH_POOL = (2, 2, 2, 2, 1)


def network_2d() -> nn.Module:
    return create_backbone("timm:resnet18", features_only=True)[0]


def timm_3d() -> nn.Module:
    import timm_3d

    return timm_3d.create_model("resnet18", features_only=True, pretrained=False)


def monai() -> nn.Module:
    from monai.networks.nets.resnet import ResNetFeatures

    return ResNetFeatures("resnet18", pretrained=False, spatial_dims=3, in_channels=3)


def acs() -> nn.Module:
    """Replace every convolution by ACSConv's operator; its own converter fails on BatchNorm3d of torch 2.13."""
    from acsconv.operators import ACSConv

    network = network_2d()
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.Conv2d):
            sizes = layer.kernel_size[0], layer.stride[0], layer.padding[0]
            new: nn.Module = ACSConv(layer.in_channels, layer.out_channels, *sizes, bias=False)
        elif isinstance(layer, nn.BatchNorm2d):
            new = nn.BatchNorm3d(layer.num_features)
            if hasattr(layer, "drop"):  # timm's BatchNormAct2d, which includes the activation
                new = nn.Sequential(new, layer.act)
        elif isinstance(layer, nn.MaxPool2d):
            new = nn.MaxPool3d(layer.kernel_size, layer.stride, layer.padding)
        else:
            continue
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, new)
    return network


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "2D on the slices": network_2d,
    "lifted, full kernel 3": lambda: dimlift.lift(network_2d(), DepthPlan(depth_pool=DEPTH_POOL), certify=False),
    "lifted, factorised 3": lambda: dimlift.lift(
        network_2d(), DepthPlan(depth_pool=DEPTH_POOL, factorised=True), certify=False
    ),
    "timm_3d 1.0.1": timm_3d,
    "MONAI ResNet": monai,
    "ACSConv 0.1.1": acs,
}


def step(network: nn.Module, volume: torch.Tensor) -> tuple[float, list[tuple[int, ...]]]:
    """Return the CPU seconds of forward and backward, and the shapes of the maps."""
    network.zero_grad()
    started = time.process_time()
    maps = network(volume)
    sum(m.sum() for m in maps).backward()
    return time.process_time() - started, [tuple(m.shape) for m in maps]


def prepare(name: str, channels_last: bool) -> tuple[nn.Module, torch.Tensor]:
    volume, network = torch.randn(1, 3, 16, 64, 64), NETWORKS[name]().train()
    if name == "2D on the slices":
        network = network.to(memory_format=torch.channels_last)
        return network, volume[0].transpose(0, 1).contiguous(memory_format=torch.channels_last)
    if channels_last:
        volume = volume.contiguous(memory_format=torch.channels_last_3d)
        if any(p.ndim == 5 for p in network.parameters()) and not name.startswith("lifted"):
            network = network.to(memory_format=torch.channels_last_3d)
    return network, volume


def peak_rss() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument(
        "--memory", nargs=2, metavar=("NETWORK", "CHANNELS_LAST"), help="print the peak memory of one network as JSON"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    ensure_torchvision_imports()
    if options.memory:
        network, volume = prepare(options.memory[0], options.memory[1] == "1")
        before = peak_rss()
        for _ in range(3):
            step(network, volume)
        print(json.dumps(peak_rss() - before))
        return

    runs = {}
    for name in NETWORKS:
        formats = [prepare(name, last) for last in (True, False)]
        seconds = [min(step(*run)[0] for _ in range(2)) for run in formats]
        last = seconds[0] <= seconds[1]
        runs[name] = (*formats[0 if last else 1], last)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.rounds):
        for name, (network, volume, _) in runs.items():
            times[name].append(step(network, volume)[0])
    print("| network | memory format | median step | to 2D | to timm_3d | peak memory | shapes as timm_3d |")
    print("|---|---|---|---|---|---|---|")
    reference = step(*runs["timm_3d 1.0.1"][:2])[1]

    def ratio(name: str, other: str) -> float:
        return statistics.median(a / b for a, b in zip(times[name], times[other], strict=True))

    for name, (network, volume, last) in runs.items():
        command = [sys.executable, __file__, "--memory", name, str(int(last))]
        peak = json.loads(subprocess.run(command, capture_output=True, check=True).stdout.splitlines()[-1])
        same = step(network, volume)[1] == reference
        print(
            f"| {name} | {'channels-last' if last else 'contiguous'} | {1e3 * statistics.median(times[name]):.0f} ms "
            f"| {ratio(name, '2D on the slices'):.2f}x | {ratio(name, 'timm_3d 1.0.1'):.2f}x "
            f"| {peak / 1e6:.0f} MB | {'yes' if same else 'no'} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
