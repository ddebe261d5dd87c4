"""The one training loop: any method, a budget in steps or seconds, resumable, and the same every time.

What step n does is a function of (seed, n): its batch, and the random numbers the network draws (dropout), because the
generator is seeded anew at every step. Resuming therefore needs no memory of what was drawn before.
"""

import copy
import hashlib
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from dimlift.batch import Batch, on_device
from dimlift.config.sections import BudgetSection, TrainingSection
from dimlift.errors import RunError, Stopped
from dimlift.progress import Event, Progress, silent
from dimlift.training.checkpoint import Counters, load_checkpoint, save_checkpoint
from dimlift.training.distributed import Team
from dimlift.training.fabric import fabric_for, laid_out
from dimlift.training.fsdp import gathered, is_sharded
from dimlift.training.optimizer import MovingAverage, adamw, rate_share, set_rate
from dimlift.training.prefetch import prefetched
from dimlift.training.reproducibility import determinism
from dimlift.training.signals import asked_to_stop, noted
from dimlift.training.step import take_step

POINTS = 100
"""Logged points of a run."""


@dataclass
class Fit:
    """What training came to.

    Attributes:
        seconds: training time, what was spent before the first step included.
        history: {"step", "seconds", "loss"} at about a hundred points, and what validation found.
        notes: sentences for the record, for example a damaged checkpoint that was passed over.
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
    spent: float = 0.0,
    checkpoints: Path | None = None,
    validate: Callable[[nn.Module], dict[str, float]] | None = None,
    cases_at: Callable[[int], Sequence[str]] | None = None,
    progress: Progress = silent,
    together: Team = Team(),  # noqa: B008 - it never changes
) -> Fit:
    """Train a method in place until its budget is spent.

    Args:
        method: has `loss(batch)`, `parameter_groups(rate)` and `set_progress(share)`.
        batch_at: the batch of a step; a function of the step alone.
        spent: seconds of the budget that are gone already (feature extraction).
        checkpoints: folder to resume from and to save to; none are written without it.
        validate: called each time `training.validate_every` of the budget has passed; its answers go into the history.
        cases_at: names of the cases of a step, for messages about batches that were never made.
        together: the processes that train this method, each with its share of every batch; process 0 writes.

    Raises:
        RunError: at the first loss or gradient that is not finite, when memory runs out, when a worker fails.
        Stopped: after the step in which the process was asked to stop, its state saved.
    """
    fabric = fabric_for(training, together)
    laid_out(method, training, together)
    own = method
    if is_sharded(training, together):
        together.align(method)  # every process cuts its part out of its own
        own = copy.deepcopy(method)  # the method stays whole, to predict with
    module = fabric.setup_module(own)
    module.mark_forward_method("loss")
    optimiser = adamw(own.parameter_groups(training.rate), training.weight_decay)  # type: ignore[operator]
    stepper = fabric.setup_optimizers(optimiser)
    average = MovingAverage(own, training.ema) if training.ema else None
    spent = together.gather(spent)[0][0]
    counters = Counters(seconds=spent, spent=spent)
    with torch.random.fork_rng(), noted(), determinism(training.deterministic), ExitStack() as stack:
        if checkpoints is not None:
            resumed = load_checkpoint(checkpoints, own, optimiser, average)
            for note in resumed.notes:
                progress(Event("train", arm, message=note))
            counters = resumed if resumed.step else replace(counters, notes=resumed.notes)
            _require_one_start(counters.step, together, checkpoints)
        clock = _Clock(budget, counters)
        own.train()

        def save() -> None:
            if checkpoints is not None and (together.leads or own is not method):
                save_checkpoint(checkpoints, own, optimiser, average, counters, together.leads)

        next_batch = stack.enter_context(prefetched(batch_at, counters.step, training.workers, cases_at))
        while (share := clock.share()) < 1:
            began = time.perf_counter()
            torch.manual_seed(step_seed(seed, counters.step, together.rank))
            own.set_progress(share)  # type: ignore[operator]
            set_rate(optimiser, rate_share(share, training.warm_up, training.final_rate), share)
            batch = on_device(next_batch(counters.step), fabric.device)
            loss = take_step(fabric, module, stepper, batch, training, counters.step, checkpoints, together)
            counters.step += 1
            if average is not None:
                average.update(own, counters.step)
            counters.window.append(loss)
            now = counters.seconds + time.perf_counter() - began
            due = clock.checkpoint_due(training.checkpoint_every)
            told = together.gather(now, float(due), float(bool(asked_to_stop())))
            counters.seconds, due, stops = told[0][0], bool(told[0][1]), any(stop for *_, stop in told)
            clock.log(share, arm, progress)
            is_best = False
            if validate is not None and clock.passed(share, training.validate_every):
                with average.applied(own) if average else nullcontext():
                    is_best = _note_scores(counters, validate(gathered(method, own, fabric.device, together)))
                own.train()
            if is_best or due or stops:
                save()
            if stops:
                raise _stopped(counters.step)
        save()
    if average is not None:
        own.load_state_dict(average.shadow)
    gathered(method, own, fabric.device, together)
    return Fit(counters.step, counters.seconds, counters.history, counters.notes)


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """A seed for one step of one process that no other (seed, step, rank) shares."""
    named = f"{seed}/{step}" + (f"/{rank}" if rank else "")
    return int.from_bytes(hashlib.sha256(named.encode()).digest()[:7], "big")


class _Clock:
    """How much of the budget is spent, and what is due."""

    def __init__(self, budget: BudgetSection, counters: Counters) -> None:
        self.budget, self.counters = budget, counters
        self.checkpointed = self.told = time.perf_counter()
        if budget.seconds is not None and counters.spent >= budget.seconds:
            raise RunError(
                f"feature extraction took {counters.spent:.0f} s, the whole budget of {budget.seconds:g} s; "
                "raise budget.seconds or choose a smaller network"
            )

    def share(self) -> float:
        """Share of the budget that is spent; what was spent before the first step shifts the start."""
        if self.budget.seconds is None:
            return self.counters.step / (self.budget.steps or 1)
        return (self.counters.seconds - self.counters.spent) / (self.budget.seconds - self.counters.spent)

    def passed(self, before: float, every: float) -> bool:
        """Whether the step that began at `before` passed a multiple of `every`."""
        return every > 0 and math.floor(min(self.share(), 1) / every + 1e-9) > math.floor(before / every + 1e-9)

    def log(self, before: float, arm: str, progress: Progress) -> None:
        """Add a point to the history about every hundredth of the budget; tell about ten times a second."""
        window, share = self.counters.window, min(self.share(), 1.0)
        loss = sum(window) / len(window)
        now = time.perf_counter()
        if now - self.told > 0.1 or share >= 1:
            self.told = now
            worked = self.counters.seconds - self.counters.spent
            progress(Event("train", arm, share, self.counters.step, loss, worked * (1 - share) / share))
        if self.passed(before, 1 / POINTS) or share >= 1:
            self.counters.history.append(_point(self.counters))
            window.clear()

    def checkpoint_due(self, every: float) -> bool:
        """Whether `every` seconds have passed since the last checkpoint."""
        now = time.perf_counter()
        if now - self.checkpointed < every:
            return False
        self.checkpointed = now
        return True


def _stopped(step: int) -> Stopped:
    name = asked_to_stop() or "a signal to another process of the run"
    return Stopped(f"stopped by {name} after step {step}; start the same command again, it goes on from there")


def _require_one_start(step: int, together: Team, checkpoints: Path) -> None:
    """Raises: RunError, if the processes of a run found different checkpoints."""
    steps = [int(found) for (found,) in together.gather(step)]
    if len(set(steps)) > 1:
        raise RunError(
            f"the processes of this run found checkpoints of different steps ({steps}) in {checkpoints}; "
            "put --out where all machines see it"
        )


def _note_scores(counters: Counters, scores: dict[str, float]) -> bool:
    """Put what validation found into the history; whether it is the best so far, by its first score."""
    if not counters.history or counters.history[-1]["step"] != counters.step:
        counters.history.append(_point(counters))
    counters.history[-1].update(scores)
    if not scores:
        return False
    metric, value = next(iter(scores.items()))
    goodness = -value if metric.endswith("error") else value
    if counters.best_step >= 0 and goodness <= counters.best:
        return False
    counters.best_step, counters.best = counters.step, goodness
    return True


def _point(counters: Counters) -> dict[str, float]:
    window = counters.window
    loss = sum(window) / len(window) if window else counters.history[-1]["loss"]
    return {"step": counters.step, "seconds": round(counters.seconds, 3), "loss": loss}
