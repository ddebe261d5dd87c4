"""Where the time of a training step goes: data handling, networks, optimiser; every method by the loop that trains it.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/steps.py
    OMP_NUM_THREADS=1 python benchmarks/steps.py --only unet,frozen_features --steps 12 --lines

Small generated data, patches and batches of the size a processor trains with; one warm-up step, then a few that count,
in processor seconds of one thread. The loop is the package's own, watched from outside: what it asks for a batch is
data handling, modules at work are networks. A frozen network that is asked with a gradient stops the benchmark.
`--lines` adds the lines of dimlift that a step executes with four times the data, of those with small data: more than
1 would tell of a Python loop over voxels, pixels or points.
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
from step_methods import METHODS, BenchmarkData, configuration, generate

COLUMNS = ["method", "ms a step", "data", "networks", "of it frozen", "loss", "optimiser", "not data"]
GOAL = 0.85
"""Share of a step that is not data handling."""
DRAWS = 6
"""Batches drawn beside that of a step, to know the mean of what they take."""
HOME = str(Path(dimlift.__file__).parent)


class Watch:
    """What the training loop does, in processor seconds of each step, by part.

    Attributes:
        steps: of each step the seconds of "data", "backward", "frozen", "networks" (forward, without the frozen ones),
            "loss" (of the forward pass what no module does) and "optimiser".
    """

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self._now: dict[str, float] = {}
        self._depth, self._began, self._frozen = 0, 0.0, False
        self._frozen_ids: set[int] = set()

    @contextmanager
    def on(self) -> Iterator[None]:
        """Watch every loop that runs inside."""
        made, prefetch_batches, training_step = FrozenModule.__init__, fit.prefetch_batches, fit.training_step

        def freeze(holder: FrozenModule, network: torch.nn.Module) -> None:
            made(holder, network)
            self._frozen_ids.update(map(id, network.modules()))

        @contextmanager
        def drawing(*arguments: Any) -> Iterator[Any]:
            with prefetch_batches(*arguments) as next_batch:

                def timed(step: int) -> Any:
                    began = time.process_time()
                    found = next_batch(step)
                    for more in range(DRAWS if step else 0):  # few batches are turned or bent: others count as well
                        next_batch(1000 * step + more)
                    seconds = (time.process_time() - began) / (1 + DRAWS if step else 1)
                    self._now = dict.fromkeys(("backward", "frozen", "networks"), 0.0) | {"data": seconds}
                    return found

                yield timed

        def stepping(fabric: Any, *arguments: Any) -> float:
            began = time.process_time()
            watched = _Watched(fabric, self._now)
            value = training_step(watched, *arguments)
            ended, now = time.process_time(), self._now
            forward = watched.began - began
            now["loss"] = forward - now["networks"] - now["frozen"]
            now["optimiser"] = ended - began - forward - now["backward"]
            self.steps.append(now)
            return value

        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(FrozenModule, "__init__", freeze))
            stack.enter_context(mock.patch.object(fit, "prefetched", drawing))
            stack.enter_context(mock.patch.object(fit, "take_step", stepping))
            for handle in (
                register_module_forward_pre_hook(self._enter),
                register_module_forward_hook(self._leave, always_call=True),
            ):
                stack.callback(handle.remove)
            yield

    def _enter(self, module: torch.nn.Module, _inputs: Any) -> None:
        """Time the outermost module; a frozen one must not be asked with a gradient.

        A student that answers through its teacher's first and last layer has weights that learn between them.
        """
        if self._depth == 0:
            self._frozen = id(module) in self._frozen_ids and not any(p.requires_grad for p in module.parameters())
            if self._frozen and torch.is_grad_enabled():
                raise SystemExit(f"a frozen {type(module).__name__} is asked with a gradient")
            self._began = time.process_time()
        self._depth += 1

    def _leave(self, _module: torch.nn.Module, _inputs: Any, _output: Any) -> None:
        self._depth -= 1
        if self._depth == 0 and "data" in self._now:
            part = "frozen" if self._frozen else "networks"
            self._now[part] += time.process_time() - self._began


class _Watched:
    """Fabric, whose backward pass is timed."""

    def __init__(self, fabric: Any, now: dict[str, float]) -> None:
        self._fabric, self._now, self.began = fabric, now, 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fabric, name)

    def backward(self, loss: torch.Tensor) -> None:
        self.began = time.process_time()
        self._fabric.backward(loss)
        self._now["backward"] = time.process_time() - self.began


def main() -> None:
    """Time every method, then print the table."""
    options = arguments()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    columns = [*COLUMNS, "lines, data x 4"] if options.lines else COLUMNS
    print(f"| {' | '.join(columns)} |\n| --- |{' --: |' * (len(columns) - 1)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        material = generate(home / "data")
        for number, name in enumerate(options.only.split(",") if options.only else METHODS):
            watch = Watch()
            with watch.on():
                run(name, material, 1 + options.steps, home / f"run-{number}")
            cells = row(name, watch.steps[1:])
            if options.lines:
                small, large = (
                    lines(name, generate(home / f"{number}-{i}", i), home / f"lines-{number}-{i}") for i in (1, 2)
                )
                cells.append(f"{large / small:.2f} x")
            print(f"| {' | '.join(cells)} |", flush=True)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="methods, separated by commas; all by default")
    parser.add_argument("--steps", type=int, default=5, help="steps that count")
    parser.add_argument("--lines", action="store_true", help="count the lines executed with small data and more of it")
    return parser.parse_args()


def run(name: str, material: BenchmarkData, steps: int, out: Path) -> None:
    """Train a method as the command would."""
    raw = configuration(name, material, steps)
    if "pretraining" in raw:
        pretrain(parse(raw, PretrainConfig), out)
    elif "labelled" in raw:
        self_train(parse(raw, SelfTrainingConfig), out)
    else:
        train(parse(raw, TrainConfig), out)


def lines(name: str, material: BenchmarkData, out: Path) -> int:
    """Lines of dimlift that the second step of a run executes."""
    count, inside = 0, False
    prefetch_batches, training_step = fit.prefetch_batches, fit.training_step

    def step(frame: Any, event: str, _value: Any) -> Any:
        nonlocal count
        count += event == "line"
        return step

    def enter(frame: Any, _event: str, _value: Any) -> Any:
        return step if inside and frame.f_code.co_filename.startswith(HOME) else None

    @contextmanager
    def drawing(*arguments: Any) -> Iterator[Any]:
        with prefetch_batches(*arguments) as next_batch:

            def drawn(number: int) -> Any:
                nonlocal inside
                inside = number == 1
                return next_batch(number)

            yield drawn

    def stepping(*arguments: Any) -> float:
        nonlocal inside
        value = training_step(*arguments)
        inside = False
        return value

    with mock.patch.object(fit, "prefetched", drawing), mock.patch.object(fit, "take_step", stepping):
        before = sys.gettrace()
        sys.settrace(enter)
        try:
            run(name, material, 2, out)
        finally:
            sys.settrace(before)
    return count


def row(name: str, steps: list[dict[str, float]]) -> list[str]:
    """A line of the table, of means over the steps."""
    parts = {part: sum(step[part] for step in steps) / len(steps) for part in steps[0]}
    whole = sum(parts.values())
    networks = parts["networks"] + parts["frozen"] + parts["backward"]
    shares = [parts["data"], networks, parts["frozen"], parts["loss"], parts["optimiser"]]
    rest = f"{100 * (1 - parts['data'] / whole):.0f} %"
    rest = rest if parts["data"] <= (1 - GOAL) * whole else f"**{rest}**"
    return [name, f"{1000 * whole:.0f}", *(f"{100 * part / whole:.0f} %" for part in shares), rest]


if __name__ == "__main__":
    main()
