"""Schemas of record files and of `study.json`: a study folder may come from anyone, and the report reads all of it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from dimlift.records.card_schema import Labels, Name, Number, Spacing, whole

Amount = Annotated[Number, Field(ge=0)]
Fraction = Annotated[float, Field(strict=True, gt=0, le=1)]
Count = whole(0, 2**63 - 1)
Stride = Annotated[float, Field(strict=True, ge=1, le=4096)]


class FileSection(BaseModel):
    """A part of a file. Unknown keys are kept, those of other versions."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ScoreEntry(FileSection):
    """One score of a record."""

    case: Name
    class_: Name = Field(alias="class")
    metric: Name
    value: Number | None


class RecordExtra(FileSection):
    """Entries of `extra` that the report and the model page read."""

    training_cases: list[Name] | None = None
    notes: list[Name] | None = None
    reason: Name | None = None
    cpu_seconds: Amount | None = None
    gpu_bytes: Count | None = None
    joules: Amount | None = None
    parameters: Count | None = None


class RecordFile(FileSection):
    """A record: see `dimlift.records.record.RunRecord`."""

    run_id: Name
    arm: Name
    fold: whole(-(2**31), 2**31)
    seed: whole(-(2**63), 2**63 - 1)
    steps: Count
    seconds: Amount
    peak_bytes: Count
    versions: dict[Name, Name]
    status: Literal["finished", "failed"]
    history: list[dict[Name, Number]]
    scores: list[ScoreEntry]
    extra: RecordExtra
    train_fraction: Fraction | None
    train_count: whole(1, 2**31) | None


class CertificateStage(FileSection):
    """A stage of a lifted network, which the report draws."""

    stride: Annotated[list[Stride], Field(min_length=3, max_length=3)]
    channels: whole(1, 2**31)
    kernels: Annotated[list[whole(1, 4096)], Field(max_length=4096)]
    reach: Annotated[Number, Field(ge=0)]
    attention: Name | whole(1, 4096)


class CertificateEntry(FileSection):
    """The certificate of a lifted network, as far as the report reads it."""

    stages: Annotated[list[CertificateStage], Field(max_length=1000)] | None = None
    spacing: Spacing | None = None
    claims: list[dict[str, Any]] | None = None


class ProvenanceEntry(FileSection):
    """Source and licence of the initial weights."""

    prefix: Name | None = None
    dropped: list[Name] | None = None
    resized: dict[
        Name, Annotated[list[Annotated[list[whole(0, 2**31)], Field(max_length=16)]], Field(min_length=2, max_length=2)]
    ] | None = None  # fmt: skip


class ArmEntry(FileSection):
    """An arm of a study."""

    title: Name = ""
    description: Name = ""
    certificate: CertificateEntry | None = None
    parameters: Count | None = None
    provenance: ProvenanceEntry | None = None


class CaseEntry(FileSection):
    """The files of a test case."""

    image: Name
    truth: Name | None = None
    group: Name = ""


class DatasetEntry(FileSection):
    """The dataset of a study."""

    name: Name = ""
    n_cases: Count | None = None
    labels: Labels = {}


class StudyFile(FileSection):
    """`study.json`: see `dimlift.records.study.Study`."""

    title: Name
    task: Literal["segmentation", "classification", "regression"]
    reference: Name
    arms: Annotated[dict[Name, ArmEntry], Field(min_length=1, max_length=10_000)]
    planned: Count
    notes: list[Name] = []
    dataset: DatasetEntry = DatasetEntry()
    budget: dict[Name, Number] = {}
    cases: dict[Name, CaseEntry] = {}
    train_fractions: list[Fraction] = []
    train_counts: list[whole(1, 2**31)] = []
    modality: Literal["volumes", "point_clouds"] = "volumes"
    up_axis: Literal["x", "y", "z"] = "z"
    columns: list[Name] = []
    margin: Annotated[Number, Field(ge=0)] | None = None
    unseen_failure: Annotated[Number, Field(ge=0)] = 0.0
    unseen_collapse: Annotated[Number, Field(ge=0)] = 0.0
    analyses: whole(1, 1000) = 1
