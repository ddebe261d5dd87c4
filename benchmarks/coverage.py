"""Lift every network of timm and record for which of them the laws hold.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/coverage.py [--out runs/coverage.jsonl] [--minutes 60]

Writes one line of JSON per network, smallest networks first, and resumes from an existing file. Each network runs in a
separate process with limits on CPU time and memory. `--again failed` repeats the networks that did not hold, `--names`
selects networks; every run ends by writing docs/coverage.md.

Weights are random: `FastRandomInit` fills them from one block of noise, because sampling a billion numbers takes longer
than checking the laws. Law 1 is checked with centre inflation, law 2 with average inflation; outputs are compared slice
by slice before any head (`slice_pool="none"`), in float32. If the error exceeds 1e-4 the check is repeated in float64,
which separates an incorrect lift from rounding.
"""

import argparse
import gc
import json
import multiprocessing
import resource
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

import dimlift
from dimlift import DepthPlan
from dimlift.backbones.factory import create_backbone
from dimlift.backbones.torchvision_ops import ensure_torchvision_imports
from dimlift.errors import LiftError
from dimlift.lifting.lifted_module import LiftedModule

SIDES = (32, 28, 64, 56, 128, 224, None)
"""Image sizes to try where a network has a fixed one; None keeps its default."""

LARGE = 1_500_000_000
REDUCED = ({"depth": 4}, {"depths": (1, 1, 1, 1)}, {"layers": (1, 1, 1, 1)})
"""Arguments that reduce a network of more than LARGE parameters; the first that it accepts is used."""

PLANS = {
    "slices": DepthPlan(kernel=3, inflation="centre", slice_pool="none"),
    "constancy": DepthPlan(kernel=3, inflation="average", slice_pool="none"),
}


