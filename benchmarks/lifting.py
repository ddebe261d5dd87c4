"""Cost of lifting: forward and backward relative to the 2D network on the same slices, the lift, and the import.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/lifting.py

All networks run alternating in one process on one thread and are measured in CPU time. The median over the rounds of
the ratio to the 2D network in the same round is reported, so that other load on the machine affects both. Gradients are
set to None before every step, as by an optimizer.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

LIFT_LARGE = """
import json, time
import dimlift, torch
from dimlift.backbones.factory import create_backbone

def peak_rss():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])

import timm
before = peak_rss()
network, _ = create_backbone("timm:{name}")
wall, cpu = time.perf_counter(), time.process_time()
lifted = dimlift.lift(network, certify=False)
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
weights = sum(p.numel() * p.element_size() for p in lifted.parameters())
print(json.dumps(dict(cpu=cpu, wall=wall, weights=weights, peak=peak_rss() - before)))
"""
"""Runs in a separate process, because VmHWM cannot be reset."""

IMPORT = """
import sys, time
started = time.perf_counter()
import dimlift
print(time.perf_counter() - started, "torch" in sys.modules)
"""


def time_passes(name: str, slices: int, size: int, rounds: int, backward: bool, half: bool) -> dict[str, list[float]]:
    """Return the seconds of one pass in every round, for the 2D network on the slices and for each plan."""
    import torch

    import dimlift
    from dimlift import DepthPlan
    from dimlift.backbones.factory import create_backbone

    torch.set_num_threads(1)
    network_2d, _ = create_backbone(f"timm:{name}", features_only=True)
    network_2d = network_2d.to(memory_format=torch.channels_last).train(backward)
    volume = torch.randn(1, 3, slices, size, size).contiguous(memory_format=torch.channels_last_3d)
    images = volume[0].transpose(0, 1)
    plans = {
        "no depth mixing": DepthPlan(kernel=1),
        "full kernel 3": DepthPlan(kernel=3),
        "factorised 3": DepthPlan(kernel=3, factorised=True),
    }
    runs = {"2D on the slices": (network_2d, images)}
    for label, plan in plans.items():
        runs[label] = (dimlift.lift(network_2d, plan, certify=False).train(backward), volume)

    def one_pass(network, x):
        network.zero_grad()
        started = time.process_time()
        with torch.set_grad_enabled(backward):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                maps = network(x)
            if backward:
                sum(m.float().sum() for m in maps).backward()
        return time.process_time() - started

    seconds: dict[str, list[float]] = {label: [] for label in runs}
    for _ in range(rounds + 1):
        for label, (network, x) in runs.items():
            seconds[label].append(one_pass(network, x))
    return {label: found[1:] for label, found in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=["resnet18", "convnext_atto", "tf_efficientnet_lite0"])
    parser.add_argument("--slices", type=int, default=16)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--large", default="vit_large_patch16_224")
    options = parser.parse_args()

    for backward, half in ((False, False), (True, False), (True, True)):
        title = ("forward and backward" if backward else "forward") + (", bfloat16 autocast" if half else "")
        shape = (1, 3, options.slices, options.image_size, options.image_size)
        print(f"\n{title}, {shape}, channels-last, maps, one thread")
        print("| network | 2D on the slices | no depth mixing | factorised 3 | full kernel 3 |")
        print("|---|---|---|---|---|")
        for name in options.networks:
            seconds = time_passes(name, options.slices, options.image_size, options.rounds, backward, half)
            base = seconds["2D on the slices"]
            ratios = [
                f"{statistics.median(a / b for a, b in zip(seconds[label], base, strict=True)):.2f}x"
                for label in ("no depth mixing", "factorised 3", "full kernel 3")
            ]
            print(f"| {name} | {1e3 * statistics.median(base):.1f} ms | {' | '.join(ratios)} |", flush=True)

    import dimlift
    from dimlift import DepthPlan

    lifted = dimlift.lift("packaged:efficientnet_lite0", DepthPlan(), in_chans=1, features_only=True)
    print(f"\ncertificate of packaged:efficientnet_lite0: {lifted.certificate.seconds:.2f} s")
    if options.large:
        script = "import dimlift.backbones.torchvision_ops as t; t.ensure_torchvision_imports()" + LIFT_LARGE
        script = script.replace("{name}", options.large)
        found = json.loads(subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout)
        print(
            f"{options.large}, live module, certify=False: {found['cpu']:.2f} s CPU time, {found['wall']:.2f} s "
            f"wall time, {found['weights'] / 1e9:.2f} GB of weights, peak with "
            f"source {found['peak'] / found['weights']:.2f}x"
        )
    runs = [
        subprocess.run([sys.executable, "-c", IMPORT], capture_output=True, check=True, text=True) for _ in range(3)
    ]
    import_seconds, torch_loaded = min(run.stdout.split() for run in runs)
    print(f"import dimlift: {float(import_seconds):.3f} s, torch loaded: {torch_loaded}")


if __name__ == "__main__":
    main()
