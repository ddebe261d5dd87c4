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
from dimlift.lifting.sources.torchvision_operators import ensure_torchvision_imports
ensure_torchvision_imports()
import torch
torch.set_num_threads(1)
sys.path.insert(0, {folder!r})
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
    from dimlift.experiments.config import TrainConfig
    from dimlift.experiments.config_file import load_config
    from dimlift.experiments.train import train

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
