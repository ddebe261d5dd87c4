"""One finished cell of a study as plain JSON: written by experiments, read by the report. No tensors."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from dimlift.errors import DataError
from dimlift.records.atomic_write import written_whole
from dimlift.records.json_file import read_json

SCHEMA = 1


@dataclass(frozen=True)
class Score:
    """One number about one case.

    Attributes:
        case: name of the test case.
        class_: label the number is about ("anterior"), or "all".
        metric: "dice", "hd95_mm", "nsd", "macro_f1", "auroc", ...
        value: the number; None where the metric is undefined (both masks empty), which is counted, never averaged.
    """

    case: str
    class_: str
    metric: str
    value: float | None


@dataclass(frozen=True)
class Record:
    """Everything a report may say about one cell (arm x fraction x fold x seed).

    Attributes:
        cell: sha256 of (config, data manifest, fraction, fold, seed); also the file name.
        seconds: training time, feature extraction included, validation excluded.
        peak_bytes: largest resident memory while the cell ran.
        history: one dict for each logged step: {"step", "seconds", "loss"} and, when validated, {"dice"}.
        extra: anything a method adds ("prediction_seconds", "feature_seconds", "both_empty", ...).
    """

    cell: str
    arm: str
    fraction: float
    fold: int
    seed: int
    steps: int
    seconds: float
    peak_bytes: int
    versions: dict[str, str]
    status: Literal["finished", "failed"]
    history: list[dict[str, float]] = field(default_factory=list)
    scores: list[Score] = field(default_factory=list)
    extra: dict[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def save(self, folder: Path) -> Path:
        """Write `folder/<cell>.json` in one piece: a reader sees the whole record or none."""
        folder.mkdir(parents=True, exist_ok=True)
        fields = asdict(self)
        fields["scores"] = [
            {"case": s.case, "class": s.class_, "metric": s.metric, "value": s.value} for s in self.scores
        ]
        return write_json(folder / f"{self.cell}.json", fields)

    @classmethod
    def load(cls, path: Path) -> "Record":
        """Read a record back.

        Raises:
            DataError: if the file is no record of this schema.
        """
        try:
            fields = read_json(path)
            if fields["schema"] != SCHEMA:
                raise DataError(
                    f"{path} has record schema {fields['schema']}, this dimlift reads {SCHEMA}; "
                    "read it with the version named in its 'versions', or run the cell again"
                )
            scores = [Score(s["case"], s["class"], s["metric"], s["value"]) for s in fields.pop("scores")]
            return cls(**{**fields, "scores": scores})
        except (ValueError, KeyError, TypeError) as fault:
            if isinstance(fault, DataError):
                raise
            raise DataError(f"{path} is not a record of dimlift: {fault}; delete it and run the study again") from fault


def load_records(folder: Path) -> list[Record]:
    """All records of a folder, in the order of their file names."""
    return [Record.load(path) for path in sorted(folder.glob("*.json"))]


def write_json(path: Path, content: Any) -> Path:
    """Write JSON to `path` in one piece, see `write_text`; NaN and infinity are refused."""
    return write_text(path, json.dumps(content, indent=1, allow_nan=False))


def write_text(path: Path, text: str) -> Path:
    """Write text in one piece, see `written_whole`."""
    with written_whole(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
    return path
