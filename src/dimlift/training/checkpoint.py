"""Checkpoints: tensors as safetensors, the rest as JSON, both written atomically.

`step-00000500.safetensors` is written first, then `step-00000500.json` with its checksum and a checksum of its own. A
checkpoint exists once its JSON does, so a run killed at any moment leaves complete checkpoints only.
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
from dimlift.file_digest import file_sha256
from dimlift.records.atomic_write import atomic_write
from dimlift.records.record import write_json
from dimlift.training.fsdp import full_tensor, shard_like
from dimlift.training.optimizer import ModelEMA

SCHEMA = 2
KEEP = 2
"""Number of checkpoints kept: the newest, and the one before it in case the newest is corrupt."""


@dataclass
class TrainingState:
    """State of training besides tensors.

    Attributes:
        step: optimizer steps taken.
        seconds: training time so far, `seconds_before` included.
        seconds_before: training time used before the first step (feature extraction).
        history: logged points so far.
        losses: losses since the last logged point.
        notes: sentences for the run record.
        best_step: step with the best validation score, -1 before any; its checkpoint is kept.
        best_score: that score; higher is better.
    """

    step: int = 0
    seconds: float = 0.0
    seconds_before: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    best_step: int = -1
    best_score: float = 0.0


def save_checkpoint(
    folder: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: ModelEMA | None,
    state: TrainingState,
    is_main: bool = True,
) -> Path:
    """Write a checkpoint, and delete all others but the last two and the best.

    Args:
        folder: folder of the checkpoints.
        module: the trained module.
        optimizer: its optimizer.
        average: its moving average.
        state: the rest of the state.
        is_main: whether this process writes; with a sharded network the others only take part in gathering.

    Raises:
        RunError: if the disk is full; older checkpoints are kept.
    """
    path = folder / f"step-{state.step:08d}.safetensors"
    tensors: dict[str, Tensor] = {}
    for name, value in _collect(module, optimizer, average).items():
        value = full_tensor(value)
        if is_main:
            tensors[name] = _to_cpu(value)
    if not is_main:
        return path
    folder.mkdir(parents=True, exist_ok=True)
    tensors["random"] = torch.get_rng_state()
    try:
        _require_space(folder, sum(value.nbytes for value in tensors.values()))
        with atomic_write(path) as scratch:
            save_file(tensors, scratch)
            digest = file_sha256(scratch)
        fields = {"schema": SCHEMA, "sha256": digest, **asdict(state)}
        write_json(path.with_suffix(".json"), {**fields, "own_sha256": _fields_digest(fields)})
    except (OSError, SafetensorError) as fault:
        if not path.with_suffix(".json").exists():
            path.unlink(missing_ok=True)  # tensors without JSON are not a checkpoint
        raise RunError(
            f"the checkpoint of step {state.step} cannot be written to {folder}: {fault}; free some space there and "
            "start the same command again, it resumes from the checkpoint before"
        ) from fault
    for old in _checkpoints(folder)[KEEP:]:
        if old.stem != f"step-{state.best_step:08d}":
            old.unlink()  # the JSON first: without it the tensors are not a checkpoint
            old.with_suffix(".safetensors").unlink(missing_ok=True)
    return path


def load_checkpoint(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, average: ModelEMA | None
) -> TrainingState:
    """Load the newest intact checkpoint into module, optimizer and average.

    Returns:
        The rest of the state (step 0 if there is no checkpoint), with a note for each corrupt checkpoint.

    Raises:
        RunError: if a checkpoint is intact but belongs to another network.
    """
    corrupt: list[str] = []
    for path in _checkpoints(folder):
        try:
            fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if fields.pop("own_sha256") != _fields_digest(fields) or fields.pop("schema") != SCHEMA:
                raise ValueError("its JSON was modified")
            if fields.pop("sha256") != file_sha256(path.with_suffix(".safetensors")):
                raise ValueError("its checksum is wrong")
            tensors = load_file(path.with_suffix(".safetensors"))
            state = TrainingState(**fields)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as fault:
            corrupt.append(f"checkpoint {path.stem} is corrupt ({fault})")
            continue
        torch.set_rng_state(tensors.pop("random"))
        _restore(tensors, module, optimizer, average, path)
        state.notes += [f"{note}; resumed from step {state.step}" for note in corrupt]
        return state
    return TrainingState(notes=[f"{note}; restarted from step 0" for note in corrupt])


def _checkpoints(folder: Path) -> list[Path]:
    """Return the JSON of every checkpoint, newest first."""
    return sorted(folder.glob("step-*.json"), reverse=True)


def _collect(module: nn.Module, optimizer: torch.optim.Optimizer, average: ModelEMA | None) -> dict[str, Tensor]:
    tensors = {f"model/{name}": value for name, value in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{name}/{key}"] = value
    if average is not None:
        tensors |= {f"average/{name}": value for name, value in average.shadow.items()}
    return tensors


def _restore(
    tensors: dict[str, Tensor],
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: ModelEMA | None,
    path: Path,
) -> None:
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "average": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    current = module.state_dict()
    parts["model"] = {name: shard_like(value, current.get(name, value)) for name, value in parts["model"].items()}
    try:
        module.load_state_dict(parts["model"])
    except RuntimeError as fault:
        raise RunError(f"{path} belongs to another network: {fault}; train into another folder") from fault
    parameters = dict(module.named_parameters())
    for name, value in parts["optimizer"].items():
        parameter_name, _, key = name.rpartition("/")
        parameter = parameters[parameter_name]
        # Moments have the memory format of their parameter; the step counter stays on the CPU, as in AdamW.
        like = parameter if value.shape == parameter.shape and key != "step" else value
        optimizer.state[parameter][key] = torch.empty_like(like).copy_(shard_like(value, like)).detach()
    if average is not None:
        for name, value in parts["average"].items():
            average.shadow[name].copy_(shard_like(value, average.shadow[name]))


def _to_cpu(value: Tensor) -> Tensor:
    return value.detach().to("cpu").clone(memory_format=torch.contiguous_format)


def _fields_digest(fields: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _require_space(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(f"it needs {size / 1e6:.1f} MB, {free / 1e6:.1f} MB are free")
