"""nnU-Net v2 with borrowed features: `nnUNetv2_train 501 3d_fullres 0 -tr nnUNetTrainerDimlift`.

The only file that imports nnunetv2. nnU-Net's planning, augmentation, loss and evaluation stay as they are; its network
gets more input channels, the features of a frozen 2D network on every voxel.
"""

from pathlib import Path
from typing import Any

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from dimlift.errors import ConfigError
from dimlift.integrations.nnunet.features import BorrowingNetwork, WithFeatures, keep_features
from dimlift.methods.frozen_features.extraction import Extractor
from dimlift.methods.frozen_features.settings import BorrowSettings


class nnUNetTrainerDimlift(nnUNetTrainer):  # noqa: N801 - nnU-Net looks it up by such a name
    """nnU-Net's own recipe on image and borrowed features. Derive from it to change what is borrowed.

    Attributes:
        borrow: network, stages, planes and enlargement of what is borrowed.
        components: channels that are added.
    """

    borrow = BorrowSettings(stages=(0, 1, 2, 3), planes=("depth", "height", "width"))
    components = 16
    dataset_class: Any

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: Any,
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """The network of the plans with more input channels, and what fills them.

        Raises:
            ConfigError: for a 2D configuration or a cascade.
        """
        if len(configuration_manager.patch_size) != 3 or configuration_manager.previous_stage_name is not None:
            raise ConfigError("nnUNetTrainerDimlift is for 3D without a cascade; use 3d_fullres or 3d_lowres")
        extractor = Extractor(cls.borrow)
        inner = nnUNetTrainer.build_network_architecture(
            plans_manager,
            configuration_manager,
            num_input_channels + cls.components,
            num_output_channels,
            enable_deep_supervision,
        )
        z, y, x = map(float, configuration_manager.spacing)
        return BorrowingNetwork(inner, extractor, num_input_channels, cls.components, (z, y, x))

    @property
    def borrowing(self) -> BorrowingNetwork:
        """The network without what nnU-Net wraps it in."""
        found: Any = self.network
        for wrapper in ("module", "_orig_mod"):
            found = getattr(found, wrapper, found)
        return found

    def get_tr_and_val_datasets(self) -> tuple[Any, Any]:
        """The cases with their features, which are computed here if they are not there."""
        self._prepare()
        return super().get_tr_and_val_datasets()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """On the features of whole cases, as in training."""
        self._prepare()
        super().perform_actual_validation(save_probabilities)

    def get_training_transforms(self, *arguments: Any, **options: Any) -> BasicTransform:
        """nnU-Net's; those that change intensities change the image alone."""
        found: Any = nnUNetTrainer.get_training_transforms(*arguments, **options)
        image = self.borrowing.in_channels
        found.transforms = [
            ImageAlone(each, image) if isinstance(each, RandomTransform) else each for each in found.transforms
        ]
        return found

    def _prepare(self) -> None:
        if isinstance(self.dataset_class, WithFeatures):
            return
        plain = self.dataset_class or infer_dataset_class(self.preprocessed_dataset_folder)
        learnt, asked = self.do_split()
        folder = Path(self.output_folder) / "borrowed"
        cache = Path(self.preprocessed_dataset_folder).parent / "dimlift_features"
        cases = plain(self.preprocessed_dataset_folder, sorted({*learnt, *asked}))
        keep_features(self.borrowing, cases, learnt, folder, cache, self.print_to_log_file)
        self.dataset_class = WithFeatures(plain, folder)


class ImageAlone(BasicTransform):
    """Applies a transform to the first channels of the image, and leaves the features as they are."""

    def __init__(self, inner: BasicTransform, channels: int) -> None:
        super().__init__()
        self.inner, self.channels = inner, channels

    def __call__(self, **values: Any) -> dict[str, Any]:
        """Transform `image`."""
        both = values["image"]
        changed = self.inner(**{**values, "image": both[: self.channels]})
        return {**changed, "image": torch.cat([changed["image"], both[self.channels :]])}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"


__all__ = ["nnUNetTrainerDimlift"]
