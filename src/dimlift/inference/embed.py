"""Volumes to vectors with a frozen 2D network: no training, no labels."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.issue import raise_on_errors
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.quality.check_dataset import check_dataset
from dimlift.errors import DataError
from dimlift.methods.embedding.embed import Pooling, embed_maps
from dimlift.methods.frozen_features.cache import FeatureCache
from dimlift.methods.frozen_features.extraction import Extractor
from dimlift.methods.frozen_features.settings import BorrowSettings
from dimlift.progress import Event, Progress, silent
from dimlift.records.embeddings import Embeddings


def embed(
    dataset: Path | str,
    settings: BorrowSettings,
    out: Path,
    *,
    pooling: Pooling = "mean",
    grid: int = 1,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Embeddings:
    """Write a vector for every volume of a data set.

    Args:
        dataset: a folder or table; labels are carried along where they are classes or numbers, masks are not read.
        settings: the network and how it is shown slices; `cache_channels` is the width of the random projection.
        out: the .npz file.
        pooling: see `embed_maps`.
        grid: see `embed_maps`.
        cache: folder for maps, so that an interrupted run goes on and other poolings come cheap.

    Raises:
        DataError: if there is no volume, or one cannot be read; nothing is written then.
    """
    if out.suffix != ".npz":
        raise DataError(f"{out} is no name for embeddings; call it {out.with_suffix('.npz').name}")
    opened = open_dataset(dataset)  # a table without masks becomes classes by itself
    cases = [*opened.cases, *opened.test_cases]
    bare = replace(opened, cases=(), test_cases=tuple(replace(case, label=None) for case in cases))
    raise_on_errors(check_dataset(bare, "error", lambda done, total: progress(Event("check", share=done / total))))
    preprocessing = Preprocessing.fit(bare, bare.test_cases, modality="none")
    extractor = Extractor(settings)
    look = extractor if cache is None else FeatureCache(cache, extractor)
    vectors = []
    for number, case in enumerate(bare.test_cases):
        sample = preprocessing.read_image(case.images)
        maps = look(torch.from_numpy(sample.image), sample.geometry.spacing)
        vectors.append(embed_maps(maps, settings.planes, pooling, grid).numpy())
        progress(Event("features", share=(number + 1) / len(cases)))
    classes = {index: name for name, index in opened.labels.items()}
    told = ["" if isinstance(c.label, Path | None) else str(classes.get(c.label, c.label)) for c in cases]  # type: ignore[arg-type]
    facts = {"settings": settings.to_json(), "pooling": pooling, "grid": grid, "network": extractor.digest}
    found = Embeddings(
        np.stack(vectors).astype(np.float32),
        np.array([case.name for case in cases], np.str_),
        np.array([case.group for case in cases], np.str_),
        np.array(told, np.str_),
        facts,
    )
    found.save(out)
    return found
