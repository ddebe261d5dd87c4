"""Names a configuration may use, and what each one stands for. The only lookups by string."""

from dimlift.config.method_config import Arm
from dimlift.config.pretraining_config import Pretraining
from dimlift.methods.baselines.external import ExternalArm
from dimlift.methods.baselines.pretrained_3d import Pretrained3DArm
from dimlift.methods.baselines.resnet import ResNetArm
from dimlift.methods.baselines.unets import NNUNetArm, SwinUNETRArm, UNetArm, UNETRArm
from dimlift.methods.convnext3d.config import ConvNeXt3DArm
from dimlift.methods.distillation.distinit_config import DistInitPretraining
from dimlift.methods.distillation.slice_features_config import SliceDistillationPretraining
from dimlift.methods.distillation.vdt_config import VDTPretraining
from dimlift.methods.frozen_features.config import BorrowedArm
from dimlift.methods.image_replay.config import RetrospectArm, RetrospectSimple3DArm
from dimlift.methods.lifted.config import LiftedArm
from dimlift.methods.medical_transformer.config import MedicalTransformerArm
from dimlift.methods.medical_transformer.pretraining import MedicalTransformerPretraining
from dimlift.methods.points.config import (
    MeanTeacherArm,
    PointArm,
    PointEncoderArm,
    PointHierarchyArm,
    PointTransformerArm,
    PointUNetArm,
    PointViTArm,
)
from dimlift.methods.points.mae_config import (
    CrossPointPretraining,
    I2PMAEPretraining,
    JointMAEPretraining,
    PointMAEPretraining,
)
from dimlift.methods.points.ppkt_config import PPKTPretraining
from dimlift.methods.points.soft_labels_config import SoftLabelsPretraining
from dimlift.methods.simple3d.config import Simple3DArm
from dimlift.methods.slice_classifier.config import SliceClassifierArm
from dimlift.methods.slicewise.config import SlicesArm
from dimlift.methods.transseg.config import TransSegArm
from dimlift.methods.tubevit.config import TubeViTArm

METHODS: dict[str, type[Arm]] = {
    "unet": UNetArm,
    "nnunet": NNUNetArm,
    "swin_unetr": SwinUNETRArm,
    "unetr": UNETRArm,
    "resnet": ResNetArm,
    "medical_transformer": MedicalTransformerArm,
    "tubevit": TubeViTArm,
    "slices": SlicesArm,
    "slice_classifier": SliceClassifierArm,
    "lifted": LiftedArm,
    "retrospect": RetrospectArm,
    "convnext3d": ConvNeXt3DArm,
    "transseg": TransSegArm,
    "simple3d": Simple3DArm,
    "simple3d_retrospect": RetrospectSimple3DArm,
    "borrowed": BorrowedArm,
    "pretrained_3d": Pretrained3DArm,
    "external": ExternalArm,
}

POINT_NETWORKS: dict[str, type[PointEncoderArm]] = {
    "point_transformer": PointTransformerArm,
    "point_hierarchy": PointHierarchyArm,
    "point_vit": PointViTArm,
}
"""Networks that learn from clouds without labels."""

POINT_METHODS: dict[str, type[PointArm]] = {
    "point_unet": PointUNetArm,
    "mean_teacher": MeanTeacherArm,
    **POINT_NETWORKS,
}
"""What learns from labelled clouds."""

PRETRAINING: dict[str, type[Pretraining]] = {
    "medical_transformer": MedicalTransformerPretraining,
    "slice_distillation": SliceDistillationPretraining,
    "distinit": DistInitPretraining,
    "ppkt": PPKTPretraining,
    "vdt": VDTPretraining,
    "soft_labels": SoftLabelsPretraining,
    "point_mae": PointMAEPretraining,
    "i2p_mae": I2PMAEPretraining,
    "joint_mae": JointMAEPretraining,
    "crosspoint": CrossPointPretraining,
}
