"""Tokenizers: volumes and point clouds to tokens of a transformer.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

from dimlift.lookup import lazy_exports

if TYPE_CHECKING:
    from dimlift.tokenizers.points import PointPatchEmbedding as PointPatchEmbedding
    from dimlift.tokenizers.tubes import Tube as Tube
    from dimlift.tokenizers.tubes import TubeTokenizer as TubeTokenizer
    from dimlift.tokenizers.voxels import CubeTokenizer as CubeTokenizer
    from dimlift.tokenizers.voxels import GroupTokenizer as GroupTokenizer
    from dimlift.tokenizers.voxels import ProjectionTokenizer as ProjectionTokenizer

_HOMES = {
    "CubeTokenizer": "voxels",
    "GroupTokenizer": "voxels",
    "PointPatchEmbedding": "points",
    "ProjectionTokenizer": "voxels",
    "Tube": "tubes",
    "TubeTokenizer": "tubes",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy_exports(__name__, _HOMES)
