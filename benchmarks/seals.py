"""Cost of SHA-256 when weights and cached features are read: with and without the check, alternating.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=passive python benchmarks/seals.py

A weights folder of 100 MB is read and copied into a network's tensors, and 100 MB of cached features are read. Files
are in the page cache, so storage costs nothing: on a disk the share of the check is smaller. Median of the rounds.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import torch

from dimlift.records.sealed_tensors import SEAL, read_sealed, write_sealed
from dimlift.records.weights import read_weights, write_weights

TENSORS, VALUES = 100, 250_000


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print milliseconds with and without the check."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    tensors = {f"t{index}": torch.randn(VALUES) for index in range(TENSORS)}
    targets = {name: torch.empty_like(tensor) for name, tensor in tensors.items()}
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_weights(Path(scratch) / "weights", tensors, {})
        entry = Path(scratch) / "entry.safetensors"
        write_sealed(entry, tensors, {})
        digest = read_weights(folder)[1]["weights_sha256"]

        def copy(found: dict[str, torch.Tensor]) -> None:
            for name, tensor in found.items():
                targets[name].copy_(tensor)

        def weights() -> None:
            copy(read_weights(folder)[0])

        def features() -> None:
            copy(read_sealed(entry)[0])

        unchecked = {
            "weights": ("dimlift.records.weights.file_sha256", lambda path: digest),
            "features": ("dimlift.records.sealed_tensors._digest", lambda key, tensors, facts: stated),
        }
        from safetensors import safe_open

        with safe_open(entry, "pt") as stored:
            stated = stored.metadata()[SEAL]
        for name, work in (("weights", weights), ("features", features)):
            checked, plain = [], []
            for _ in range(rounds):
                checked.append(seconds(work))
                with patch(*unchecked[name]):
                    plain.append(seconds(work))
            one, other = statistics.median(checked), statistics.median(plain)
            print(f"{name}: {1e3 * one:.0f} ms with the check, {1e3 * other:.0f} ms without ({one / other:.2f}x)")


if __name__ == "__main__":
    main()
