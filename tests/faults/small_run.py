"""A small run as a separate program, which can be killed, signalled and limited in memory."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SOURCE = """
import json, sys
from dimlift.backbones.torchvision_ops import ensure_torchvision_imports
ensure_torchvision_imports()
import torch
torch.set_num_threads(1)
sys.path[:0] = [{folder!r}, {folder!r} + "/.."]
import small_run
small_run.{function}(*json.loads(sys.argv[1]))
"""


def begin(function: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a function of this file in its own process."""
    code = SOURCE.format(folder=str(Path(__file__).parent), function=function)
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str], timeout: float = 300) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def command(*words: str) -> None:
    """Run the command line."""
    from dimlift.cli.app import app

    app(list(words))


def train_and_kill(config: str, folder: str, kills: int, seed: int) -> None:
    """Train without interruption into folder/complete, then kill runs at random moments and restart them.

    A run that ends before it is killed is followed by one in a new folder; the last one is not killed. Every run is a
    fork of this process, so that modules are imported only once.
    """
    from dimlift.studies.load_config import load_config
    from dimlift.studies.run_config import TrainConfig
    from dimlift.studies.train import train

    read, rng, killed, number = load_config(config, [], TrainConfig), random.Random(seed), 0, 0

    def run(name: str, kill_after: float | None) -> int:
        child = os.fork()
        if child == 0:
            train(read, Path(folder) / name)
            os._exit(0)
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    start = time.perf_counter()
    codes = [run("complete", None)]
    duration = time.perf_counter() - start
    while killed < kills:
        code = run(f"killed-{number}", rng.uniform(0, duration))
        killed += code == -signal.SIGKILL
        number += code == 0
        codes += [code] if code != -signal.SIGKILL else []
    codes.append(run(f"killed-{number}", None))
    print(json.dumps(codes))


def segment_within(extra_mb: int, shape: list[int]) -> None:
    """Segment noise into 20 classes with `extra_mb` of additional address space, in tiles and at full size."""
    import resource

    import torch

    from dimlift.inference.sliding_window import labels_of_tiles, segment_volume

    network = _pointwise()
    image, window = torch.zeros(1, *shape).normal_(generator=torch.Generator().manual_seed(0)), (16, 16, 16)
    labels_of_tiles(segment_volume(network, image[:, :16, :16, :32], window=window), (16, 16, 32))  # loads libraries
    from monai.inferers.utils import sliding_window_inference

    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + extra_mb * 2**20, resource.RLIM_INFINITY))
    results = ["tiles", labels_of_tiles(segment_volume(network, image, window=window), shape).shape]
    try:
        with torch.no_grad():
            sliding_window_inference(image[None], window, 2, network, overlap=0.5, mode="gaussian")[0].argmax(0)
    except (RuntimeError, MemoryError):
        results.append("full size: out of memory")
    print(json.dumps(results))


def _pointwise() -> Any:
    """Return a method of one convolution, 20 classes."""
    import torch

    from dimlift.methods.method import Method

    class Pointwise(Method):
        def __init__(self) -> None:
            super().__init__()
            self.model = torch.nn.Conv3d(1, 20, 1)

        def forward(self, image: Any, features: Any = None) -> Any:
            return self.model(image)

    return Pointwise().eval()


def peaks(shapes: list[list[int]]) -> None:
    """Print the peak memory, without image and labels, of segmenting noise of each shape."""
    import torch

    from dimlift.inference.sliding_window import labels_of_tiles, segment_volume
    from dimlift.training.memory import PeakMemory, resident_bytes

    network, found = _pointwise(), []
    for shape in [shapes[0], *shapes]:  # the first one loads libraries
        image = torch.randn(1, *shape)
        before, peak = resident_bytes(), PeakMemory()
        labels = labels_of_tiles(segment_volume(network, image, window=(16, 16, 16)), shape)
        found.append(peak.bytes() - before - labels.nbytes)
    print(json.dumps(found[1:]))


def train_within(extra_mb: int) -> None:
    """Train on a patch that does not fit into `extra_mb` of additional address space, and print the error."""
    import resource

    import torch

    from dimlift.batch import VolumeBatch
    from dimlift.config.sections import BudgetSection, TrainingSection
    from dimlift.errors import RunError
    from dimlift.training.fit import fit
    from small_method import SmallMethod, batch_at

    def large(step: int) -> VolumeBatch:
        return VolumeBatch(torch.zeros(2, 1, 64, 96, 128), torch.zeros(2, 64, 96, 128, dtype=torch.long), ("a", "b"))

    settings = {"training": TrainingSection(device="cpu"), "seed": 0}
    fit(SmallMethod(), batch_at, budget=BudgetSection(steps=1), **settings)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + extra_mb * 2**20, resource.RLIM_INFINITY))
    try:
        fit(SmallMethod(), large, budget=BudgetSection(steps=1), **settings)
    except RunError as fault:
        print(json.dumps(str(fault)))


def predict_and_measure(run: str, image: str, output: str, limit: str) -> None:
    """Predict, and print the estimate and the peak memory of this process."""
    from dimlift.inference.predict_files import predict
    from dimlift.training.memory import parse_bytes

    messages = []
    predict(run, [image], output, lambda event: messages.append(event.message), max_memory=parse_bytes(limit))
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"messages": [message for message in messages if message], "peak": int(peak.split()[1]) * 1024}))
