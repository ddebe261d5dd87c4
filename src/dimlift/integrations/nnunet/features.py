"""Borrowed features beside nnU-Net's preprocessed cases: computed once, read where a patch lies. Imports no nnU-Net."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dimlift.data.sampling.grid_sampling import features_of_box
from dimlift.errors import DataError, ShapeError
from dimlift.methods.frozen_features.cache import FeatureCache
from dimlift.methods.frozen_features.extraction import Extractor, Spacing
from dimlift.methods.frozen_features.merge import merged
from dimlift.methods.frozen_features.projection import FeatureProjection
from dimlift.records.atomic_write import written_whole

STRIDE = 2
"""Features are kept on every second voxel, where that is fewer numbers than the network's own maps."""


class BorrowingNetwork(nn.Module):
    """A network over image and features; shown the image alone, it takes the features of what it is shown.

    Training and validation hand it the features of whole cases. nnU-Net's own prediction shows it windows of images:
    their features then see no further than the window.

    Args:
        inner: (B, channels + components, D, H, W) -> logits, with nnU-Net's `decoder`.
        extractor: the frozen 2D network, which is in no checkpoint.
        in_channels: of the image.
        components: of the features.
        spacing: (z, y, x) millimetres between voxels.
    """

    def __init__(
        self, inner: nn.Module, extractor: Extractor, in_channels: int, components: int, spacing: Spacing
    ) -> None:
        super().__init__()
        self.inner, self.extractor = inner, extractor
        self.in_channels, self.spacing = in_channels, spacing
        self.projection = FeatureProjection(extractor.channels, components)

    @property
    def decoder(self) -> Any:
        """Where nnU-Net switches deep supervision."""
        return self.inner.decoder

    def forward(self, image: Float[Tensor, "batch _ depth height width"]) -> Any:
        """Logits.

        Raises:
            ShapeError: for a number of channels that is neither the image's nor that of both.
        """
        whole = self.in_channels + self.projection.components
        if image.shape[1] == self.in_channels:
            image = torch.cat([image, torch.stack([self.features_on(each) for each in image]).to(image)], dim=1)
        elif image.shape[1] != whole:
            raise ShapeError(
                f"the volume has {image.shape[1]} channels; give the image ({self.in_channels}) or image and features "
                f"({whole})"
            )
        return self.inner(image)

    @torch.no_grad()
    def features_on(self, image: Float[Tensor, "channels depth height width"]) -> Float[Tensor, "components _ _ _"]:
        """Features on every voxel of an image."""
        size: Any = tuple(image.shape[1:])
        with torch.autocast(image.device.type, enabled=False):
            maps = self.extractor.to(image.device)(image.float(), self.spacing)
            coarse = self.coarse(maps, size)
        return features_of_box(coarse, size, (0, 0, 0), size)

    @torch.no_grad()
    def coarse(self, maps: Sequence[Tensor], size: Sequence[int]) -> list[Tensor]:
        """Maps of a volume of `size` voxels as coarse features, on the processor."""
        weights = next(self.projection.buffers()).device
        return [each.cpu() for each in merged(self.projection([m.to(weights) for m in maps]), size, STRIDE)]


def keep_features(
    network: BorrowingNetwork,
    cases: Any,
    learnt: Sequence[str],
    folder: Path,
    cache: Path,
    tell: Callable[[str], Any] = print,
) -> None:
    """Leave the features of every case in `folder`; fit their projection on the cases that are learnt from.

    Args:
        network: what it learnt of features before is kept.
        cases: nnU-Net's data set of preprocessed cases.
        learnt: names of those the projection may know.
        folder: of the fold: projections differ between folds.
        cache: for what does not depend on the fold.

    Raises:
        DataError: if no case is learnt from.
    """
    device = next(network.parameters()).device
    store = FeatureCache(cache, network.extractor.to(device))

    def read(name: str) -> tuple[list[Tensor], tuple[int, ...]]:
        image = torch.from_numpy(np.asarray(cases.load_case(name)[0][:], dtype=np.float32))
        return store(image, network.spacing), tuple(image.shape[1:])

    fitted = bool(network.projection.fitted)
    if not learnt:
        raise DataError("no case of this fold is learnt from; look at splits_final.json")
    tell(f"dimlift: features of {len(cases.identifiers)} cases from {network.extractor.settings.network}")
    if not fitted:
        here = network.projection.cpu()
        here.fit(read(name)[0] for name in sorted(learnt))
        network.projection.to(device)
    folder.mkdir(parents=True, exist_ok=True)
    for name in cases.identifiers:
        maps, size = read(name)
        with written_whole(folder / f"{name}.safetensors") as scratch:
            kept = network.coarse(maps, size)
            save_file({f"{index:03d}": each.half().contiguous() for index, each in enumerate(kept)}, scratch)


class BorrowedDataset:
    """nnU-Net's data set of preprocessed cases, each with the features of `folder` as further channels.

    Args:
        plain: nnU-Net's own data set class.
        folder: written by `keep_features`.
        arguments: what nnU-Net gives to its class.
    """

    def __init__(self, plain: Callable[..., Any], folder: Path, *arguments: Any, **options: Any) -> None:
        self.inner, self.folder = plain(*arguments, **options), folder
        self.identifiers = self.inner.identifiers

    def __getitem__(self, name: str) -> tuple[Any, ...]:
        return self.load_case(name)

    def load_case(self, name: str) -> tuple[Any, ...]:
        """(image and features, segmentation, segmentation of the stage before, properties)."""
        image, *rest = self.inner.load_case(name)
        stored = load_file(self.folder / f"{name}.safetensors")
        return ImageAndFeatures(image, [stored[key] for key in sorted(stored)]), *rest


class WithFeatures:
    """In the place of nnU-Net's data set class: everything of it, but cases come with the features of `folder`."""

    def __init__(self, plain: Any, folder: Path) -> None:
        self.plain, self.folder = plain, folder

    def __call__(self, *arguments: Any, **options: Any) -> BorrowedDataset:
        """A data set."""
        return BorrowedDataset(self.plain, self.folder, *arguments, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["plain"], name)


class ImageAndFeatures:
    """An array (channels, D, H, W) whose last channels are read from coarse features, only where somebody looks.

    Args:
        image: array on disk.
        coarse: features over the whole volume.
    """

    def __init__(self, image: Any, coarse: Sequence[Float[Tensor, "_ _ _ _"]]) -> None:
        self.image, self.coarse = image, coarse
        self.shape = (image.shape[0] + sum(map(len, coarse)), *image.shape[1:])
        self.ndim, self.dtype = len(self.shape), np.dtype(np.float32)

    def __getitem__(self, where: Any) -> NDArray[np.float32]:
        """A box of all channels."""
        full: Any = tuple(self.shape[1:])
        asked = where if isinstance(where, tuple) else (where,)
        box = (*asked, *[slice(None)] * (self.ndim - len(asked)))
        bounds = [part.indices(count)[:2] for part, count in zip(box[1:], full, strict=True)]
        start: Any = tuple(first for first, _ in bounds)
        size: Any = tuple(max(0, last - first) for first, last in bounds)
        picture = np.asarray(self.image[(slice(None), *box[1:])], dtype=np.float32)
        features = features_of_box([each.float() for each in self.coarse], full, start, size).numpy()
        return np.concatenate([picture, features])
