"""Training state on disk: tensors as safetensors, the rest as JSON beside them, each written in one piece.

A checkpoint is two files. `step-00000500.safetensors` is written first, `step-00000500.json`, which holds its checksum
and one of its own, after it: a checkpoint exists once its JSON does, so a run killed at any moment leaves whole
checkpoints only.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dimlift.errors import RunError
from dimlift.records.atomic_write import written_whole
from dimlift.records.record import write_json
from dimlift.training.fsdp import part_like, whole
from dimlift.training.optimizer import MovingAverage

SCHEMA = 2
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
        notes: sentences for the record.
        best_step: the step validation liked best, -1 before any; its checkpoint is kept, too.
        best: what validation found there, larger is better.
    """

    step: int = 0
    seconds: float = 0.0
    spent: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    window: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    best_step: int = -1
    best: float = 0.0


def save_checkpoint(
    folder: Path,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: MovingAverage | None,
    counters: Counters,
    writes: bool = True,
) -> Path:
    """Write the whole training state, and forget all checkpoints but the last two and the best.

    Args:
        writes: whether this process does; of a network in shares the others only hand in their parts.

    Raises:
        RunError: if the disk does not take it; older checkpoints are untouched.
    """
    path = folder / f"step-{counters.step:08d}.safetensors"
    tensors: dict[str, Tensor] = {}
    for name, value in _collect(module, optimiser, average).items():
        value = whole(value)
        if writes:
            tensors[name] = _plain(value)
    if not writes:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    tensors["random"] = torch.get_rng_state()
    try:
        _require_space(folder, sum(value.nbytes for value in tensors.values()))
        with written_whole(path) as scratch:
            save_file(tensors, scratch)
            digest = _digest(scratch)
        fields = {"schema": SCHEMA, "sha256": digest, **asdict(counters)}
        write_json(path.with_suffix(".json"), {**fields, "own_sha256": _digest_of(fields)})
    except (OSError, SafetensorError) as fault:
        if not path.with_suffix(".json").exists():
            path.unlink(missing_ok=True)  # tensors nobody vouches for only fill the disk
        raise RunError(
            f"the checkpoint of step {counters.step} cannot be written to {folder}: {fault}; "
            "free some space there and start the same command again, it goes on from the checkpoint before"
        ) from fault
    for old in _found(folder)[KEPT:]:
        if old.stem != f"step-{counters.best_step:08d}":
            old.unlink()  # the JSON first: without it the tensors are no checkpoint
            old.with_suffix(".safetensors").unlink(missing_ok=True)
    return path


def load_checkpoint(
    folder: Path, module: nn.Module, optimiser: torch.optim.Optimizer, average: MovingAverage | None
) -> Counters:
    """Bring the newest whole checkpoint back, in place.

    Returns:
        where training stood (step 0 if there is no checkpoint), with a note for each damaged one passed over.

    Raises:
        RunError: if a checkpoint is whole but of another network.
    """
    damaged: list[str] = []
    for path in _found(folder):
        try:
            fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if fields.pop("own_sha256") != _digest_of(fields) or fields.pop("schema") != SCHEMA:
                raise ValueError("its JSON is not what was written")
            if fields.pop("sha256") != _digest(path.with_suffix(".safetensors")):
                raise ValueError("its checksum is wrong")
            tensors = load_file(path.with_suffix(".safetensors"))
            counters = Counters(**fields)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as fault:
            damaged.append(f"checkpoint {path.stem} is damaged ({fault})")
            continue
        torch.set_rng_state(tensors.pop("random"))
        _restore(tensors, module, optimiser, average, path)
        counters.notes += [f"{fault}; went on from step {counters.step}" for fault in damaged]
        return counters
    return Counters(notes=[f"{fault}; began again from step 0" for fault in damaged])


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
    mine = module.state_dict()
    parts["model"] = {name: part_like(value, mine.get(name, value)) for name, value in parts["model"].items()}
    try:
        module.load_state_dict(parts["model"])
    except RuntimeError as fault:
        raise RunError(f"{path} is of another network: {fault}; train into another folder") from fault
    parameters = dict(module.named_parameters())
    for name, value in parts["optimiser"].items():
        parameter_name, _, key = name.rpartition("/")
        parameter = parameters[parameter_name]
        # Moments take the memory format of their parameter; the step counter stays on the CPU, where AdamW keeps it.
        like = parameter if value.shape == parameter.shape and key != "step" else value
        optimiser.state[parameter][key] = torch.empty_like(like).copy_(part_like(value, like)).detach()
    if average is not None:
        for name, value in parts["average"].items():
            average.shadow[name].copy_(part_like(value, average.shadow[name]))


def _plain(value: Tensor) -> Tensor:
    return value.detach().to("cpu").clone(memory_format=torch.contiguous_format)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _digest_of(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _require_space(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise OSError(f"it takes {wanted / 1e6:.1f} MB, {free / 1e6:.1f} MB are free")
