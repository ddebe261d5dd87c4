"""`study.json`: the plan of a study, written once per study and read by the report together with the records."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dimlift.errors import DataError, UnknownNameError
from dimlift.records.card_schema import listed_faults
from dimlift.records.json_file import read_json
from dimlift.records.record import write_json
from dimlift.records.record_schema import StudyFile
from dimlift.records.train_size import TrainSize

SCHEMA = 1
FILE_NAME = "study.json"


@dataclass(frozen=True)
class StudyArm:
    """One arm of a study.

    Attributes:
        title: short name for tables; the arm's name in the config if empty.
        description: one or two sentences for a reader of the report: what the arm is and what it controls for.
        certificate: certificate of the lifted network as JSON; None for arms without a lifted network.
        parameters: number of trainable parameters; None until it is known.
        provenance: source and licence of the initial weights, as in the card of the arm's weights.
    """

    title: str = ""
    description: str = ""
    certificate: dict[str, Any] | None = None
    parameters: int | None = None
    provenance: dict[str, Any] | None = None


@dataclass(frozen=True)
class CasePaths:
    """Files of one case; relative paths start at the study folder.

    Attributes:
        image: the volume shown behind overlays (the first channel).
        truth: the true label map; None if there is none.
        group: cases of one group (a patient) are not independent; empty means that the case is its own group.
    """

    image: str
    truth: str | None = None
    group: str = ""


@dataclass(frozen=True)
class StudyDataset:
    """The dataset of a study.

    Attributes:
        labels: value of each label by name, with or without the background.
    """

    name: str = ""
    n_cases: int | None = None
    labels: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """The plan of a study.

    Attributes:
        reference: name of the arm that all others are compared with; one of `arms`.
        planned: number of runs (arm x training size x cv fold x seed) of the complete study.
        notes: sentences a reader has to know to interpret the results ("the subjects are simulated").
        budget: {"steps": N} or {"seconds": S}.
        cases: test cases by name.
        train_fractions: fractions of the training cases that will be used.
        train_counts: numbers of training cases that will be used. If both are empty, those of the records count.
        modality: kind of data, "volumes" or "point_clouds".
        up_axis: axis of point clouds that points up, "x", "y" or "z".
        columns: names of the columns of point clouds whose files do not name them.
        margin: difference that is too small to matter; None for that of the measure.
        unseen_failure, unseen_collapse: failure that a verdict has to allow for in cases, and in trainings, that the
            sample can have missed.
        analyses: planned analyses of the verdicts, after each of which the study stops if all are decided; 1 if all
            runs are trained.
    """

    title: str
    task: str
    reference: str
    arms: dict[str, StudyArm]
    planned: int
    notes: list[str] = field(default_factory=list)
    dataset: StudyDataset = field(default_factory=StudyDataset)
    budget: dict[str, Any] = field(default_factory=dict)
    cases: dict[str, CasePaths] = field(default_factory=dict)
    train_fractions: list[float] = field(default_factory=list)
    train_counts: list[int] = field(default_factory=list)
    modality: str = "volumes"
    up_axis: str = "z"
    columns: list[str] = field(default_factory=list)
    margin: float | None = None
    unseen_failure: float = 0.0
    unseen_collapse: float = 0.0
    analyses: int = 1
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.reference not in self.arms:
            raise UnknownNameError("reference arm", self.reference, self.arms)

    @property
    def train_sizes(self) -> list[TrainSize]:
        """Planned training sizes."""
        return [*(TrainSize(count=n) for n in self.train_counts), *(TrainSize(f) for f in self.train_fractions)]

    def save(self, folder: Path) -> Path:
        """Write `folder/study.json` atomically."""
        folder.mkdir(parents=True, exist_ok=True)
        return write_json(folder / FILE_NAME, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "Study":
        """Read `folder/study.json`, ignoring unknown keys.

        Raises:
            DataError: if there is no such file, it cannot be read, or it has another schema.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            raise DataError(f"{folder} holds no {FILE_NAME}; pass the folder that `dimlift compare --out` wrote")
        try:
            content = read_json(path)
            if content["schema"] != SCHEMA:
                raise DataError(
                    f"{path} has study schema {content['schema']}, this version of dimlift reads {SCHEMA}; "
                    "read it with the version that wrote it, or repeat the study"
                )
            StudyFile.model_validate(content)
            known = _known(cls, content)
            known["arms"] = {name: StudyArm(**_known(StudyArm, arm)) for name, arm in content["arms"].items()}
            known["dataset"] = StudyDataset(**_known(StudyDataset, content.get("dataset", {})))
            known["cases"] = {name: CasePaths(**_known(CasePaths, c)) for name, c in content.get("cases", {}).items()}
            return cls(**known)
        except DataError:
            raise
        except (UnknownNameError, ValueError, KeyError, TypeError, AttributeError) as error:
            said = listed_faults(error) if isinstance(error, ValidationError) else error
            raise DataError(
                f"{path} does not describe a study: {said}; write it again with `dimlift compare`"
            ) from error


def _known(kind: type, content: Mapping[str, Any]) -> dict[str, Any]:
    names = {entry.name for entry in fields(kind)}
    return {key: value for key, value in content.items() if key in names}
