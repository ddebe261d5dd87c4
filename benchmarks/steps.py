"""Time of a training step of every method by part: data handling, networks, loss and optimizer.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/steps.py
    OMP_NUM_THREADS=1 python benchmarks/steps.py --only unet,frozen_features --steps 12 --lines

Uses small generated data, and patches and batches of a size for a CPU. One warm-up step is followed by the measured
steps, in CPU seconds of one thread. dimlift's training loop is instrumented: making a batch counts as data handling,
running modules as networks. A frozen network that is called with gradients enabled stops the benchmark. `--lines` adds
the ratio of dimlift's lines executed per step with four times the data to those with small data: more than 1 indicates
a Python loop over voxels, pixels or points.
"""

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

import dimlift
from dimlift.methods.teachers.frozen_module import FrozenModule
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain import pretrain
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.run_config import TrainConfig
from dimlift.studies.self_training.config import SelfTrainingConfig
from dimlift.studies.self_training.run import self_train
from dimlift.studies.train import train
from dimlift.training import fit
from step_methods import METHODS, BenchmarkData, generate, run_options

COLUMNS = ["method", "ms per step", "data", "networks", "of which frozen", "loss", "optimizer", "not data"]
GOAL = 0.85
"""Minimum fraction of a step that is not data handling."""
EXTRA_BATCHES = 6
"""Additional batches made per step, for the mean time of a batch."""
PACKAGE = str(Path(dimlift.__file__).parent)


class StepTimer:
    """CPU seconds of each training step by part.

    Attributes:
        steps: seconds per step of "data", "backward", "frozen", "networks" (forward, without frozen ones), "loss" (the
            part of the forward pass outside modules) and "optimizer".
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self._now: dict[str, float] = {}
        self._depth, self._start, self._frozen = 0, 0.0, False
        self._frozen_ids: set[int] = set()

    @contextmanager
    def active(self) -> Iterator[None]:
        """Time every training loop inside the context."""
        init, prefetch_batches, training_step = FrozenModule.__init__, fit.prefetch_batches, fit.training_step

        def freeze(holder: FrozenModule, network: torch.nn.Module) -> None:
            init(holder, network)
            self._frozen_ids.update(map(id, network.modules()))

        @contextmanager
        def timed_prefetch(*arguments: Any) -> Iterator[Any]:
            with prefetch_batches(*arguments) as next_batch:

                def timed(step: int) -> Any:
                    start = time.process_time()
                    batch = next_batch(step)
                    for extra in range(EXTRA_BATCHES if step else 0):  # only some batches are rotated or deformed
                        next_batch(1000 * step + extra)
                    seconds = (time.process_time() - start) / (1 + EXTRA_BATCHES if step else 1)
                    self._now = dict.fromkeys(("backward", "frozen", "networks"), 0.0) | {"data": seconds}
                    return batch

                yield timed

        def timed_step(fabric: Any, *arguments: Any) -> float:
            start = time.process_time()
            timed_fabric = _TimedFabric(fabric, self._now)
            value = training_step(timed_fabric, *arguments)
            end, now = time.process_time(), self._now
            forward = timed_fabric.backward_start - start
            now["loss"] = forward - now["networks"] - now["frozen"]
            now["optimizer"] = end - start - forward - now["backward"]
            self.steps.append(now)
            return value

        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(FrozenModule, "__init__", freeze))
            stack.enter_context(mock.patch.object(fit, "prefetch_batches", timed_prefetch))
            stack.enter_context(mock.patch.object(fit, "training_step", timed_step))
            for handle in (
                register_module_forward_pre_hook(self._enter),
                register_module_forward_hook(self._leave, always_call=True),
            ):
                stack.callback(handle.remove)
            yield

    def _enter(self, module: torch.nn.Module, _inputs: Any) -> None:
        """Time the outermost module; a frozen one must not be called with gradients enabled.

        A student that shares its teacher's first and last layer has trainable weights between them.
        """
        if self._depth == 0:
            self._frozen = id(module) in self._frozen_ids and not any(p.requires_grad for p in module.parameters())
            if self._frozen and torch.is_grad_enabled():
                raise SystemExit(f"a frozen {type(module).__name__} is called with gradients enabled")
            self._start = time.process_time()
        self._depth += 1

    def _leave(self, _module: torch.nn.Module, _inputs: Any, _output: Any) -> None:
        self._depth -= 1
        if self._depth == 0 and "data" in self._now:
            part = "frozen" if self._frozen else "networks"
            self._now[part] += time.process_time() - self._start


class _TimedFabric:
    """Fabric with a timed backward pass."""

    def __init__(self, fabric: Any, now: dict[str, float]) -> None:
        self._fabric, self._now, self.backward_start = fabric, now, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fabric, name)

    def backward(self, loss: torch.Tensor) -> None:
        self.backward_start = time.process_time()
        self._fabric.backward(loss)
        self._now["backward"] = time.process_time() - self.backward_start


def main() -> None:
    """Time every method, then print the table."""
    options = arguments()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    columns = [*COLUMNS, "lines, data x 4"] if options.lines else COLUMNS
    print(f"| {' | '.join(columns)} |\n| --- |{' --: |' * (len(columns) - 1)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        data = generate(home / "data")
        for number, name in enumerate(options.only.split(",") if options.only else METHODS):
            timer = StepTimer()
            with timer.active():
                run(name, data, 1 + options.steps, home / f"run-{number}")
            cells = row(name, timer.steps[1:])
            if options.lines:
                small, large = (
                    lines(name, generate(home / f"{number}-{i}", i), home / f"lines-{number}-{i}") for i in (1, 2)
                )
                cells.append(f"{large / small:.2f} x")
            print(f"| {' | '.join(cells)} |", flush=True)


def arguments() -> argparse.Namespace:
    """Return the command line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="methods, separated by commas; all by default")
    parser.add_argument("--steps", type=int, default=5, help="number of measured steps")
    parser.add_argument("--lines", action="store_true", help="also count executed lines with small and with large data")
    return parser.parse_args()