class FastRandomInit(TorchFunctionMode):
    """Mode in which random tensors are consecutive parts of a fixed ring buffer of noise."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.uniform = torch.rand(
            1_000_003, generator=generator
        )  # a prime length, so that rows and layers do not repeat
        self.normal = torch.randn(1_000_003, generator=generator)
        self.cursor = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.normal_:
            return self._fill(args[0], self.normal, *_arguments(args, kwargs, mean=0.0, std=1.0))
        if func is torch.Tensor.uniform_:
            low, high = _arguments(args, kwargs, **{"from": 0.0, "to": 1.0})
            return self._fill(args[0], self.uniform, low, high - low)
        if func is torch.Tensor.erfinv_:  # the slow part of truncated normals; uniform numbers suffice
            return args[0]
        return func(*args, **kwargs)

    def _fill(self, tensor: torch.Tensor, ring: torch.Tensor, shift: float, scale: float) -> torch.Tensor:
        if tensor.is_meta or not tensor.is_contiguous():
            return tensor if tensor.is_meta else tensor.copy_(self._fill(torch.empty(tensor.shape), ring, shift, scale))
        remaining = tensor.data.view(-1)
        while len(remaining):
            part = remaining[: len(ring) - self.cursor]
            part.copy_(ring[self.cursor : self.cursor + len(part)]).mul_(scale).add_(shift)
            self.cursor = (self.cursor + len(part)) % len(ring)
            remaining = remaining[len(part) :]
        return tensor


FAILURE_NOTES = (
    "No law can be measured where rounding grows without bound, as in deep networks with random weights; the lift",
    "reports this and the sensitivity. Rows that name a gate of an EfficientNetV2 predate this distinction.",
)


def _arguments(args: tuple[Any, ...], kwargs: dict[str, Any], **defaults: float) -> tuple[float, ...]:
    names = list(defaults)
    found = {**defaults, **dict(zip(names, args[1:], strict=False)), **{k: v for k, v in kwargs.items() if k in names}}
    return tuple(float(found[name]) for name in names)


def count_parameters(names: list[str], cache: Path) -> dict[str, int]:
    """Return the number of parameters of each network, built on the meta device; cached in a file."""
    import timm

    known: dict[str, int] = json.loads(cache.read_text()) if cache.is_file() else {}
    fresh = [name for name in names if name not in known]
    for name in fresh:
        try:
            with FastRandomInit(), torch.device("meta"):
                known[name] = sum(p.numel() for p in timm.create_model(name).parameters())
        except Exception:  # some sample numbers at construction, which needs a real device
            with FastRandomInit():
                known[name] = sum(p.numel() for p in timm.create_model(name).parameters())
    if fresh:
        cache.parent.mkdir(parents=True, exist_ok=True)
        cache.write_text(json.dumps(known))
    return known


class NotMeasurableError(Exception):
    """The outputs do not depend on the image, or no more than on rounding."""


def check_laws(name: str, parameters: int) -> dict[str, Any]:
    """Lift one network at the first size that it accepts, and return the result."""
    reasons = []
    for options in REDUCED if parameters > LARGE else ({},):
        for side in SIDES:
            try:
                found = _law_errors(_lift_by_name(name, side, options))
            except LiftError as error:
                if "law of" not in str(error):
                    reasons.append(str(error))
                    continue
                found = _in_float64(name, side, options) | {"float32": str(error)}
            except NotMeasurableError as error:
                found = _in_float64(name, side, options) | {"float32": f"not measurable: {error}"}
            except Exception as error:
                reasons.append(f"{type(error).__name__}: {error}")
                continue
            return {"status": "holds", "dtype": "float32", **found, "options": options}
    return {"status": "fails", "reason": reasons[-1]}


def _lift_by_name(name: str, side: int | None, options: dict[str, Any]) -> Callable[[DepthPlan], LiftedModule]:
    def lift(plan: DepthPlan) -> LiftedModule:
        with FastRandomInit():
            return dimlift.lift(f"timm:{name}", plan, image_size=side, **options)

    return lift


def _law_errors(lift: Callable[[DepthPlan], LiftedModule]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for law, plan in PLANS.items():
        certificate = lift(plan).certificate
        assert certificate is not None
        claim = next(claim for claim in certificate.claims if claim.law == law)
        if not claim.claimed or claim.error is None:
            raise NotMeasurableError(claim.reason)
        found |= {law: claim.error, "side": certificate.volume[-1], "mixing": len(certificate.layers)}
    return found


def _in_float64(name: str, side: int | None, options: dict[str, Any]) -> dict[str, Any]:
    """Check both laws in float64, where rounding is negligible."""
    found: dict[str, Any] = {"dtype": "float64"}
    try:
        with FastRandomInit():
            network, _ = create_backbone(f"timm:{name}", image_size=side, **options)
        network = network.double()
        return found | _law_errors(lambda plan: dimlift.lift(network, plan))
    except Exception as error:
        return found | {"status": "fails", "reason": f"{type(error).__name__}: {error}"}


def _child(name: str, parameters: int, memory: int, seconds: int, pipe: Any) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    pipe.send(check_laws(name, parameters))


def check_in_subprocess(name: str, parameters: int, gigabytes: float, seconds: int) -> dict[str, Any]:
    """Return the result of `check_laws` in a separate process with limits."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(name, parameters, int(gigabytes * 2**30), seconds, sender))
    child.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        child.join()
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = {
            "status": "not run",
            "reason": f"ended by signal {-(child.exitcode or 0)} ({usage.ru_maxrss >> 20} GB)",
        }
        if child.exitcode in (-24, -9):
            found["reason"] = f"takes more than {seconds} s of CPU time"
    child.join()
    return found


def load_results(out: Path) -> dict[str, dict[str, Any]]:
    """Return the last line of each network."""
    if not out.is_file():
        return {}
    lines = (json.loads(line) for line in out.read_text(encoding="utf-8").splitlines() if line.strip())
    return {line["name"]: line for line in lines}


