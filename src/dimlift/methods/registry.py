"""Registry of methods: the name used in configurations, and the class of its options."""

from dimlift.config.method_config import MethodConfig
from dimlift.config.pretraining_config import Pretraining
from dimlift.methods.baselines.external import ExternalConfig
from dimlift.methods.baselines.pretrained_3d import Pretrained3DConfig
from dimlift.methods.baselines.resnet import ResNetConfig
from dimlift.methods.baselines.unets import NNUNetConfig, SwinUNETRConfig, UNetConfig, UNETRConfig
from dimlift.methods.convnext3d.config import ConvNeXt3DConfig
from dimlift.methods.crosspoint.pretraining import CrossPointPretraining
from dimlift.methods.distinit.pretraining import DistInitPretraining
from dimlift.methods.frozen_features.config import FrozenFeaturesConfig
from dimlift.methods.i2p_mae.pretraining import I2PMAEPretraining
from dimlift.methods.image_replay.config import ImageReplayConfig, Simple3DImageReplayConfig
from dimlift.methods.joint_mae.pretraining import JointMAEPretraining
from dimlift.methods.lifted.config import LiftedConfig
from dimlift.methods.mae.pretraining import MAEPretraining
from dimlift.methods.mean_teacher.config import MeanTeacherConfig
from dimlift.methods.medical_transformer.config import MedicalTransformerConfig
from dimlift.methods.medical_transformer.pretraining import MedicalTransformerPretraining
from dimlift.methods.point_mae.pretraining import PointMAEPretraining
from dimlift.methods.point_networks.base import PointEncoderConfig
from dimlift.methods.point_networks.encoders import PointM2AEConfig, PointTransformerConfig, PointViTConfig
from dimlift.methods.point_networks.sparse_unet import PointUNetConfig
from dimlift.methods.ppkt.pretraining import PPKTPretraining
from dimlift.methods.simple3d.config import Simple3DConfig
from dimlift.methods.slice_classifier.config import SliceClassifierConfig
from dimlift.methods.slice_distillation.pretraining import SliceDistillationPretraining
from dimlift.methods.slicewise.config import SlicewiseConfig
from dimlift.methods.soft_labels.pretraining import SoftLabelsPretraining
from dimlift.methods.transseg.config import TransSegConfig
from dimlift.methods.tubevit.config import TubeViTConfig
from dimlift.methods.vdt.pretraining import VDTPretraining

METHODS: dict[str, type[MethodConfig]] = {
    "unet": UNetConfig,
    "nnunet": NNUNetConfig,
    "swin_unetr": SwinUNETRConfig,
    "unetr": UNETRConfig,
    "resnet": ResNetConfig,
    "medical_transformer": MedicalTransformerConfig,
    "tubevit": TubeViTConfig,
    "slicewise": SlicewiseConfig,
    "slice_classifier": SliceClassifierConfig,
    "lifted": LiftedConfig,
    "image_replay": ImageReplayConfig,
    "convnext3d": ConvNeXt3DConfig,
    "transseg": TransSegConfig,
    "simple3d": Simple3DConfig,
    "simple3d_image_replay": Simple3DImageReplayConfig,
    "frozen_features": FrozenFeaturesConfig,
    "pretrained_3d": Pretrained3DConfig,
    "external": ExternalConfig,
    "point_unet": PointUNetConfig,
    "mean_teacher": MeanTeacherConfig,
    "point_transformer": PointTransformerConfig,
    "point_m2ae": PointM2AEConfig,
    "point_vit": PointViTConfig,
}
"""Options of all methods, of volumes first, then of point clouds."""

POINT_ENCODERS: dict[str, type[PointEncoderConfig]] = {
    name: options for name, options in METHODS.items() if issubclass(options, PointEncoderConfig)
}
"""Point cloud networks that can be pretrained without labels."""


def methods_for(modality: str) -> dict[str, type[MethodConfig]]:
    """Return the methods of a modality, "volumes" or "point_clouds"."""
    return {name: options for name, options in METHODS.items() if options.modality == modality}


PRETRAINING: dict[str, type[Pretraining]] = {
    "medical_transformer": MedicalTransformerPretraining,
    "slice_distillation": SliceDistillationPretraining,
    "mae": MAEPretraining,
    "distinit": DistInitPretraining,
    "ppkt": PPKTPretraining,
    "vdt": VDTPretraining,
    "soft_labels": SoftLabelsPretraining,
    "point_mae": PointMAEPretraining,
    "i2p_mae": I2PMAEPretraining,
    "joint_mae": JointMAEPretraining,
    "crosspoint": CrossPointPretraining,
}
"""Pretraining methods and the classes of their options."""
