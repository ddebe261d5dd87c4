"""From records to a report page, tables and a verdict. Imports no torch and needs no network access.

Names are imported on first use.
"""

from typing import TYPE_CHECKING

from dimlift.lookup import lazy_exports

if TYPE_CHECKING:
    from dimlift.report.confidence_interval import crossed_interval as crossed_interval
    from dimlift.report.page import write_report as write_report
    from dimlift.report.summary import summarise as summarise
    from dimlift.report.verdict import holm as holm

_HOMES = {
    "crossed_interval": "confidence_interval",
    "holm": "verdict",
    "summarise": "summary",
    "write_report": "page",
}

__all__ = sorted(_HOMES)
__getattr__ = lazy_exports(__name__, _HOMES)
