"""nnU-Net v2 with frozen features: `nnUNetv2_train 501 3d_fullres 0 -tr nnUNetTrainerDimlift`.

The only file that imports nnunetv2. Planning, augmentation, loss and evaluation of nnU-Net are unchanged; its network
receives the features of a frozen 2D network at every voxel as additional input channels.
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
from dimlift.integrations.nnunet.features import FeatureDatasetFactory, FeatureInputNetwork, write_case_features
from dimlift.methods.frozen_features.extraction import FeatureExtractor
from dimlift.methods.frozen_features.settings import FeatureExtractionSettings


class nnUNetTrainerDimlift(nnUNetTrainer):  # noqa: N801 - the name nnU-Net searches for
    """nnU-Net's own recipe on image and frozen features. Subclass it to change the features.

    Attributes:
        features: network, stages, planes and upsampling of the features.
        num_components: number of channels that are added.
    """

    features = FeatureExtractionSettings(stages=(0, 1, 2, 3), planes=("depth", "height", "width"))
    num_components = 16
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
        """Build the network of the plans with additional input channels, and the extractor that fills them.

        Raises:
            ConfigError: for a 2D configuration or a cascade.
        """
        if len(configuration_manager.patch_size) != 3 or configuration_manager.previous_stage_name is not None:
            raise ConfigError("nnUNetTrainerDimlift is for 3D without a cascade; use 3d_fullres or 3d_lowres")
        extractor = FeatureExtractor(cls.features)
        inner = nnUNetTrainer.build_network_architecture(
            plans_manager,
            configuration_manager,
            num_input_channels + cls.num_components,
            num_output_channels,
            enable_deep_supervision,
        )
        z, y, x = map(float, configuration_manager.spacing)
        return FeatureInputNetwork(inner, extractor, num_input_channels, cls.num_components, (z, y, x))

    @property
    def feature_network(self) -> FeatureInputNetwork:
        """The network without the wrappers of nnU-Net."""
        found: Any = self.network
        for wrapper in ("module", "_orig_mod"):
            found = getattr(found, wrapper, found)
        return found

    def get_tr_and_val_datasets(self) -> tuple[Any, Any]:
        """Return the datasets with features, which are computed if they are not stored."""
        self._prepare_features()
        return super().get_tr_and_val_datasets()

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Validate on the features of whole cases, as in training."""
        self._prepare_features()
        super().perform_actual_validation(save_probabilities)

    def get_training_transforms(self, *arguments: Any, **options: Any) -> BasicTransform:
        """Return nnU-Net's transforms; those that change intensities apply to the image only."""
        found: Any = nnUNetTrainer.get_training_transforms(*arguments, **options)
        channels = self.feature_network.in_channels
        found.transforms = [
            ImageOnlyTransform(each, channels) if isinstance(each, RandomTransform) else each
            for each in found.transforms
        ]
        return found

    def _prepare_features(self) -> None:
        if isinstance(self.dataset_class, FeatureDatasetFactory):
            return
        dataset_class = self.dataset_class or infer_dataset_class(self.preprocessed_dataset_folder)
        train, validation = self.do_split()
        folder = Path(self.output_folder) / "frozen_features"
        cache = Path(self.preprocessed_dataset_folder).parent / "dimlift_features"
        cases = dataset_class(self.preprocessed_dataset_folder, sorted({*train, *validation}))
        write_case_features(self.feature_network, cases, train, folder, cache, self.print_to_log_file)
        self.dataset_class = FeatureDatasetFactory(dataset_class, folder)


class ImageOnlyTransform(BasicTransform):
    """Applies a transform to the first channels, those of the image."""

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
