"""The record of one finished run as plain JSON, written by studies and read by the report. No tensors."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from dimlift.errors import DataError
from dimlift.records.atomic_write import atomic_write
from dimlift.records.card_schema import listed_faults
from dimlift.records.json_file import read_json
from dimlift.records.record_schema import RecordFile
from dimlift.records.train_size import TrainSize

SCHEMA = 1


@dataclass(frozen=True)
class Score:
    """The value of one metric for one case and class.

    Attributes:
        case: name of the test case.
        class_: label name ("anterior"), or "all".
        metric: "dice", "hd95_mm", "nsd", "macro_f1", "auroc", ...
        value: None where the metric is undefined (both masks empty); such scores are counted but never averaged.
    """

    case: str
    class_: str
    metric: str
    value: float | None


@dataclass(frozen=True)
class RunRecord:
    """Configuration, cost and scores of one run (arm x training size x cv fold x seed).

    Attributes:
        run_id: SHA-256 of (config, data manifest, training size, fold, seed); also the file name.
        seconds: training time, feature extraction included, validation excluded.
        peak_bytes: largest resident memory during the run.
        history: one dict per logged step: {"step", "seconds", "loss"} and, when validated, {"dice"}.
        extra: additional values of a method ("prediction_seconds", "feature_seconds", "both_empty", ...).
        train_fraction: fraction of the training cases that was used; None if `train_count` is set.
        train_count: number of training cases that was used; None if `train_fraction` is set.
    """

    run_id: str
    arm: str
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
    train_fraction: float | None = None
    train_count: int | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        _ = self.train_size  # raises if the record does not state exactly one of the two

    @property
    def train_size(self) -> TrainSize:
        """Fraction or number of the training cases."""
        return TrainSize(self.train_fraction, self.train_count)

    def save(self, folder: Path) -> Path:
        """Write `folder/<run_id>.json` atomically."""
        folder.mkdir(parents=True, exist_ok=True)
        fields = asdict(self)
        fields["scores"] = [
            {"case": s.case, "class": s.class_, "metric": s.metric, "value": s.value} for s in self.scores
        ]
        return write_json(folder / f"{self.run_id}.json", fields)

    @classmethod
    def load(cls, path: Path) -> "RunRecord":
        """Read a record.

        Raises:
            DataError: if the file is not a record of this schema.
        """
        try:
            fields = read_json(path)
            if fields["schema"] != SCHEMA:
                raise DataError(
                    f"{path} has record schema {fields['schema']}, this version of dimlift reads {SCHEMA}; "
                    "read it with the version named in its 'versions', or repeat the run"
                )
            RecordFile.model_validate(fields)
            scores = [Score(s["case"], s["class"], s["metric"], s["value"]) for s in fields.pop("scores")]
            return cls(**{**fields, "scores": scores})
        except DataError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            said = listed_faults(error) if isinstance(error, ValidationError) else error
            raise DataError(
                f"{path} is not a record of dimlift: {said}; delete it and start the study again"
            ) from error


def load_records(folder: Path) -> list[RunRecord]:
    """Return all records of a folder, sorted by file name."""
    return [RunRecord.load(path) for path in sorted(folder.glob("*.json"))]


def write_json(path: Path, content: Any) -> Path:
    """Write JSON atomically; NaN and infinity raise ValueError."""
    return write_text(path, json.dumps(content, indent=1, allow_nan=False))


def write_text(path: Path, text: str) -> Path:
    """Write text atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
