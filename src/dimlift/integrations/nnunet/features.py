"""Frozen features for nnU-Net's preprocessed cases: computed once, read per patch. Does not import nnU-Net."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from dimlift.data.sampling.grid_sampling import sample_feature_box
from dimlift.errors import DataError, ShapeError
from dimlift.methods.frozen_features.cache import FeatureCache
from dimlift.methods.frozen_features.extraction import FeatureExtractor, Spacing
from dimlift.methods.frozen_features.merge import merge_maps
from dimlift.methods.frozen_features.projection import FeatureProjection
from dimlift.records.sealed_tensors import read_sealed, write_sealed

STRIDE = 2
"""Features are stored on every second voxel, where that is smaller than the maps of the network."""


class FeatureInputNetwork(nn.Module):
    """A network on image and features. Given the image alone, it computes the features of that image.

    Training and validation pass the features of whole cases. nnU-Net's own prediction passes windows of images: their
    features are computed from the window only.

    Args:
        inner: (B, channels + components, D, H, W) -> logits, with nnU-Net's `decoder`.
        extractor: the frozen 2D network, excluded from checkpoints.
        in_channels: channels of the image.
        num_components: channels of the features.
        spacing: (z, y, x) millimetres between voxels.
    """

    def __init__(
        self, inner: nn.Module, extractor: FeatureExtractor, in_channels: int, num_components: int, spacing: Spacing
    ) -> None:
        super().__init__()
        self.inner, self.extractor = inner, extractor
        self.in_channels, self.spacing = in_channels, spacing
        self.projection = FeatureProjection(extractor.channels, num_components)

    @property
    def decoder(self) -> Any:
        """The decoder, on which nnU-Net sets deep supervision."""
        return self.inner.decoder

    def forward(self, image: Float[Tensor, "batch _ depth height width"]) -> Any:
        """Return the logits.

        Raises:
            ShapeError: if the channels are neither those of the image nor of image and features.
        """
        total = self.in_channels + self.projection.num_components
        if image.shape[1] == self.in_channels:
            image = torch.cat([image, torch.stack([self.voxel_features(each) for each in image]).to(image)], dim=1)
        elif image.shape[1] != total:
            raise ShapeError(
                f"the volume has {image.shape[1]} channels; pass the image ({self.in_channels}) or image and features "
                f"({total})"
            )
        return self.inner(image)

    @torch.no_grad()
    def voxel_features(self, image: Float[Tensor, "channels depth height width"]) -> Float[Tensor, "components _ _ _"]:
        """Return the features at every voxel of an image."""
        size: Any = tuple(image.shape[1:])
        with torch.autocast(image.device.type, enabled=False):
            maps = self.extractor.to(image.device)(image.float(), self.spacing)
            coarse = self.project_maps(maps, size)
        return sample_feature_box(coarse, size, (0, 0, 0), size)

    @torch.no_grad()
    def project_maps(self, maps: Sequence[Tensor], size: Sequence[int]) -> list[Tensor]:
        """Return the maps of a volume of `size` voxels as coarse features, on the CPU."""
        device = next(self.projection.buffers()).device
        return [each.cpu() for each in merge_maps(self.projection([m.to(device) for m in maps]), size, STRIDE)]


def write_case_features(
    network: FeatureInputNetwork,
    cases: Any,
    training_cases: Sequence[str],
    folder: Path,
    cache: Path,
    log: Callable[[str], Any] = print,
) -> None:
    """Write the features of every case, after fitting their projection on the training cases.

    Args:
        network: a projection that is fitted already is kept.
        cases: nnU-Net's dataset of preprocessed cases.
        training_cases: names of the training cases of the cv fold.
        folder: one per cv fold, as projections differ between them.
        cache: folder of the maps, which do not depend on the cv fold.
        log: receives messages.

    Raises:
        DataError: if there is no training case.
    """
    device = next(network.parameters()).device
    store = FeatureCache(cache, network.extractor.to(device))

    def read(name: str) -> tuple[list[Tensor], tuple[int, ...]]:
        image = torch.from_numpy(np.asarray(cases.load_case(name)[0][:], dtype=np.float32))
        return store(image, network.spacing), tuple(image.shape[1:])

    fitted = bool(network.projection.fitted)
    if not training_cases:
        raise DataError("this fold has no training case; check splits_final.json")
    log(f"dimlift: features of {len(cases.identifiers)} cases from {network.extractor.settings.network}")
    if not fitted:
        projection = network.projection.cpu()
        projection.fit(read(name)[0] for name in sorted(training_cases))
        network.projection.to(device)
    folder.mkdir(parents=True, exist_ok=True)
    for name in cases.identifiers:
        maps, size = read(name)
        coarse = network.project_maps(maps, size)
        halves = {f"{index:03d}": each.half() for index, each in enumerate(coarse)}
        write_sealed(folder / f"{name}.safetensors", halves, {})


class FeatureDataset:
    """nnU-Net's dataset of preprocessed cases, with stored features as additional channels.

    Args:
        dataset_class: nnU-Net's own class.
        folder: written by `write_case_features`.
        arguments: of nnU-Net's class.
        options: of nnU-Net's class.
    """

    def __init__(self, dataset_class: Callable[..., Any], folder: Path, *arguments: Any, **options: Any) -> None:
        self.inner, self.folder = dataset_class(*arguments, **options), folder
        self.identifiers = self.inner.identifiers

    def __getitem__(self, name: str) -> tuple[Any, ...]:
        return self.load_case(name)

    def load_case(self, name: str) -> tuple[Any, ...]:
        """Return (image and features, segmentation, segmentation of the stage before, properties)."""
        image, *rest = self.inner.load_case(name)
        stored, _ = read_sealed(self.folder / f"{name}.safetensors")
        return ImageWithFeatures(image, [stored[key] for key in sorted(stored)]), *rest


class FeatureDatasetFactory:
    """Stand-in for nnU-Net's dataset class that creates datasets with the features of `folder`."""

    def __init__(self, dataset_class: Any, folder: Path) -> None:
        self.dataset_class, self.folder = dataset_class, folder

    def __call__(self, *arguments: Any, **options: Any) -> FeatureDataset:
        """Create a dataset."""
        return FeatureDataset(self.dataset_class, self.folder, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["dataset_class"], name)


class ImageWithFeatures:
    """An array (channels, D, H, W) whose last channels are sampled from coarse features on indexing.

    Args:
        image: array on disk.
        coarse: features over the whole volume.
    """

    def __init__(self, image: Any, coarse: Sequence[Float[Tensor, "_ _ _ _"]]) -> None:
        self.image, self.coarse = image, coarse
        self.shape = (image.shape[0] + sum(map(len, coarse)), *image.shape[1:])
        self.ndim, self.dtype = len(self.shape), np.dtype(np.float32)

    def __getitem__(self, where: Any) -> NDArray[np.float32]:
        """Return a box of all channels."""
        full: Any = tuple(self.shape[1:])
        index = where if isinstance(where, tuple) else (where,)
        box = (*index, *[slice(None)] * (self.ndim - len(index)))
        bounds = [part.indices(count)[:2] for part, count in zip(box[1:], full, strict=True)]
        start: Any = tuple(first for first, _ in bounds)
        size: Any = tuple(max(0, last - first) for first, last in bounds)
        image = np.asarray(self.image[(slice(None), *box[1:])], dtype=np.float32)
        features = sample_feature_box([each.float() for each in self.coarse], full, start, size).numpy()
        return np.concatenate([image, features])
