"""Stop a study once every verdict is decided (`until: decided`), at looks that were planned before it started."""

from pathlib import Path

from dimlift.errors import ConfigError, RunError
from dimlift.records.study import FILE_NAME, Study
from dimlift.report.summary import summarise
from dimlift.report.verdict import OPEN
from dimlift.studies.run_config import FIRST_LOOK, StudyConfig


def is_decided(out: Path) -> bool:
    """Return whether every comparison of a study helps, hurts, or is shown to be smaller than the margin."""
    rows = [row for row in summarise(out).rows if not row.is_reference]
    return all(row.comparison and (row.comparison.verdict != OPEN or row.comparison.margin) for row in rows)


def is_look(config: StudyConfig, seed: int) -> bool:
    """Return whether the study may stop after this seed."""
    return config.until == "decided" and FIRST_LOOK <= config.seeds.index(seed) + 1 < len(config.seeds)


def require_planned_looks(config: StudyConfig, out: Path, local: bool) -> None:
    """Check that the number of looks was planned before the first of them.

    Args:
        config: the study.
        out: its folder.
        local: whether runs are executed one after the other in this process.

    Raises:
        ConfigError: if runs are executed elsewhere, in any order.
        RunError: if the study in `out` was planned with another number of looks.
    """
    if config.until == "decided" and not local:
        raise ConfigError("until: decided needs runs in order, one after the other; use --executor local")
    planned = Study.load(out).looks if (out / FILE_NAME).is_file() else config.looks
    if planned != config.looks:
        raise RunError(
            f"{out} was planned with {_looks(planned)} at its verdicts, and this configuration has "
            f"{_looks(config.looks)}: the correction of the p values would no longer hold; keep until and the number "
            "of seeds, or choose another folder"
        )


def _looks(count: int) -> str:
    return "1 look" if count == 1 else f"{count} looks"
