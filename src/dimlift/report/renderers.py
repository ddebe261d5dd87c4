"""The renderer of each modality."""

from dimlift.report.case_views import CaseRenderer
from dimlift.report.overlays import VolumeRenderer
from dimlift.report.point_views import PointCloudRenderer

RENDERERS: dict[str, CaseRenderer] = {"volumes": VolumeRenderer(), "point_clouds": PointCloudRenderer()}
"""Keys are those of `Study.modality`."""
