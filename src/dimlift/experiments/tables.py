"""Names a configuration may use, and what each one stands for. The only lookups by string."""

from collections.abc import Mapping
from typing import TypeVar

from dimlift.errors import UnknownName
from dimlift.experiments.arms.arm import Arm
from dimlift.experiments.arms.borrowed import BorrowedArm
from dimlift.experiments.arms.convnext3d import ConvNeXt3DArm
from dimlift.experiments.arms.external import ExternalArm
from dimlift.experiments.arms.lifted import LiftedArm
from dimlift.experiments.arms.medical_transformer import MedicalTransformerArm
from dimlift.experiments.arms.points import (
    MeanTeacherArm,
    PointArm,
    PointEncoderArm,
    PointHierarchyArm,
    PointTransformerArm,
    PointUNetArm,
    PointViTArm,
)
from dimlift.experiments.arms.pretrained_3d import Pretrained3DArm
from dimlift.experiments.arms.resnet import ResNetArm
from dimlift.experiments.arms.retrospect import RetrospectArm, RetrospectSimple3DArm
from dimlift.experiments.arms.simple3d import Simple3DArm
from dimlift.experiments.arms.slice_classifier import SliceClassifierArm
from dimlift.experiments.arms.slices import SlicesArm
from dimlift.experiments.arms.transseg import TransSegArm
from dimlift.experiments.arms.tubevit import TubeViTArm
from dimlift.experiments.arms.unet import NNUNetArm, SwinUNETRArm, UNetArm, UNETRArm
from dimlift.experiments.pretraining.distinit import DistInitPretraining
from dimlift.experiments.pretraining.medical_transformer import MedicalTransformerPretraining
from dimlift.experiments.pretraining.points import (
    CrossPointPretraining,
    I2PMAEPretraining,
    JointMAEPretraining,
    PointMAEPretraining,
)
from dimlift.experiments.pretraining.ppkt import PPKTPretraining
from dimlift.experiments.pretraining.pretraining import Pretraining
from dimlift.experiments.pretraining.slice_distillation import SliceDistillationPretraining
from dimlift.experiments.pretraining.soft_labels import SoftLabelsPretraining
from dimlift.experiments.pretraining.vdt import VDTPretraining

T = TypeVar("T")

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


def pick(kind: str, table: Mapping[str, T], name: str) -> T:
    """The entry called `name`.

    Raises:
        UnknownName: listing the names there are.
    """
    if name not in table:
        raise UnknownName(kind, name, table)
    return table[name]
