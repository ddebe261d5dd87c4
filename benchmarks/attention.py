"""Compare attention across slices: time, memory and deviation from the 2D outputs.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/attention.py [--networks vit_tiny_patch16_224 ...]

Times the forward pass alone and with the backward pass for each value of `attention`, alternating in one process, on
the GPU if available. The minimum over the rounds is reported (CPU time or device time). Memory is the peak added by one
forward and backward pass; on a CPU each is measured in a separate process. The error of a law is relative to the
largest 2D output: the law of slices on random slices, the law of constancy on one repeated slice.
"""

import argparse
import subprocess
import sys
import time
import warnings
from pathlib import Path

MODES = {"per slice": "per_slice", "window of 3": 3, "volume": "volume", "planecycle": "planecycle"}
"""Label in the table: value of `attention`."""


def build_networks(name: str, mode: str, size: int, device: str):
    """Return the 2D network and the lifted one; (None, None) if the network does not support the mode."""
    import torch

    import dimlift
    from dimlift import DepthPlan
    from dimlift.backbones.factory import create_backbone
    from dimlift.errors import PlanError

    torch.manual_seed(0)
    network_2d, _ = create_backbone(f"timm:{name}", features_only=True, img_size=size)
    try:
        with warnings.catch_warnings(action="ignore"):
            lifted = dimlift.lift(network_2d, DepthPlan(kernel=1, attention=MODES[mode]), certify=False)
    except PlanError:
        return None, None
    return network_2d.to(device).eval(), lifted.to(device).eval()


def one_pass(network, volume, backward: bool) -> float:
    """Return the seconds of one pass, in CPU time or device time."""
    import torch

    if volume.is_cuda:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
    started = time.process_time()
    with torch.set_grad_enabled(backward):
        maps = network(volume)
        if backward:
            network.zero_grad(set_to_none=True)
            sum(m.float().square().mean() for m in maps).backward()
    if not volume.is_cuda:
        return time.process_time() - started
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1e3


def law_errors(network_2d, lifted, size: int, device: str) -> tuple[float, float]:
    """Return the errors of the laws of slices and of constancy, maximum over all maps."""
    import torch

    slices = torch.randn(4, 3, size, size, device=device)
    errors = []
    for images in (slices, slices[:1].expand_as(slices)):
        with torch.no_grad():
            pairs = zip(network_2d(images), lifted(images.transpose(0, 1)[None]), strict=True)
        worst = 0.0
        for expected, output in pairs:
            output = output[0].transpose(0, 1)
            expected = expected if expected.shape == output.shape else expected.permute(0, 3, 1, 2)
            worst = max(worst, float((output - expected).abs().max() / expected.abs().max()))
        errors.append(worst)
    return errors[0], errors[1]


def peak_memory(name: str, mode: str, shape: tuple[int, ...], device: str) -> int:
    """Return the peak bytes added by one forward and backward pass."""
    import torch

    _, lifted = build_networks(name, mode, shape[-1], device)
    if device == "cuda":
        volume = torch.randn(shape, device=device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        one_pass(lifted, volume, True)
        return torch.cuda.max_memory_allocated() - before
    small = torch.randn(1, shape[1], 1, *shape[3:])
    one_pass(lifted, small, True)
    before = _peak_rss()
    one_pass(lifted, torch.randn(shape), True)
    return _peak_rss() - before


def _peak_rss() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def peak_memory_in_subprocess(name: str, mode: str, shape: tuple[int, ...]) -> int:
    """Return `peak_memory` of a separate process, because VmHWM cannot be reset."""
    command = [sys.executable, __file__, "--memory", name, mode, *map(str, shape)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()[-1])


def compare(name: str, shape: tuple[int, ...], rounds: int, device: str) -> None:
    """Print the table rows of one network."""
    import torch

    volume = torch.randn(shape, device=device)
    built = {mode: build_networks(name, mode, shape[-1], device) for mode in MODES}
    supported = [mode for mode, (_, lifted) in built.items() if lifted is not None]
    best = {(mode, backward): float("inf") for mode in supported for backward in (False, True)}
    for _ in range(rounds + 1):
        for mode, backward in best:
            best[mode, backward] = min(best[mode, backward], one_pass(built[mode][1], volume, backward))
    for mode in MODES:
        if mode not in supported:
            print(f"| {name} | {mode} | not supported | | | | |", flush=True)
            continue
        memory = (
            peak_memory(name, mode, shape, device) if device == "cuda" else peak_memory_in_subprocess(name, mode, shape)
        )
        slices, constancy = law_errors(*built[mode], shape[-1], device)
        print(
            f"| {name} | {mode} | {1e3 * best[mode, False]:.1f} ms | {1e3 * best[mode, True]:.1f} ms | "
            f"{memory / 2**20:.0f} MiB | {slices:.0e} | {constancy:.0e} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()

    import torch

    if options.memory:
        name, mode, *shape = options.memory
        print(peak_memory(name, mode, tuple(map(int, shape)), "cpu"))
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    shape = (1, 3, options.slices, options.image_size, options.image_size)
    print(f"volume {shape}, {torch.cuda.get_device_name() if device == 'cuda' else 'CPU, one thread'}, float32")
    print(
        "| network | attention | forward | with backward | memory | slices | constancy |\n|---|---|---|---|---|---|---|"
    )
    for name in options.networks:
        compare(name, shape, options.rounds, device)


if __name__ == "__main__":
    main()
