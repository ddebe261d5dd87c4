"""Networks built from an encoder, a decoder and a head, and networks trained from scratch.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

from dimlift.lookup import lazy_exports

if TYPE_CHECKING:
    from dimlift.models.classifier import Classifier as Classifier
    from dimlift.models.feature_fusion_unet import FeatureFusionUNet as FeatureFusionUNet
    from dimlift.models.medical_transformer import PlaneClassifier as PlaneClassifier
    from dimlift.models.medical_transformer import PlaneTransformer as PlaneTransformer
    from dimlift.models.pad_to_multiple import PadToMultiple as PadToMultiple
    from dimlift.models.point_classifier import PointCloudClassifier as PointCloudClassifier
    from dimlift.models.point_m2ae_encoder import PointM2AEEncoder as PointM2AEEncoder
    from dimlift.models.point_segmenter import PointCloudSegmenter as PointCloudSegmenter
    from dimlift.models.point_sparse_unet import PointSparseUNet as PointSparseUNet
    from dimlift.models.point_vit import PointViT as PointViT
    from dimlift.models.resnet import plain_resnet as plain_resnet
    from dimlift.models.segmenter import Segmenter as Segmenter
    from dimlift.models.slice_classifier import SliceClassifier as SliceClassifier
    from dimlift.models.slice_pooling import SliceAttention as SliceAttention
    from dimlift.models.slice_pooling import SliceMean as SliceMean
    from dimlift.models.slice_pooling import SliceTransformer as SliceTransformer
    from dimlift.models.slice_window_segmenter import SliceWindowSegmenter as SliceWindowSegmenter
    from dimlift.models.sparse_unet_heads import point_cloud_unet as point_cloud_unet
    from dimlift.models.tube_transformer import TubeTransformer as TubeTransformer
    from dimlift.models.tubelets import tubelet_encoder as tubelet_encoder
    from dimlift.models.unet import nnunet_unet as nnunet_unet
    from dimlift.models.unet import plain_unet as plain_unet
    from dimlift.models.unet_transformers import swin_unetr as swin_unetr
    from dimlift.models.unet_transformers import unetr as unetr
    from dimlift.models.voxel_transformer import VoxelTransformer as VoxelTransformer

_HOMES = {
    "Classifier": "classifier",
    "FeatureFusionUNet": "feature_fusion_unet",
    "PadToMultiple": "pad_to_multiple",
    "PlaneClassifier": "medical_transformer",
    "PlaneTransformer": "medical_transformer",
    "PointCloudClassifier": "point_classifier",
    "PointCloudSegmenter": "point_segmenter",
    "PointM2AEEncoder": "point_m2ae_encoder",
    "PointSparseUNet": "point_sparse_unet",
    "PointViT": "point_vit",
    "Segmenter": "segmenter",
    "SliceAttention": "slice_pooling",
    "SliceClassifier": "slice_classifier",
    "SliceMean": "slice_pooling",
    "SliceTransformer": "slice_pooling",
    "SliceWindowSegmenter": "slice_window_segmenter",
    "TubeTransformer": "tube_transformer",
    "VoxelTransformer": "voxel_transformer",
    "nnunet_unet": "unet",
    "plain_resnet": "resnet",
    "plain_unet": "unet",
    "point_cloud_unet": "sparse_unet_heads",
    "swin_unetr": "unet_transformers",
    "tubelet_encoder": "tubelets",
    "unetr": "unet_transformers",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy_exports(__name__, _HOMES)
