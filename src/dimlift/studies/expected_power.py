"""The smallest difference that a study can detect, stated before it starts."""

from collections.abc import Sequence
from pathlib import Path

from dimlift.errors import DataError, RunError
from dimlift.methods.baselines.external import ExternalConfig
from dimlift.records.record import RunRecord, load_records
from dimlift.records.study import Study
from dimlift.report.measures import MEASURES
from dimlift.report.phrases import plural
from dimlift.report.power import (
    SMALL_STUDIES,
    VarianceComponents,
    detectable_difference,
    power_of,
    typical_estimate,
    variance_components,
)
from dimlift.report.summary import summarise_records
from dimlift.report.verdict import LEVEL
from dimlift.studies.run_config import StudyConfig

MIN_POWER = 0.3
"""A study that detects `report.effect` with a smaller probability is not started."""


def describe_power(config: StudyConfig, cases: int, out: Path, anyway: bool = False) -> str:
    """State what the study can detect; empty for one arm, and where no variance is known.

    The variances are those of the finished runs in `out`; before there are any, those of earlier studies of Dice.

    Args:
        config: the study.
        cases: number of test cases, those of one patient counted once.
        out: folder of the study.
        anyway: do not refuse.

    Raises:
        RunError: if no run has finished, and `report.effect` is detected with a probability below 30 %.
    """
    arms = [name for name, arm in config.arms.items() if not isinstance(arm, ExternalConfig)]
    comparisons, seeds = (len(config.arms) - 1) * len(config.train_sizes), len(config.seeds)
    if not comparisons or not arms:
        return ""
    if min(cases, seeds) < 2:
        few = plural(seeds, "seed") if seeds < 2 else plural(cases, "test case")
        return f"no verdict is possible with {few}; two are the least"
    records = load_records(out / "records") if (out / "records").is_dir() else []
    known = _variances(config, out, records)
    if known is None:
        return ""
    variances, measure, source = known
    level = 1 - (1 - LEVEL) / (comparisons * config.analyses)

    def smallest(cases: int, seeds: int) -> str:
        return f"{detectable_difference(variances, cases, seeds, level):.2g}"

    design = f"{plural(cases, 'test case')}, {plural(seeds, 'seed')}, {plural(comparisons, 'comparison')}"
    if config.analyses > 1:
        design += f", {config.analyses} analyses"
    text = (
        f"detects a difference of {smallest(cases, seeds)} {measure} with a probability of 80 % ({design}); with "
        f"{seeds + 2} seeds {smallest(cases, seeds + 2)}, with {2 * cases} test cases {smallest(2 * cases, seeds)}; "
        f"{source}"
    )
    effect = config.report.effect
    if effect is None:
        return text
    power = power_of(variances, effect, cases, seeds, level)
    if power < MIN_POWER and not anyway and not any(record.status == "finished" for record in records):
        raise RunError(
            f"this study would detect report.effect={effect:g} {measure} with a probability of {power:.0%} only: it "
            f"{text}. Add seeds or test cases, leave out arms or training sizes, or start it with --anyway"
        )
    return f"{text}; report.effect={effect:g} is detected with a probability of {power:.0%}"


def _variances(
    config: StudyConfig, out: Path, records: Sequence[RunRecord]
) -> tuple[VarianceComponents, str, str] | None:
    """Return variances, title of the measure and their source."""
    try:
        summary = summarise_records(Study.load(out), records) if records else None
    except DataError:  # a study that was never written completely is written anew
        summary = None
    typical = typical_estimate(summary) if summary else None
    if summary is not None and typical is not None:
        measured = f"variances of {plural(typical.n_seeds, 'finished seed')}"
        return variance_components(typical), summary.measure.title, measured
    if config.task != "segmentation" or any(arm.modality == "point_clouds" for arm in config.arms.values()):
        return None
    return SMALL_STUDIES, MEASURES["dice"].title, "variances of earlier studies with few labels (docs/results.md)"
