"""The training loop: any method, a budget in steps or seconds, resumable and reproducible.

Step n is a function of (seed, n): its batch, and the random numbers of the network (dropout), because the generator is
reseeded at every step. Resuming therefore needs no generator state.
"""

import copy
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from dimlift.batch import Batch, on_device
from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.errors import RunError, RunInterrupted
from dimlift.progress import Event, Progress, no_progress
from dimlift.training.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from dimlift.training.distributed import ProcessGroup
from dimlift.training.fabric import make_fabric, set_memory_format
from dimlift.training.fsdp import gather_method, is_sharded
from dimlift.training.gradient_check import check_bf16_gradients
from dimlift.training.optimizer import ModelEMA, lr_factor, make_adamw, set_lr
from dimlift.training.prefetch import prefetch_batches
from dimlift.training.reproducibility import deterministic_mode
from dimlift.training.signals import defer_signals, pending_signal
from dimlift.training.step import training_step

NUM_POINTS = 100
"""Approximate number of logged points per run."""


class TrainableModule(Protocol):
    """What the loop calls on a module; `dimlift.methods.method.Method` implements it."""

    def loss(self, batch: Any) -> Tensor:
        """Return the loss of a batch, a scalar."""
        ...

    def param_groups(self, lr: float) -> list[dict[str, Any]]:
        """Return the parameter groups of the optimizer."""
        ...

    def on_progress(self, progress: float) -> None:
        """Handle the start of a step at a used fraction of the budget."""
        ...


@dataclass
class FitResult:
    """Result of training.

    Attributes:
        steps: optimizer steps taken.
        seconds: training time, including `seconds_before`.
        history: {"step", "seconds", "loss"} at about a hundred points, and validation scores.
        notes: sentences for the run record, for example about a corrupt checkpoint.
    """

    steps: int
    seconds: float
    history: list[dict[str, float]]
    notes: list[str] = field(default_factory=list)


