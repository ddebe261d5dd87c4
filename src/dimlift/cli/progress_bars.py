"""Progress bars of a run: current stage, loss and remaining time. A finished stage leaves one line."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn

from dimlift.cli.console import err
from dimlift.progress import Event
from dimlift.records.printable_text import printable

_STAGES = {
    "check": "checking files",
    "read": "reading data",
    "features": "computing 2D features",
    "train": "training",
    "validate": "validating",
    "predict": "predicting",
}


class ProgressBars:
    """Progress callback that draws bars on a terminal; a log file gets the permanent lines only.

    Use as a context manager and pass as `progress=`.
    """

    def __init__(self, console: Console = err) -> None:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[loss]}", markup=False),
            TextColumn("{task.fields[left]}", style="cyan", markup=False),
            console=console,
            transient=True,
        )
        self._study_bar: TaskID | None = None
        self._stage_bar: TaskID | None = None
        self._loss = ""

    def __enter__(self) -> "ProgressBars":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Display one event."""
        arm = f"{event.arm} " if event.arm and event.num_runs > 1 else ""
        position = f"[{event.run_index}/{event.num_runs}] " if event.num_runs > 1 else ""
        if event.num_runs > 1:
            self._update_study(event)
        if event.loss is not None:
            self._loss = f"loss {event.loss:.3f}"
        if event.message:
            style = "red" if event.stage == "failed" else "default"
            self._bars.console.print(f"{position}{arm}{event.message}", style=style, markup=False, soft_wrap=True)
        if event.stage in _STAGES:
            self._update_stage(f"{printable(arm)}{_STAGES[event.stage]}", event)  # escaped, so that its width is known
        elif event.stage == "done" and not event.message:
            self._bars.console.print(f"{position}{arm}done {self._loss}".rstrip(), markup=False)
            self._loss = ""

    def _update_study(self, event: Event) -> None:
        if self._study_bar is None:
            self._study_bar = self._bars.add_task("", total=event.num_runs, loss="", left="")
        finished = event.run_index if event.stage in ("done", "skip", "failed") else event.run_index - 1
        fraction = event.fraction if event.stage == "train" else 0.0
        description = f"run {event.run_index} of {event.num_runs}"
        self._bars.update(self._study_bar, completed=finished + fraction, description=description)

    def _update_stage(self, description: str, event: Event) -> None:
        if self._stage_bar is None:
            self._stage_bar = self._bars.add_task("", total=1.0, loss="", left="")
        left = "" if event.seconds_left is None else f"{_format_clock(event.seconds_left)} left"
        loss = self._loss if event.stage == "train" else ""
        self._bars.update(self._stage_bar, completed=event.fraction, description=description, loss=loss, left=left)


def _format_clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
