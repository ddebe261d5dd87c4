"""Training state on disk: tensors as safetensors, the rest as JSON beside them, each written in one piece.

A checkpoint is two files. `step-00000500.safetensors` is written first, `step-00000500.json`, which holds its checksum,
after it: a checkpoint exists once its JSON does, so a run killed at any moment leaves whole checkpoints only.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dimlift.errors import RunError
from dimlift.experiments.optimiser import MovingAverage
from dimlift.records.record import write_json

SCHEMA = 1
KEPT = 2
"""The newest and the one before it, should the newest turn out to be damaged."""


@dataclass
class Counters:
    """Where training stands, apart from tensors.

    Attributes:
        step: optimiser steps taken.
        seconds: training time so far, `spent` included.
        spent: training time that had passed before the first step (feature extraction).
        history: logged points so far.
        window: losses since the last logged point.
    """

    step: int = 0
    seconds: float = 0.0
    spent: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    window: list[float] = field(default_factory=list)


def save_checkpoint(
    folder: Path, module: nn.Module, optimiser: torch.optim.Optimizer, average: MovingAverage | None, counters: Counters
) -> Path:
    """Write the whole training state and forget all but the last two checkpoints.

    Raises:
        RunError: if the disk does not take it; older checkpoints are untouched.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: _plain(value) for name, value in _collect(module, optimiser, average).items()}
    tensors["random"] = torch.get_rng_state()
    path = folder / f"step-{counters.step:08d}.safetensors"
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(tensors, scratch)
        _flush(scratch)
        digest = _digest(scratch)
        os.replace(scratch, path)
        write_json(path.with_suffix(".json"), {"schema": SCHEMA, "sha256": digest, **asdict(counters)})
        _flush(folder)
    except (OSError, SafetensorError) as fault:
        scratch.unlink(missing_ok=True)
        raise RunError(
            f"the checkpoint of step {counters.step} cannot be written to {folder}: {fault}; "
            "free some space there and start the same command again, it goes on from the checkpoint before"
        ) from fault
    for old in _found(folder)[KEPT:]:
        old.unlink()  # the JSON first: without it the tensors are no checkpoint
        old.with_suffix(".safetensors").unlink(missing_ok=True)
    return path


def load_checkpoint(
    folder: Path, module: nn.Module, optimiser: torch.optim.Optimizer, average: MovingAverage | None
) -> tuple[Counters, list[str]]:
    """Bring the newest whole checkpoint back, in place.

    Returns:
        where training stood (step 0 if there is no checkpoint), and a sentence for each damaged one passed over.

    Raises:
        RunError: if a checkpoint is whole but of another network.
    """
    notes: list[str] = []
    for path in _found(folder):
        try:
            fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if fields.pop("schema") != SCHEMA or fields.pop("sha256") != _digest(path.with_suffix(".safetensors")):
                raise ValueError("its checksum is wrong")
            tensors = load_file(path.with_suffix(".safetensors"))
            counters = Counters(**fields)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as fault:
            notes.append(f"checkpoint {path.stem} is damaged ({fault}); going on from the one before")
            continue
        torch.set_rng_state(tensors.pop("random"))
        _restore(tensors, module, optimiser, average, path)
        return counters, notes
    return Counters(), notes


def _found(folder: Path) -> list[Path]:
    """The JSON of every checkpoint, newest first."""
    return sorted(folder.glob("step-*.json"), reverse=True)


def _collect(module: nn.Module, optimiser: torch.optim.Optimizer, average: MovingAverage | None) -> dict[str, Tensor]:
    tensors = {f"model/{name}": value for name, value in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser/{name}/{key}"] = value
    if average is not None:
        tensors |= {f"average/{name}": value for name, value in average.shadow.items()}
    return tensors


def _restore(
    tensors: dict[str, Tensor],
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: MovingAverage | None,
    path: Path,
) -> None:
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimiser": {}, "average": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    try:
        module.load_state_dict(parts["model"])
    except RuntimeError as fault:
        raise RunError(f"{path} is of another network: {fault}; train into another folder") from fault
    parameters = dict(module.named_parameters())
    for name, value in parts["optimiser"].items():
        parameter_name, _, key = name.rpartition("/")
        parameter = parameters[parameter_name]
        # Moments take the memory format of their parameter; the step counter stays on the CPU, where AdamW keeps it.
        mine = (
            torch.empty_like(parameter) if value.shape == parameter.shape and key != "step" else torch.empty_like(value)
        )
        optimiser.state[parameter][key] = mine.copy_(value).detach()
    if average is not None:
        for name, value in parts["average"].items():
            average.shadow[name].copy_(value)


def _plain(value: Tensor) -> Tensor:
    return value.detach().to("cpu").clone(memory_format=torch.contiguous_format)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Have a file, or the names in a folder, reach the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
