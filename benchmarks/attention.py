"""Ways of attending across slices, compared: time, memory and distance from the 2D answers.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/attention.py [--networks vit_tiny_patch16_224 ...]

Forward and forward with backward of one network under each `attention=`, alternating in one process, on the GPU if
there is one; the best of the rounds counts (processor time on a CPU, device time on a GPU). Memory is what one forward
with backward adds at its peak, each in a process of its own on a CPU. The error of a law is relative to the largest 2D
answer: slices on random slices, constancy on one slice repeated.
"""

import argparse
import subprocess
import sys
import time
import warnings
from pathlib import Path

WAYS = {"per slice": "per_slice", "window of 3": 3, "volume": "volume", "planecycle": "planecycle"}
"""Column of the table to `attention=`."""


def lifted_in(name: str, way: str, side: int, device: str):
    """A network whose slices see one another in this way; None where the way does not fit it."""
    import torch

    import dimlift
    from dimlift import DepthPlan
    from dimlift.backbones.factory import create_backbone
    from dimlift.errors import PlanError

    torch.manual_seed(0)
    flat, _ = create_backbone(f"timm:{name}", features_only=True, img_size=side)
    try:
        with warnings.catch_warnings(action="ignore"):
            lifted = dimlift.lift(flat, DepthPlan(kernel=1, attention=WAYS[way]), certify=False)
    except PlanError:
        return None, None
    return flat.to(device).eval(), lifted.to(device).eval()


def one_pass(network, volume, backward: bool) -> float:
    """Seconds of one pass: of the processor, or of the device."""
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


def law_errors(flat, lifted, side: int, device: str) -> tuple[float, float]:
    """Errors of the laws of slices and of constancy, over all maps."""
    import torch

    slices = torch.randn(4, 3, side, side, device=device)
    errors = []
    for given in (slices, slices[:1].expand_as(slices)):
        with torch.no_grad():
            pairs = zip(flat(given), lifted(given.transpose(0, 1)[None]), strict=True)
        worst = 0.0
        for wanted, output in pairs:
            output = output[0].transpose(0, 1)
            wanted = wanted if wanted.shape == output.shape else wanted.permute(0, 3, 1, 2)
            worst = max(worst, float((output - wanted).abs().max() / wanted.abs().max()))
        errors.append(worst)
    return errors[0], errors[1]


def peak_memory(name: str, way: str, shape: tuple[int, ...], device: str) -> int:
    """Bytes that one forward with backward adds at its peak."""
    import torch

    _, lifted = lifted_in(name, way, shape[-1], device)
    if device == "cuda":
        volume = torch.randn(shape, device=device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        one_pass(lifted, volume, True)
        return torch.cuda.max_memory_allocated() - before
    small = torch.randn(1, shape[1], 1, *shape[3:])
    one_pass(lifted, small, True)
    before = _high_water()
    one_pass(lifted, torch.randn(shape), True)
    return _high_water() - before


def _high_water() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def in_own_process(name: str, way: str, shape: tuple[int, ...]) -> int:
    """`peak_memory` in a process of its own: a high-water mark cannot be set back."""
    given = [sys.executable, __file__, "--memory", name, way, *map(str, shape)]
    return int(subprocess.run(given, capture_output=True, check=True, text=True).stdout.split()[-1])


def compare(name: str, shape: tuple[int, ...], rounds: int, device: str) -> None:
    """Print the rows of one network."""
    import torch

    volume = torch.randn(shape, device=device)
    built = {way: lifted_in(name, way, shape[-1], device) for way in WAYS}
    ways = [way for way, (_, lifted) in built.items() if lifted is not None]
    best = {(way, backward): float("inf") for way in ways for backward in (False, True)}
    for _ in range(rounds + 1):
        for way, backward in best:
            best[way, backward] = min(best[way, backward], one_pass(built[way][1], volume, backward))
    for way in WAYS:
        if way not in ways:
            print(f"| {name} | {way} | refused | | | | |", flush=True)
            continue
        memory = peak_memory(name, way, shape, device) if device == "cuda" else in_own_process(name, way, shape)
        slices, constancy = law_errors(*built[way], shape[-1], device)
        print(
            f"| {name} | {way} | {1e3 * best[way, False]:.1f} ms | {1e3 * best[way, True]:.1f} ms | "
            f"{memory / 2**20:.0f} MiB | {slices:.0e} | {constancy:.0e} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="*", default=["vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"])
    parser.add_argument("--slices", type=int, default=12)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", nargs="*", help=argparse.SUPPRESS)
    chosen = parser.parse_args()

    import torch

    if chosen.memory:
        name, way, *shape = chosen.memory
        print(peak_memory(name, way, tuple(map(int, shape)), "cpu"))
        return
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    shape = (1, 3, chosen.slices, chosen.side, chosen.side)
    print(f"volume {shape}, {torch.cuda.get_device_name() if device == 'cuda' else 'CPU, one thread'}, float32")
    print(
        "| network | attention | forward | and backward | memory | slices | constancy |\n|---|---|---|---|---|---|---|"
    )
    for name in chosen.networks:
        compare(name, shape, chosen.rounds, device)


if __name__ == "__main__":
    main()
