"""Lifting: convert a 2D network into one that reads volumes.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

from dimlift.lookup import lazy_exports

if TYPE_CHECKING:
    from dimlift.lifting.bn_recalibration import recalibrate_bn as recalibrate_bn
    from dimlift.lifting.certify.certificate import Certificate as Certificate
    from dimlift.lifting.depth_plan import DepthPlan as DepthPlan
    from dimlift.lifting.lifted_module import LiftedModule as LiftedModule
    from dimlift.lifting.registry import AttentionType as AttentionType
    from dimlift.lifting.registry import ConvType as ConvType
    from dimlift.lifting.registry import register_attention as register_attention
    from dimlift.lifting.registry import register_conv as register_conv
    from dimlift.lifting.registry import register_layer as register_layer
    from dimlift.lifting.registry import register_stem as register_stem

_HOMES = {
    "AttentionType": "registry",
    "Certificate": "certify.certificate",
    "ConvType": "registry",
    "DepthPlan": "depth_plan",
    "LiftedModule": "lifted_module",
    "recalibrate_bn": "bn_recalibration",
    "register_attention": "registry",
    "register_conv": "registry",
    "register_layer": "registry",
    "register_stem": "registry",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy_exports(__name__, _HOMES)