def fit(
    method: nn.Module,
    batch_at: Callable[[int], Batch],
    *,
    budget: BudgetSection,
    training: TrainingSection,
    seed: int,
    arm: str = "",
    seconds_before: float = 0.0,
    checkpoints: Path | None = None,
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    cases_at: Callable[[int], Sequence[str]] | None = None,
    progress: Progress = no_progress,
    group: ProcessGroup = ProcessGroup(),  # noqa: B008 - immutable
) -> FitResult:
    """Train a method in place until its budget is used.

    Args:
        method: a `TrainableModule`, trained in place.
        batch_at: makes the batch of a step; a function of the step alone.
        budget: number of steps or seconds.
        training: settings of the loop.
        seed: together with the step the only source of randomness.
        arm: name of the arm in progress events.
        seconds_before: seconds of the budget that are used already (feature extraction).
        checkpoints: folder to resume from and save to; without it no checkpoints are written.
        validate: called after each `training.val_interval` of the budget; its scores enter the history.
        cases_at: returns the case names of a step, for messages about batches that were never made.
        progress: progress callback.
        group: the processes of the run, each with its part of every batch; rank 0 writes.

    Raises:
        RunError: for a non-finite loss or gradient, if memory runs out, or if a worker fails.
        RunInterrupted: after the step in which a signal was received, with the state saved.
    """
    fabric = make_fabric(training, group)
    set_memory_format(method, training, group)
    trained = method
    if is_sharded(training, group):
        group.broadcast_state(method)  # every process shards its own copy
        trained = copy.deepcopy(method)  # the method stays complete, for prediction
    hooks = cast(TrainableModule, trained)
    module = fabric.setup_module(trained)
    module.mark_forward_method("loss")
    optimizer = make_adamw(hooks.param_groups(training.lr), training.weight_decay)
    fabric_optimizer = fabric.setup_optimizers(optimizer)
    average = ModelEMA(trained, training.ema_decay) if training.ema_decay else None
    seconds_before = group.gather(seconds_before)[0][0]
    state = TrainingState(seconds=seconds_before, seconds_before=seconds_before)
    with torch.random.fork_rng(), defer_signals(), deterministic_mode(training.deterministic), ExitStack() as stack:
        if checkpoints is not None:
            resumed = load_checkpoint(checkpoints, trained, optimizer, average)
            for note in resumed.notes:
                progress(Event("train", arm, message=note))
            state = resumed if resumed.step else replace(state, notes=resumed.notes)
            _require_same_step(state.step, group, checkpoints)
        clock = _Clock(budget, state)
        trained.train()

        def save() -> None:
            if checkpoints is not None and (group.is_main or trained is not method):
                save_checkpoint(checkpoints, trained, optimizer, average, state, group.is_main)

        next_batch = stack.enter_context(prefetch_batches(batch_at, state.step, training.num_workers, cases_at))
        while (fraction := clock.fraction()) < 1:
            start = time.perf_counter()
            torch.manual_seed(step_seed(seed, state.step, group.rank))
            hooks.on_progress(fraction)
            set_lr(optimizer, lr_factor(fraction, training.warmup_fraction, training.min_lr_fraction), fraction)
            batch = on_device(next_batch(state.step), fabric.device)
            if not state.step and training.precision == "bf16" and trained is method:
                check_bf16_gradients(method, batch, seed)
            loss = training_step(fabric, module, fabric_optimizer, batch, training, state.step, checkpoints, group)
            state.step += 1
            if average is not None:
                average.update(trained, state.step)
            state.losses.append(loss)
            seconds = state.seconds + time.perf_counter() - start
            due = clock.checkpoint_due(training.checkpoint_every)
            gathered = group.gather(seconds, float(due), float(bool(pending_signal())))
            state.seconds, due, stop = gathered[0][0], bool(gathered[0][1]), any(flag for *_, flag in gathered)
            clock.log(fraction, arm, progress)
            is_best = False
            if validate is not None and clock.passed(fraction, training.val_interval):
                with average.applied(trained) if average else nullcontext():
                    is_best = _add_scores(state, validate(gather_method(method, trained, fabric.device, group)))
                trained.train()
            if is_best or due or stop:
                save()
            if stop:
                raise _interrupted(state.step)
        save()
    if average is not None:
        trained.load_state_dict(average.shadow)
    gather_method(method, trained, fabric.device, group)
    return FitResult(state.step, state.seconds, state.history, state.notes)


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Return a seed that is unique to (seed, step, rank)."""
    text = f"{seed}/{step}" + (f"/{rank}" if rank else "")
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


class _Clock:
    """Used fraction of the budget, and what is due."""

    def __init__(self, budget: BudgetSection, state: TrainingState) -> None:
        self.budget, self.state = budget, state
        self.checkpointed = self.reported = time.perf_counter()
        if budget.seconds is not None and state.seconds_before >= budget.seconds:
            raise RunError(
                f"feature extraction took {state.seconds_before:.0f} s, the whole budget of {budget.seconds:g} s; "
                "raise budget.seconds or choose a smaller network"
            )

    def fraction(self) -> float:
        """Return the used fraction of the budget, not counting the seconds before the first step."""
        if self.budget.seconds is None:
            return self.state.step / (self.budget.steps or 1)
        before = self.state.seconds_before
        return (self.state.seconds - before) / (self.budget.seconds - before)

    def passed(self, before: float, interval: float) -> bool:
        """Return whether the step that began at fraction `before` passed a multiple of `interval`."""
        return interval > 0 and math.floor(min(self.fraction(), 1) / interval + 1e-9) > math.floor(
            before / interval + 1e-9
        )

    def log(self, before: float, arm: str, progress: Progress) -> None:
        """Add a point to the history for each hundredth of the budget; report about ten times a second."""
        losses, fraction = self.state.losses, min(self.fraction(), 1.0)
        loss = sum(losses) / len(losses)
        now = time.perf_counter()
        if now - self.reported > 0.1 or fraction >= 1:
            self.reported = now
            elapsed = self.state.seconds - self.state.seconds_before
            progress(Event("train", arm, fraction, self.state.step, loss, elapsed * (1 - fraction) / fraction))
        if self.passed(before, 1 / NUM_POINTS) or fraction >= 1:
            self.state.history.append(_point(self.state))
            losses.clear()

    def checkpoint_due(self, interval: float) -> bool:
        """Return whether `interval` seconds have passed since the last checkpoint."""
        now = time.perf_counter()
        if now - self.checkpointed < interval:
            return False
        self.checkpointed = now
        return True


def _interrupted(step: int) -> RunInterrupted:
    name = pending_signal()
    source = name or "a signal to another process of the run"
    message = f"stopped by {source} after step {step}; start the same command again to resume from there"
    return RunInterrupted(message, name)


def _require_same_step(step: int, group: ProcessGroup, checkpoints: Path) -> None:
    """Check that all processes of a run found the same checkpoint."""
    steps = [int(value) for (value,) in group.gather(step)]
    if len(set(steps)) > 1:
        raise RunError(
            f"the processes of this run found checkpoints of different steps ({steps}) in {checkpoints}; set --out to "
            "a folder that all machines share"
        )


def _add_scores(state: TrainingState, scores: dict[str, float]) -> bool:
    """Add validation scores to the history; return whether the first of them is the best so far."""
    if not state.history or state.history[-1]["step"] != state.step:
        state.history.append(_point(state))
    state.history[-1].update(scores)
    if not scores:
        return False
    metric, value = next(iter(scores.items()))
    score = -value if metric.endswith("error") else value
    if state.best_step >= 0 and score <= state.best_score:
        return False
    state.best_step, state.best_score = state.step, score
    return True


def _point(state: TrainingState) -> dict[str, float]:
    losses = state.losses
    loss = sum(losses) / len(losses) if losses else state.history[-1]["loss"]
    return {"step": state.step, "seconds": round(state.seconds, 3), "loss": loss}
