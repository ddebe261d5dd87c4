"""One small run as a program of its own, so that it can be killed, starved and signalled."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

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
    """Start a function of this file in a process of its own."""
    code = SOURCE.format(folder=str(Path(__file__).parent), function=function)
    return subprocess.Popen(
        [sys.executable, "-c", code, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process: subprocess.Popen[str], timeout: float = 300) -> tuple[int, str, str]:
    """Exit code, what it printed, what it complained."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def command(*words: str) -> None:
    """The command line."""
    from dimlift.cli.app import app

    app(list(words))


def train_and_kill(config: str, folder: str, kills: int, seed: int) -> None:
    """Train once in peace into folder/whole, then kill at random moments, starting again each time.

    A run that ends before it is killed is followed by one into a new folder; the last is left to end. The imports are
    paid once: every run is a fork of a process that has made them.
    """
    from dimlift.studies.load_config import load_config
    from dimlift.studies.run_config import TrainConfig
    from dimlift.studies.train import train

    read, chance, killed, number = load_config(config, [], TrainConfig), random.Random(seed), 0, 0

    def run(name: str, patience: float | None) -> int:
        child = os.fork()
        if child == 0:
            train(read, Path(folder) / name)
            os._exit(0)
        if patience is not None:
            time.sleep(patience)
            os.kill(child, signal.SIGKILL)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    began = time.perf_counter()
    codes = [run("whole", None)]
    lasts = time.perf_counter() - began
    while killed < kills:
        code = run(f"killed-{number}", chance.uniform(0, lasts))
        killed += code == -signal.SIGKILL
        number += code == 0
        codes += [code] if code != -signal.SIGKILL else []
    codes.append(run(f"killed-{number}", None))
    print(json.dumps(codes))


def segment_within(extra_mb: int, shape: list[int]) -> None:
    """Segment noise into 20 classes with `extra_mb` of further address space, in tiles and whole; print how it went."""
    import resource

    import torch

    from dimlift.inference.sliding_window import labels_of, segment

    network = torch.nn.Conv3d(1, 20, 1).eval()
    image, window = torch.zeros(1, *shape).normal_(generator=torch.Generator().manual_seed(0)), (16, 16, 16)
    labels_of(segment(network, image[:, :16, :16, :32], window=window), (16, 16, 32))  # libraries are loaded now
    from monai.inferers.utils import sliding_window_inference

    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + extra_mb * 2**20, resource.RLIM_INFINITY))
    went = ["tiles", labels_of(segment(network, image, window=window), shape).shape]
    try:
        with torch.no_grad():
            sliding_window_inference(image[None], window, 2, network, overlap=0.5, mode="gaussian")[0].argmax(0)
    except (RuntimeError, MemoryError):
        went.append("in one: refused")
    print(json.dumps(went))


def peaks(shapes: list[list[int]]) -> None:
    """Print the largest resident memory, beyond image and labels, of segmenting noise of each shape."""
    import torch

    from dimlift.inference.sliding_window import labels_of, segment
    from dimlift.training.memory import PeakMemory, resident_bytes

    network, found = torch.nn.Conv3d(1, 20, 1).eval(), []
    for shape in [shapes[0], *shapes]:  # the first one loads libraries
        image = torch.randn(1, *shape)
        before, peak = resident_bytes(), PeakMemory()
        labels = labels_of(segment(network, image, window=(16, 16, 16)), shape)
        found.append(peak.bytes() - before - labels.nbytes)
    print(json.dumps(found[1:]))


def train_within(extra_mb: int) -> None:
    """Train on a patch that does not fit into `extra_mb` of further address space; print what it is told."""
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
    """Predict, and print the estimate and the largest resident memory this process ever had."""
    from dimlift.inference.predict_files import predict
    from dimlift.training.memory import bytes_of

    told = []
    predict(run, [image], output, lambda event: told.append(event.message), max_memory=bytes_of(limit))
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"told": [message for message in told if message], "peak": int(peak.split()[1]) * 1024}))
