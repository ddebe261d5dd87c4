"""`study.json`: what a study set out to do. Written once by experiments, read by the report beside the records."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from dimlift.errors import DataError, UnknownName
from dimlift.records.json_file import read_json
from dimlift.records.record import write_json

SCHEMA = 1
FILE_NAME = "study.json"


@dataclass(frozen=True)
class Arm:
    """One way of training that the study compares.

    Attributes:
        title: a few words for tables; the arm's name in the config if empty.
        description: one or two sentences for a reader who did not write the config: what it is, what it controls for.
        certificate: what lifting did to the network, as its own JSON; None for arms without a lifted network.
        provenance: where the weights it started from come from, and under what terms, as in the card of its weights.
        parameters: number of trained numbers; None if not known yet.
    """

    title: str = ""
    description: str = ""
    certificate: dict[str, Any] | None = None
    parameters: int | None = None
    provenance: dict[str, Any] | None = None


@dataclass(frozen=True)
class CasePaths:
    """Where one case lies; relative paths start at the study folder.

    Attributes:
        image: the volume shown behind overlays (the first channel).
        truth: the true label map; None where there is none.
        group: cases of one group (a patient) are not independent of each other; the case's own name if empty.
    """

    image: str
    truth: str | None = None
    group: str = ""


@dataclass(frozen=True)
class Dataset:
    """What the study was made on.

    Attributes:
        labels: value of each label by name, background included or not.
    """

    name: str = ""
    n_cases: int | None = None
    labels: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """The plan of a study.

    Attributes:
        reference: name of the arm that all others are compared with; must be one of `arms`.
        planned: number of cells (arm x fraction x fold x seed) that will exist when everything has run.
        notes: sentences a reader must know before believing anything ("the subjects are simulated").
        budget: {"steps": N} or {"seconds": S}.
        cases: test cases by name.
        fractions: label fractions that will be trained on; those of the records if empty.
        clouds: of a study on clouds of points how they lie, {"upright": "x", "y" or "z"}; None for volumes.
    """

    title: str
    task: str
    reference: str
    arms: dict[str, Arm]
    planned: int
    notes: list[str] = field(default_factory=list)
    dataset: Dataset = field(default_factory=Dataset)
    budget: dict[str, Any] = field(default_factory=dict)
    cases: dict[str, CasePaths] = field(default_factory=dict)
    fractions: list[float] = field(default_factory=list)
    clouds: dict[str, Any] | None = None
    schema: int = SCHEMA

    def __post_init__(self) -> None:
        if self.reference not in self.arms:
            raise UnknownName("reference arm", self.reference, self.arms)

    def save(self, folder: Path) -> Path:
        """Write `folder/study.json` in one piece."""
        folder.mkdir(parents=True, exist_ok=True)
        return write_json(folder / FILE_NAME, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "Study":
        """Read `folder/study.json`.

        Keys of later minor additions are ignored, so that an older reader still shows a newer study.

        Raises:
            DataError: if there is no such file, it cannot be read, or it has another schema.
        """
        path = folder / FILE_NAME
        if not path.is_file():
            raise DataError(f"{folder} holds no {FILE_NAME}; give the folder that `dimlift compare --out` wrote")
        try:
            content = read_json(path)
            if content["schema"] != SCHEMA:
                raise DataError(
                    f"{path} has study schema {content['schema']}, this dimlift reads {SCHEMA}; "
                    "read it with the version that wrote it, or run the study again"
                )
            known = _known(cls, content)
            known["arms"] = {name: Arm(**_known(Arm, arm)) for name, arm in content["arms"].items()}
            known["dataset"] = Dataset(**_known(Dataset, content.get("dataset", {})))
            known["cases"] = {name: CasePaths(**_known(CasePaths, c)) for name, c in content.get("cases", {}).items()}
            return cls(**known)
        except (ValueError, KeyError, TypeError, AttributeError) as fault:
            if isinstance(fault, DataError):
                raise
            raise DataError(
                f"{path} does not describe a study: {fault}; write it again with `dimlift compare`"
            ) from fault


def _known(kind: type, content: Mapping[str, Any]) -> dict[str, Any]:
    names = {entry.name for entry in fields(kind)}
    return {key: value for key, value in content.items() if key in names}