def run(name: str, data: BenchmarkData, steps: int, out: Path) -> None:
    """Train a method as the command line does."""
    raw = run_options(name, data, steps)
    if "pretraining" in raw:
        pretrain(parse(raw, PretrainConfig), out)
    elif "labelled" in raw:
        self_train(parse(raw, SelfTrainingConfig), out)
    else:
        train(parse(raw, TrainConfig), out)


def lines(name: str, data: BenchmarkData, out: Path) -> int:
    """Return the number of lines of dimlift that the second step of a run executes."""
    count, active = 0, False
    prefetch_batches, training_step = fit.prefetch_batches, fit.training_step

    def trace_lines(frame: Any, event: str, _value: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace_lines

    def trace_calls(frame: Any, _event: str, _value: Any) -> Any:
        return trace_lines if active and frame.f_code.co_filename.startswith(PACKAGE) else None

    @contextmanager
    def tracing_prefetch(*arguments: Any) -> Iterator[Any]:
        with prefetch_batches(*arguments) as next_batch:

            def traced(number: int) -> Any:
                nonlocal active
                active = number == 1
                return next_batch(number)

            yield traced

    def traced_step(*arguments: Any) -> float:
        nonlocal active
        value = training_step(*arguments)
        active = False
        return value

    with (
        mock.patch.object(fit, "prefetch_batches", tracing_prefetch),
        mock.patch.object(fit, "training_step", traced_step),
    ):
        before = sys.gettrace()
        sys.settrace(trace_calls)
        try:
            run(name, data, 2, out)
        finally:
            sys.settrace(before)
    return count


def row(name: str, steps: list[dict[str, float]]) -> list[str]:
    """Return a row of the table, with means over the steps."""
    parts = {part: sum(step[part] for step in steps) / len(steps) for part in steps[0]}
    total = sum(parts.values())
    networks = parts["networks"] + parts["frozen"] + parts["backward"]
    fractions = [parts["data"], networks, parts["frozen"], parts["loss"], parts["optimizer"]]
    rest = f"{100 * (1 - parts['data'] / total):.0f} %"
    rest = rest if parts["data"] <= (1 - GOAL) * total else f"**{rest}**"
    return [name, f"{1000 * total:.0f}", *(f"{100 * part / total:.0f} %" for part in fractions), rest]


if __name__ == "__main__":
    main()
