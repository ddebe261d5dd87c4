"""Read every file of the corpus in a process of its own; print message, time and memory.

python tests/hostile/measure.py
"""

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from corpus import CORPUS, marker

os.environ.setdefault("OMP_NUM_THREADS", "1")

CPU_SECONDS, MORE_MEMORY = 60, 6 << 30
"""Limits for files that are not rejected."""


class Outcome(NamedTuple):
    """Result of reading one file.

    Attributes:
        errors: names of the error's classes, its own first; empty if the file was read.
        executed: whether code of the file ran.
        seconds: processor time.
        mebibytes: largest memory beyond that of a process that reads nothing.
        left: files next to the file afterwards.
    """

    errors: list[str]
    message: str
    executed: bool
    seconds: float
    mebibytes: float
    left: list[str]


def readers() -> dict[str, Callable[[Path], object]]:
    """Return the readers by their names in `corpus`."""
    import torch

    from dimlift.backbones.load_checkpoint import load_weights
    from dimlift.data.datasets.open_dataset import open_dataset
    from dimlift.data.io.images import read_rgb
    from dimlift.data.io.point_cloud import read_point_cloud
    from dimlift.data.io.readers import read_volume
    from dimlift.inference.predictor import Predictor
    from dimlift.records.record import RunRecord
    from dimlift.records.study import Study
    from dimlift.studies.load_config import load_config
    from dimlift.studies.run_config import TrainConfig

    torch.set_num_threads(1)
    return {
        "volume": read_volume,
        "dataset": open_dataset,
        "config": lambda path: load_config(path, [], TrainConfig),
        "weights": lambda path: load_weights(torch.nn.Linear(2, 1), path),
        "run": Predictor.load,
        "record": RunRecord.load,
        "study": Study.load,
        "cloud": read_point_cloud,
        "image": read_rgb,
    }


def measure(names: list[str], folder: Path) -> dict[str, Outcome]:
    """Write and read each file in a subfolder of `folder`."""
    read = readers()
    _, idle, _ = _in_child(lambda: None)
    outcomes = {}
    for number, name in enumerate(names):
        own = folder / str(number)
        own.mkdir()
        path = CORPUS[name].make(own)
        result, peak, seconds = _in_child(lambda path=path, name=name: read[CORPUS[name].reader](path))
        beside = sorted(entry.name for entry in own.iterdir() if entry != path and not path.is_relative_to(entry))
        executed = any(folder.rglob(marker(own).name)) or marker(folder.parent).exists()
        outcomes[name] = Outcome(result[0], result[1], executed, seconds, max(0.0, (peak - idle) / 1024), beside)
    return outcomes


def _in_child(work: Callable[[], object]) -> tuple[tuple[list[str], str], int, float]:
    """Run `work` in a fork; return error classes and message, peak memory in KiB and CPU seconds."""
    end, start = os.pipe()
    child = os.fork()
    if not child:
        os.close(end)
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + MORE_MEMORY,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS,) * 2)
        result: tuple[list[str], str] = ([], "")
        try:
            work()
        except BaseException as fault:
            result = ([kind.__name__ for kind in type(fault).__mro__], str(fault))
        with os.fdopen(start, "w", encoding="utf-8", errors="backslashreplace") as pipe:
            json.dump(result, pipe)
        os._exit(0)
    os.close(start)
    with os.fdopen(end, encoding="utf-8") as pipe:
        text = pipe.read()
    _, _, used = os.wait4(child, 0)
    errors, message = json.loads(text) if text else (["Killed"], "the process did not survive")
    return (errors, message), used.ru_maxrss, used.ru_utime + used.ru_stime


def main() -> None:
    """Print a table, or with a file name write the outcomes as JSON."""
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        inner = Path(scratch) / "corpus"
        inner.mkdir()
        outcomes = measure(list(CORPUS), inner)
        took = time.perf_counter() - began
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps({name: one._asdict() for name, one in outcomes.items()}))
        return
    for name, one in sorted(outcomes.items(), key=lambda item: -item[1].mebibytes):
        verdict = "rejected" if "DimliftError" in one.errors else f"NOT REJECTED ({one.errors[:1]})"
        print(f"{one.seconds:6.2f} s {one.mebibytes:7.1f} MiB  {verdict}  {name}: {one.message[:90]!r}")
    slowest, largest = (max(getattr(one, field) for one in outcomes.values()) for field in ("seconds", "mebibytes"))
    print(f"{len(outcomes)} files: at most {slowest:.2f} s and {largest:.0f} MiB each; {took:.0f} s including writing")


if __name__ == "__main__":
    main()