def page(lines: dict[str, dict[str, Any]], files: dict[str, str], sizes: dict[str, int], version: str) -> str:
    """Return the text of docs/coverage.md for the recorded results."""
    holds = [line for line in lines.values() if line["status"] == "holds"]
    fails = [line for line in lines.values() if line["status"] == "fails"]
    stopped = [line for line in lines.values() if line["status"] == "not run"]
    double = [line for line in holds if line["dtype"] == "float64"]
    rounding = [line for line in double if not line["float32"].startswith("not measurable")]
    without_mixing = [line for line in holds if not line["mixing"]]
    reduced = [line for line in holds if line["options"]]
    single = [max(line["slices"], line["constancy"]) for line in holds if line["dtype"] == "float32"]
    tried = len(holds) + len(fails)
    text = [
        "# Which networks of timm can be lifted",
        "",
        wrap(
            f"`dimlift.lift` on all names of `timm.list_models()` ({len(files)} in timm {version}), random weights, "
            "the smallest image size of each, volumes of three slices. Law 1: with centre inflation every slice's "
            "output equals the 2D network's. Law 2: with average inflation the same holds on a repeated slice. Outputs "
            'are compared slice by slice (`slice_pool="none"`), attention stays within slices.'
        ),
        "",
        "| | networks |",
        "|---|--:|",
        f"| in timm | {len(files)} |",
        f"| tried | {tried} |",
        f"| both laws hold | {len(holds)} ({100 * len(holds) / max(tried, 1):.1f} % of those tried) |",
        f"| cannot be lifted, or a law does not hold | {len(fails)} |",
        f"| started, but ended by a limit of time or memory | {len(stopped)} |",
        f"| not run yet | {len(files) - len(lines)} |",
        "",
        wrap(
            f"{len(single)} networks hold in float32 (tolerance 1e-4, largest error {max(single, default=0):.1e}). "
            f"{len(double)} were checked in float64 (1e-9): in {len(double) - len(rounding)} the output of the random "
            f"network depends too little on the image for float32, in {len(rounding)} float32 rounding alone exceeds "
            f"1e-4. {len(without_mixing)} have no convolution that mixes along depth and were checked slice by slice "
            "only. "
            f"{len(reduced)} of more than {LARGE / 1e9} billion parameters ran at reduced depth. Networks run from the "
            "smallest to the largest."
        ),
        "",
        "```",
        "OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/coverage.py",
        "```",
        "",
        wrap(
            "resumes from `runs/coverage.jsonl` and writes this page. `make test` checks both laws in float64 for the "
            "smallest fast architecture of every model file, `make test-all` for all."
        ),
        "",
    ]
    if fails or stopped:
        text += ["## Failures", "", "| network | reason |", "|---|---|"]
        text += [f"| {line['name']} | {_cell(line['reason'])} |" for line in [*fails, *stopped]] + [""]
        text += [*FAILURE_NOTES, ""]
    text += [
        "## By model file",
        "",
        "| model file | networks | hold | do not | ended by a limit | not run yet | largest that holds, in millions |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for file in sorted(set(files.values())):
        names = [name for name in files if files[name] == file]
        counts = [sum(line["file"] == file for line in group) for group in (holds, fails, stopped)]
        largest = max((sizes[line["name"]] for line in holds if line["file"] == file), default=0)
        numbers = [len(names), *counts, len(names) - sum(counts)]
        text.append(f"| {file} | {' | '.join(map(str, numbers))} | {largest / 1e6:.1f} |")
    return "\n".join(text) + "\n"


def wrap(text: str) -> str:
    """Return a paragraph wrapped at 120 characters."""
    return textwrap.fill(text, 120, break_on_hyphens=False)


def _cell(reason: str) -> str:
    return " ".join(reason.split()).replace("|", "/")[:170].rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/coverage.jsonl"))
    parser.add_argument("--page", type=Path, default=Path("docs/coverage.md"))
    parser.add_argument("--names", nargs="*", help="only these networks")
    parser.add_argument("--smallest", action="store_true", help="only the smallest architecture of each model file")
    parser.add_argument("--again", choices=("failed", "all"), help="repeat these networks")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no further network after this time")
    parser.add_argument("--seconds", type=int, default=150, help="CPU seconds per network")
    parser.add_argument("--gigabytes", type=float, default=14, help="memory per network")
    options = parser.parse_args()

    ensure_torchvision_imports()
    import timm
    from timm.models import model_entrypoint

    torch.set_num_threads(1)
    names = timm.list_models()
    files = {name: model_entrypoint(name).__module__.rpartition(".")[2] for name in names}
    sizes = count_parameters(names, options.out.with_suffix(".sizes.json"))
    order = sorted(names, key=lambda name: (sizes[name], name))
    if options.smallest:
        first = {files[name]: name for name in reversed(order)}
        order = [name for name in order if first[files[name]] == name]
    if options.names:
        order = [name for name in order if name in options.names]
    done = load_results(options.out)
    if options.again:
        done = {name: line for name, line in done.items() if options.again == "failed" and line["status"] == "holds"}
    check_laws("test_resnet", 0)  # imports all modules before the first fork
    gc.collect()
    gc.freeze()
    deadline = time.monotonic() + 60 * options.minutes
    for name in order:
        if name in done or time.monotonic() > deadline:
            continue
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = check_in_subprocess(name, sizes[name], options.gigabytes, options.seconds)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 1)
        line = {"name": name, "file": files[name], "parameters": sizes[name], "seconds": seconds, **found}
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        print(json.dumps(line), flush=True)
    lines = {name: line for name, line in load_results(options.out).items() if name in files}
    options.page.write_text(page(lines, files, sizes, timm.__version__), encoding="utf-8")


if __name__ == "__main__":
    main()
