"""Stop a study once every verdict is decided (`until: decided`), at analyses that were planned before it started."""

from pathlib import Path

from dimlift.errors import ConfigError, RunError
from dimlift.records.study import FILE_NAME, Study
from dimlift.report.summary import summarise
from dimlift.report.verdict import OPEN
from dimlift.studies.run_config import FIRST_ANALYSIS, StudyConfig


def is_decided(out: Path) -> bool:
    """Return whether every comparison of a study helps, hurts, or is shown to be smaller than the margin.

    A study without an arm to compare is never decided.
    """
    found = [row.comparison for row in summarise(out).rows if not row.is_reference]
    return bool(found) and all(one is not None and (one.verdict != OPEN or one.margin is not None) for one in found)


def is_analysis(config: StudyConfig, seed: int) -> bool:
    """Return whether the study may stop after this seed."""
    return config.until == "decided" and FIRST_ANALYSIS <= config.seeds.index(seed) + 1 < len(config.seeds)


def require_planned_analyses(config: StudyConfig, out: Path, local: bool) -> None:
    """Check that the number of analyses was planned before the first of them.

    Args:
        config: the study.
        out: its folder.
        local: whether runs are executed one after the other in this process.

    Raises:
        ConfigError: if runs are executed elsewhere, in any order.
        RunError: if the study in `out` was planned with another number of analyses.
    """
    if config.until == "decided" and not local:
        raise ConfigError("until: decided needs runs in order, one after the other; use --executor local")
    planned = Study.load(out).analyses if (out / FILE_NAME).is_file() else config.analyses
    if planned != config.analyses:
        raise RunError(
            f"{out} was planned with {_analyses(planned)} of its verdicts, and this configuration has "
            f"{_analyses(config.analyses)}: the correction of the p values would no longer hold; keep until and the "
            "number of seeds, or choose another folder"
        )


def _analyses(count: int) -> str:
    return "1 analysis" if count == 1 else f"{count} analyses"
