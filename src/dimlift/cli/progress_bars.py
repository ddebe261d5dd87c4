"""Progress bars of a run: what goes on now, its loss, the time left. Finished parts stay as one line each."""

from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TaskProgressColumn, TextColumn

from dimlift.cli.console import err
from dimlift.progress import Event

_DOING = {
    "check": "checking files",
    "read": "reading volumes",
    "features": "computing 2D features",
    "train": "training",
    "validate": "validating",
    "predict": "predicting",
}


class Bars:
    """Hears the events of a run and draws them on a terminal; in a log file only the lines that stay.

    Use as a context manager and pass as `progress=`.
    """

    def __init__(self, console: Console = err) -> None:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            TextColumn("{task.fields[loss]}"),
            TextColumn("{task.fields[left]}", style="cyan"),
            console=console,
            transient=True,
        )
        self._whole: TaskID | None = None
        self._part: TaskID | None = None
        self._loss = ""

    def __enter__(self) -> "Bars":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def __call__(self, event: Event) -> None:
        """Draw one event."""
        who = f"{event.arm} " if event.arm and event.cells > 1 else ""
        where = f"[{event.cell}/{event.cells}] " if event.cells > 1 else ""
        if event.cells > 1:
            self._draw_whole(event)
        if event.loss is not None:
            self._loss = f"loss {event.loss:.3f}"
        if event.message:
            style = "red" if event.stage == "failed" else "default"
            self._bars.console.print(f"{where}{who}{event.message}", style=style, markup=False, soft_wrap=True)
        if event.stage in _DOING:
            self._draw_part(f"{who}{_DOING[event.stage]}", event)
        elif event.stage == "done" and not event.message:
            self._bars.console.print(f"{where}{who}done {self._loss}".rstrip(), markup=False)
            self._loss = ""

    def _draw_whole(self, event: Event) -> None:
        if self._whole is None:
            self._whole = self._bars.add_task("", total=event.cells, loss="", left="")
        finished = event.cell if event.stage in ("done", "skip", "failed") else event.cell - 1
        share = event.share if event.stage == "train" else 0.0
        self._bars.update(
            self._whole, completed=finished + share, description=f"[bold]run {event.cell} of {event.cells}[/bold]"
        )

    def _draw_part(self, what: str, event: Event) -> None:
        if self._part is None:
            self._part = self._bars.add_task("", total=1.0, loss="", left="")
        left = "" if event.seconds_left is None else f"{_clock(event.seconds_left)} left"
        loss = self._loss if event.stage == "train" else ""
        self._bars.update(self._part, completed=event.share, description=escape(what), loss=loss, left=left)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
