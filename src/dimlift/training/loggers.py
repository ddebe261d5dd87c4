"""Learning curves where people look at them: a listener of a run, which its training loop knows nothing of."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from dimlift.lookup import pick
from dimlift.progress import Event, Progress, silent
from dimlift.records.record import Record, Score
from dimlift.training.logger_backends import CURVES, Curve


class Curves:
    """Hears the events of a run or a study and keeps a curve of every run in each of several places.

    Use as a context manager and pass as `progress=`; hand it the record when the run is over.

    Args:
        kinds: names of `CURVES`.
        folder: gets a folder for each kind.
        then: hears every event as well.

    Raises:
        UnknownName: for a kind there is none of.
        RunError: if a kind needs an extra that is not installed.
    """

    def __init__(self, kinds: Sequence[str], folder: Path, then: Progress = silent) -> None:
        self._then = then
        self._open: dict[str, list[Curve]] = {}
        self._makers = {kind: pick("log", CURVES, kind) for kind in kinds}
        self._folder = folder
        for maker in self._makers.values():
            maker.require()

    def __enter__(self) -> "Curves":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        for curves in self._open.values():
            for curve in curves:
                curve.close()

    def __call__(self, event: Event) -> None:
        """Note the loss of a training event, and pass the event on."""
        self._then(event)
        if event.stage == "train" and event.loss is not None:
            self._write(_name(event.arm, event.cell, event.cells), event.step, {"loss": event.loss})

    def scored(self, record: Record, cell: int = 1, cells: int = 1) -> None:
        """Note what validation found on the way, and the means of the test cases at the end."""
        name = _name(record.arm, cell, cells)
        for point in record.history:
            found = {f"validation/{key}": v for key, v in point.items() if key not in ("step", "seconds", "loss")}
            if found:
                self._write(name, int(point["step"]), found)
        self._write(name, record.steps, means(record.scores))

    def _write(self, name: str, step: int, values: dict[str, float]) -> None:
        if name not in self._open:
            self._open[name] = [maker(self._folder / kind, name, step) for kind, maker in self._makers.items()]
        for curve in self._open[name]:
            curve.write(step, values)


def means(scores: Sequence[Score]) -> dict[str, float]:
    """Mean of every metric and class over the cases where it is defined, as "test/METRIC/CLASS"."""
    found: dict[str, list[float]] = {}
    for score in scores:
        if score.value is not None:
            found.setdefault(f"test/{score.metric}/{score.class_}", []).append(score.value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def _name(arm: str, cell: int, cells: int) -> str:
    return arm if cells == 1 else f"{cell:03d}_{arm}"
