"""Small options of every method, and builders of small methods; a new method needs an entry."""

from typing import Any

from dimlift.config.method_config import MethodConfig, TaskSpec
from dimlift.methods.registry import METHODS

TIMM_RESNET = {"network": "timm:test_resnet", "pretrained": False}
TIMM_VIT = {"network": "timm:test_vit", "pretrained": False}

SMALL: dict[str, dict[str, Any]] = {
    "unet": {"widths": [4, 8]},
    "nnunet": {"widths": [4, 8, 8]},
    "swin_unetr": {"feature_size": 12},
    "unetr": {"feature_size": 4, "hidden_size": 24, "num_heads": 2},
    "resnet": {"layers": 10, "widths": [8, 8, 8, 8]},
    "convnext3d": {"network": "timm:test_convnext", "pretrained": False, "decoder_channels": 4, "num_stages": 2},
    "slicewise": {**TIMM_RESNET, "decoder_channels": 8},
    "lifted": {**TIMM_RESNET, "decoder_channels": 8},
    "transseg": {**TIMM_RESNET, "decoder_channels": 8, "window": 3, "windows_per_patch": 2},
    "slice_classifier": {**TIMM_RESNET, "embed_dim": 8},
    "simple3d": {**TIMM_VIT, "patch_size": [4, 4, 4]},
    "image_replay": {**TIMM_RESNET, "decoder_channels": 8, "image_dir": "images"},
    "simple3d_image_replay": {**TIMM_VIT, "patch_size": [4, 4, 4], "image_dir": "images"},
    "pretrained_3d": {"widths": [4, 8], "blocks": [1, 1]},
    "external": {"external": "elsewhere"},
    "medical_transformer": {**TIMM_RESNET, "decoder_channels": 8, "layer_width": 8, "layers": 1, "heads": 2},
    "tubevit": {**TIMM_VIT, "tubes": [{"kernel": [4, 4, 4], "stride": [4, 4, 4]}]},
    "frozen_features": {
        "network": "random:timm:test_resnet",
        "stages": None,
        "planes": ["depth"],
        "num_components": 8,
        "widths": [4, 8],
        "upsample": 1,
    },
    "point_unet": {"width_multiplier": 0.25, "voxel_size": 0.3},
    "mean_teacher": {"width_multiplier": 0.25, "voxel_size": 0.3},
    "point_transformer": {"num_groups": 8, "group_size": 8, "width": 24, "depth": 1, "heads": 2},
    "point_m2ae": {"num_groups": [16, 8], "group_sizes": [8, 4], "widths": [12, 24], "depths": [1, 1], "heads": 2},
    "point_vit": {**TIMM_VIT, "blocks": 1, "num_neighbors": 4},
}

VOLUME_LABEL_METHODS = {"simple3d", "simple3d_image_replay", "resnet", "slice_classifier", "tubevit"}
"""Methods with one output per volume, and none per voxel."""


def small_arm(name: str, **options: Any) -> MethodConfig:
    """Return the small options of a method."""
    return METHODS[name].model_validate({"method": name, **SMALL[name], **options})


def small_task(name: str) -> TaskSpec:
    """Return a task that a method supports: 3 classes, one channel, volumes of 8 x 16 x 16 voxels or points."""
    if METHODS[name].modality == "point_clouds":
        return TaskSpec("segmentation", 3, 3, None, (0, 0, 0))
    kind = "classification" if name in VOLUME_LABEL_METHODS else "segmentation"
    return TaskSpec(kind, 1, 3, (1.0, 1.0, 1.0), (8, 16, 16))
