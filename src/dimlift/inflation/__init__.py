"""Inflation: 2D kernels to 3D kernels.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

from dimlift.lookup import lazy_exports

if TYPE_CHECKING:
    from dimlift.inflation.inflate import inflate_kernel as inflate_kernel
    from dimlift.inflation.oriented import acs as acs
    from dimlift.inflation.oriented import soft_acs as soft_acs
    from dimlift.inflation.profiles import PROFILES as PROFILES

_HOMES = {
    "PROFILES": "profiles",
    "acs": "oriented",
    "inflate_kernel": "inflate",
    "soft_acs": "oriented",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy_exports(__name__, _HOMES)
