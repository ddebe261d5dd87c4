"""The interface through which training, prediction, scoring and export treat volumes and point clouds alike."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from numpy.typing import NDArray
from torch import Tensor

from dimlift.batch import Batch
from dimlift.config.method_config import MethodConfig, TaskSpec
from dimlift.data.case import Case, Dataset
from dimlift.data.issue import Issue
from dimlift.data.preprocessing.training_range import InputFacts, TrainingRange
from dimlift.errors import DataError
from dimlift.inference.coverage import Coverage
from dimlift.methods.method import Method
from dimlift.progress import Progress
from dimlift.records.record import Score
from dimlift.training.distributed import ProcessGroup

if TYPE_CHECKING:
    from dimlift.inference.memory_estimate import MemoryEstimate
    from dimlift.inference.predictor import Predictor


@dataclass
class RunData:
    """The data of one run, read and preprocessed.

    Attributes:
        train: training cases.
        test: test cases.
        preprocessing: from a file to the input of the network, fitted on the training cases.
        samples: the training cases, preprocessed.
        task: what the network is built for.
        facts: entries for the run record.
        notes: sentences for the report.
    """

    train: list[Case]
    test: list[Case]
    preprocessing: Any
    samples: list[Any]
    task: TaskSpec
    facts: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()

    @property
    def training_range(self) -> TrainingRange | None:
        """What the training cases held, for the weights card; None if it was not measured."""
        facts = [sample.facts for sample in self.samples if getattr(sample, "facts", None) is not None]
        return TrainingRange.of(facts) if facts else None


@dataclass(frozen=True)
class BatchSource:
    """The batches of a run.

    Attributes:
        batch_at: returns the batch of a step.
        cases_at: returns the case names of a step, for error messages about batches that were never made.
        seconds: part of the budget used before the first step (feature extraction).
    """

    batch_at: Callable[[int], Batch]
    cases_at: Callable[[int], Sequence[str]]
    seconds: float = 0.0


class InputSample(NamedTuple):
    """A case without its label, preprocessed.

    Attributes:
        sample: the input of the network.
        source: what is needed to write labels in the frame of the file (the geometry of a volume, the raw point cloud).
    """

    sample: Any
    source: Any


class Modality(ABC):
    """One kind of data: how it is loaded, sampled, predicted, scored, written and exported.

    `MODALITIES` holds one instance of each. A method belongs to one modality (`MethodConfig.modality`), and the weights
    card names it. Arguments called `config` are a `TrainConfig`; `preprocessing` is the modality's own class.

    Attributes:
        name: key in `MODALITIES`.
        plural: noun for messages.
        section: section of the configuration that is about these data alone.
        tasks: tasks that exist for these data.
        inapplicable: keys of the section `training` that have no meaning for these data.
        class_axis: axis of the classes in the probabilities of a segmentation.
        output_suffixes: file suffixes of every output format, the usual one first.
        prediction_suffix: of the predictions a run stores.
    """

    name: ClassVar[str]
    plural: ClassVar[str]
    section: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]
    inapplicable: ClassVar[tuple[str, ...]] = ()
    class_axis: ClassVar[int]
    output_suffixes: ClassVar[Mapping[str, tuple[str, ...]]]
    prediction_suffix: ClassVar[str]

    # Training

    @abstractmethod
    def load_data(
        self,
        config: Any,
        dataset: Dataset,
        train: list[Case],
        test: list[Case],
        progress: Progress,
        group: ProcessGroup,
    ) -> RunData:
        """Fit preprocessing on the training cases and read them.

        Raises:
            DataError: if a class never occurs in the training cases.
        """

    def build(self, arm: MethodConfig, task: TaskSpec) -> Method:
        """Build a method with the loss of a task."""
        return arm.build(task)

    @abstractmethod
    def content_hashes(self, case: Case) -> list[str]:
        """Return hashes that identify the content of a case, whatever its files are called."""

    @abstractmethod
    def make_batches(
        self, config: Any, data: RunData, method: Method, cache: Path, progress: Progress, group: ProcessGroup
    ) -> BatchSource:
        """Return the training batches of a method, after computing whatever has to precede the first.

        Args:
            cache: folder shared by the runs of a study.
        """

    # Prediction

    @abstractmethod
    def load_preprocessing(self, content: dict[str, Any]) -> Any:
        """Return the preprocessing stored in a weights card."""

    @abstractmethod
    def describe_inputs(self, preprocessing: Any) -> dict[str, Any]:
        """Return the entries of a weights card about the data: channels, spacing, orientation, normalisation."""

    @abstractmethod
    def predict(self, predictor: "Predictor", sample: Any, coverage: Coverage | None = None) -> NDArray[Any]:
        """Return the class index of every voxel or point.

        For a classification a score for each class, (classes,); for a regression the number, (1,).

        Args:
            coverage: counts windows and predicted voxels or points.
        """

    @abstractmethod
    def predict_proba(self, predictor: "Predictor", sample: Any, coverage: Coverage | None = None) -> NDArray[Any]:
        """Return the probability of every class along `class_axis`; (classes,) for a classification."""

    @abstractmethod
    def measure_file(self, content: Any) -> Any:
        """Return what `input_facts` needs of one file of a case."""

    @abstractmethod
    def input_facts(self, preprocessing: Any, files: Sequence[Any]) -> InputFacts:
        """Return what a case holds before normalisation.

        Args:
            files: `measure_file` of each file of the case; None for a missing one.
        """

    def class_volumes(self, preprocessing: Any, labels: NDArray[Any], sample: Any) -> dict[str, float]:
        """Return the volume of each class in millilitres; empty where there is no such unit."""
        return {}

    def explain(self, predictor: "Predictor", sample: Any) -> dict[str, Any]:
        """Return further entries of predictions.json for one case."""
        return {}

    @abstractmethod
    def find_inference_cases(
        self, preprocessing: Any, inputs: Sequence[Path | str], on_skip: Callable[[Issue], None] | None = None
    ) -> list[Case]:
        """Return the cases among files and folders of files.

        Args:
            on_skip: leave out incomplete cases, and call this for each; None refuses them.

        Raises:
            DataError: if there is none, or two have one name.
        """

    @abstractmethod
    def read_file(self, path: Path) -> Any:
        """Read one file of a case.

        Raises:
            DataError: if it cannot be read.
        """

    def file_reader(self, preprocessing: Any) -> Callable[[Path], Any]:
        """Return `read_file` with what preprocessing knows about the files of its training cases."""
        return self.read_file

    @abstractmethod
    def file_bytes(self, content: Any) -> int:
        """Return the memory that the content of a file takes."""

    @abstractmethod
    def from_array(self, array: NDArray[Any], spacing: Sequence[float] | None) -> Any:
        """Return an array in memory as `read_file` would return the file that holds it."""

    @abstractmethod
    def read_input(self, preprocessing: Any, images: Sequence[Path], read: Callable[[Path], Any]) -> InputSample:
        """Preprocess one case.

        Args:
            read: returns the content of a file, as `read_file` does.
        """

    @abstractmethod
    def check_inputs(
        self, members: "Sequence[Predictor]", cases: Sequence[Case], read: Callable[[Path], Any], progress: Progress
    ) -> list[Issue]:
        """Read every input before the first is predicted, and return what is wrong with the files."""

    def estimate_memory(
        self, predictor: "Predictor", cases: Sequence[Case], on_error: Callable[[Case, DataError], None]
    ) -> "list[MemoryEstimate]":
        """Return the memory each case takes, the largest first; empty where it does not depend on the case.

        Args:
            on_error: called for each case whose header cannot be used; it has no estimate.
        """
        return []

    # Output

    @abstractmethod
    def default_format(self, case: Case) -> str:
        """Return the output format that a case takes unless another is requested."""

    def require_format(self, name: str, case: Case) -> None:
        """Raises: DataError, if an output format cannot be written for a case."""
        return None

    @abstractmethod
    def restore(self, preprocessing: Any, labels: NDArray[Any], source: Any) -> NDArray[Any]:
        """Return class indices as label values in the frame of the file."""

    @abstractmethod
    def write_labels(
        self, preprocessing: Any, path: Path, labels: NDArray[Any], source: Any, output_format: str
    ) -> Path:
        """Write class indices as a self-contained file of labels."""

    @abstractmethod
    def write_prediction(self, preprocessing: Any, path: Path, labels: NDArray[Any], source: Any) -> Path:
        """Write class indices as the prediction of a test case, which the report reads beside its dataset."""

    # Scores

    @abstractmethod
    def compare_labels(self, predictor: "Predictor", case: Case, labels: NDArray[Any], source: Any) -> Any:
        """Compare predicted class indices with the truth of a test case; `segmentation_scores` takes the results."""

    @abstractmethod
    def segmentation_scores(self, preprocessing: Any, results: Mapping[str, Any]) -> list[Score]:
        """Return the scores of test cases, given the result of `compare_labels` for each."""

    # Export

    @abstractmethod
    def export_example(self, predictor: "Predictor") -> Tensor:
        """Return an input with which a network can be traced.

        Raises:
            ExportError: if networks of this modality, or this method, cannot be exported.
        """
