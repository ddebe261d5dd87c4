"""Embed each case of a dataset with a frozen network: a 2D network for volumes, a point encoder for point clouds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from dimlift.config.method_config import TaskSpec
from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.datasets.point_cloud_index import PointCloudEntry, index_point_clouds, load_entry
from dimlift.data.datasets.point_cloud_set import PointCloudSet, load_entries
from dimlift.data.issue import Issue, issue_from_error, raise_on_errors
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.data.sampling.point_cloud_sampler import PointCloudSampler
from dimlift.errors import DataError
from dimlift.inference.usable_cases import leave_out_broken
from dimlift.lookup import pick
from dimlift.methods.embedding.embed import Pooling, embed_maps
from dimlift.methods.frozen_features.cache import FeatureCache
from dimlift.methods.frozen_features.extraction import FeatureExtractor
from dimlift.methods.frozen_features.settings import FeatureExtractionSettings
from dimlift.methods.registry import POINT_ENCODERS
from dimlift.models.point_classifier import TokenPooling, pool_tokens
from dimlift.progress import Event, Progress, no_progress
from dimlift.records.embeddings import Embeddings
from dimlift.records.weights import read_card
from dimlift.training.initialise import init_from_weights

BATCH_SIZE = 16
"""Point clouds encoded together."""


class Embedder(Protocol):
    """From a dataset to vectors."""

    def __call__(self, dataset: Path, progress: Progress, on_skip: Callable[[Issue], None] | None = None) -> Embeddings:
        """Embed every case. Raises: DataError, if there is none, or one cannot be read."""


def embed(
    dataset: Path | str,
    embedder: Embedder,
    out: Path,
    progress: Progress = no_progress,
    on_skip: Callable[[Issue], None] | None = None,
) -> Embeddings:
    """Write one vector for each case of a dataset.

    Args:
        dataset: a folder, table or file; labels are stored where a case has one class or number.
        embedder: `VolumeEmbedder` or `PointCloudEmbedder`.
        out: the .npz file.
        on_skip: leave out cases that cannot be read, and call this for each; None refuses before any is embedded.

    Raises:
        DataError: if there is no case, or one cannot be read; nothing is written then.
    """
    if out.suffix != ".npz":
        raise DataError(f"embeddings are written as .npz, not {out.name}; name the file {out.with_suffix('.npz').name}")
    found = embedder(Path(dataset), progress, on_skip)
    found.save(out)
    return found


@dataclass(frozen=True)
class VolumeEmbedder:
    """Slices of volumes through a frozen 2D network, a random projection, and pooling.

    Attributes:
        settings: the network and its input slices; `cache_channels` is the width of the random projection.
        pooling: see `embed_maps`.
        grid: see `embed_maps`.
        cache: folder for feature maps, so that an interrupted run resumes and other poolings are fast.
    """

    settings: FeatureExtractionSettings
    pooling: Pooling = "mean"
    grid: int = 1
    cache: Path | None = None

    def __call__(
        self, dataset: Path, progress: Progress = no_progress, on_skip: Callable[[Issue], None] | None = None
    ) -> Embeddings:
        """Embed every volume; masks are not read."""
        opened = open_dataset(dataset)  # a table without masks is read as a classification
        cases = [*opened.cases, *opened.test_cases]
        unlabelled = replace(opened, cases=(), test_cases=tuple(replace(case, label=None) for case in cases))
        issues = check_dataset(unlabelled, "error", lambda done, total: progress(Event("check", fraction=done / total)))
        cases = leave_out_broken(cases, issues, on_skip)
        unlabelled = replace(unlabelled, test_cases=tuple(replace(case, label=None) for case in cases))
        preprocessing = Preprocessing.fit(unlabelled, unlabelled.test_cases, modality="none")
        extractor = FeatureExtractor(self.settings)
        extract = extractor if self.cache is None else FeatureCache(self.cache, extractor)
        vectors = []
        for number, case in enumerate(unlabelled.test_cases):
            sample = preprocessing.read_image(case.images)
            maps = extract(torch.from_numpy(sample.image), sample.geometry.spacing)
            vectors.append(embed_maps(maps, self.settings.planes, self.pooling, self.grid).numpy())
            progress(Event("features", fraction=(number + 1) / len(cases)))
        classes = {index: name for name, index in opened.labels.items()}
        labels = ["" if isinstance(c.label, Path | None) else str(classes.get(c.label, c.label)) for c in cases]  # type: ignore[arg-type]
        return _embeddings(
            np.stack(vectors),
            [case.name for case in cases],
            [case.group for case in cases],
            labels,
            settings=self.settings.to_json(),
            pooling=self.pooling,
            grid=self.grid,
            network=extractor.digest,
        )


@dataclass(frozen=True)
class PointCloudEmbedder:
    """The pooled tokens of a pretrained point encoder.

    Attributes:
        weights: folder that `dimlift pretrain` wrote.
        num_points: points sampled from each point cloud.
        pooling: "max", "mean" or "both", over the tokens.
        columns: names of the columns of files that do not name them.
    """

    weights: Path
    num_points: int = 1024
    pooling: TokenPooling = "both"
    columns: tuple[str, ...] = ()

    def __call__(
        self, dataset: Path, progress: Progress = no_progress, on_skip: Callable[[Issue], None] | None = None
    ) -> Embeddings:
        """Embed every point cloud."""
        entries = readable_clouds(index_point_clouds(dataset, self.columns), on_skip)
        encoder = build_point_encoder(point_encoder_options(self.weights), self.weights)
        vectors = embed_point_clouds(encoder, load_entries(entries), self.num_points, self.pooling, progress)
        return _embeddings(
            vectors,
            [entry.name for entry in entries],
            [entry.group for entry in entries],
            [entry.class_name or "" for entry in entries],
            weights=self.weights.name,
            num_points=self.num_points,
            pooling=self.pooling,
        )


def point_encoder_options(weights: Path) -> dict[str, Any]:
    """Return the method and options of the point encoder in a weights folder.

    Raises:
        DataError: if it holds none.
    """
    options = read_card(weights).get("arm") or {}
    if options.get("method") not in POINT_ENCODERS:
        raise DataError(f"{weights} holds no point encoder; give what `dimlift pretrain` wrote for one")
    return options


def build_point_encoder(options: dict[str, Any], weights: Path | None, seed: int = 0, classes: int = 0) -> Any:
    """Build a point encoder, or with `classes` its method for classification.

    The pretrained weights of a 2D network inside are not loaded.

    Args:
        options: method and options, as the weights card states them.
        weights: folder to load; None leaves random weights.
        seed: of the random weights.
    """
    arm = pick("point encoder", POINT_ENCODERS, options["method"]).model_validate(options)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        method: Any = arm.build(TaskSpec("classification", 3, classes, None, (0, 0, 0), seed), load_pretrained=False)
    if weights is not None:
        init_from_weights(method.trainable_network(), weights)
    return method if classes else method.model.encoder


@torch.no_grad()
def embed_point_clouds(
    encoder: nn.Module,
    clouds: PointCloudSet,
    num_points: int = 1024,
    pooling: TokenPooling = "both",
    progress: Progress = no_progress,
) -> NDArray[np.float32]:
    """Return the pooled tokens of each point cloud, (clouds, width)."""
    encoder.eval()
    device = next(encoder.parameters()).device
    sampler, found = PointCloudSampler(clouds, num_points, augment=False), []
    for first in range(0, len(clouds), BATCH_SIZE):
        batch = sampler.deterministic_batch(range(first, min(first + BATCH_SIZE, len(clouds))))
        found.append(pool_tokens(encoder(batch.points.to(device)).values, pooling).cpu().numpy())
        progress(Event("features", fraction=min(1.0, (first + BATCH_SIZE) / len(clouds))))
    return np.concatenate(found)


def readable_clouds(
    entries: Sequence[PointCloudEntry], on_skip: Callable[[Issue], None] | None
) -> Sequence[PointCloudEntry]:
    """Return the entries that can be read. Raises: DataError, if one cannot and there is no `on_skip`, or none can."""
    issues: dict[str, Issue] = {}
    for entry in entries:
        try:
            load_entry(entry.file, entry.columns)
        except DataError as error:
            issues[entry.name] = issue_from_error(error, entry.file)
    if on_skip is None or len(issues) == len(entries):
        raise_on_errors(list(issues.values()))
    if on_skip is not None:
        for issue in issues.values():
            on_skip(issue)
    return [entry for entry in entries if entry.name not in issues]


def _embeddings(
    vectors: NDArray[Any], names: Sequence[str], groups: Sequence[str], labels: Sequence[str], **facts: Any
) -> Embeddings:
    return Embeddings(
        vectors.astype(np.float32),
        np.array(names, np.str_),
        np.array(groups, np.str_),
        np.array(labels, np.str_),
        facts,
    )
