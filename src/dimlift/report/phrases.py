"""Formatting of numbers, and the sentence of the verdict."""

from collections.abc import Sequence

from dimlift.records.study import Study
from dimlift.records.train_size import TrainSize
from dimlift.report.confidence_interval import CrossedInterval, unseen_share
from dimlift.report.measures import Measure
from dimlift.report.robustness import tolerated_failure
from dimlift.report.summary_types import LabelSavings, SummaryRow
from dimlift.report.verdict import INCLUDES_ZERO, ONE_SEED, OPEN

MAX_NAMES = 8
"""Arms named in each part of the verdict."""

MINUS = "\N{MINUS SIGN}"


def format_number(value: float, digits: int = 3) -> str:
    """Return for example 0.812, with a typographic minus."""
    return f"{value:.{digits}f}".replace("-", MINUS)


def format_signed(value: float, digits: int = 3) -> str:
    """Return for example +0.021 or −0.004; a value that rounds to zero has no sign."""
    text = f"{value:+.{digits}f}"
    return (text if float(text) else text[1:]).replace("-", MINUS)


def format_p(p: float) -> str:
    """Return for example p = 0.012 or p < 0.001."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def plural(count: int, noun: str) -> str:
    """Return for example 1 seed or 2 seeds."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def format_interval(estimate: CrossedInterval, digits: int = 3) -> str:
    """Return the interval, or state that there is none."""
    if estimate.low is None or estimate.high is None:
        return "no interval"
    return f"{format_signed(estimate.low, digits)} to {format_signed(estimate.high, digits)}"


def format_duration(seconds: float) -> str:
    """Return for example 48 s, 3 min 20 s or 2 h 05 min."""
    rounded = round(seconds)
    if rounded < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60:02d} s"
    return f"{rounded // 3600} h {rounded % 3600 // 60:02d} min"


def format_memory(size: int) -> str:
    """Return a size in MiB or GiB."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def format_energy(joules: float) -> str:
    """Return for example 0.8 Wh, 12 Wh or 1.20 kWh."""
    hours = joules / 3600
    return f"{hours / 1000:.2f} kWh" if hours >= 1000 else f"{hours:.1f} Wh" if hours < 10 else f"{hours:.0f} Wh"


def format_label_savings(savings: LabelSavings) -> str:
    """Return the number of labelled cases with its interval; "more than" or "fewer than" outside the tested range."""

    def format_count(cases: float | None) -> str:
        if cases is None:
            return f"more than {savings.max_cases:g}"
        return f"fewer than {savings.min_cases:g}" if cases == 0 else f"{cases:.0f}"

    if (savings.low, savings.high) == (savings.cases, savings.cases) or savings.low == savings.high:
        return format_count(savings.cases)
    return f"{format_count(savings.cases)} ({format_count(savings.low)} to {format_count(savings.high)})"


def format_train_size(size: TrainSize) -> str:
    """Return for example "with 8 labelled cases", "at 0.5 of the labels" or "with all labels"."""
    if size.count is not None:
        return f"with {plural(size.count, 'labelled case')}"
    return "with all labels" if size.fraction == 1 else f"at {size.fraction:g} of the labels"


def join_names(names: Sequence[str]) -> str:
    """Return for example "a, b and c"."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def verdict_sentence(study: Study, measure: Measure, rows: Sequence[SummaryRow], finished: int) -> str:
    """Return the verdict of a study in one sentence with the numbers that support it."""
    reference = study.arms[study.reference].title or study.reference
    if len(study.arms) == 1:
        own = next((row.mean for row in rows if row.mean is not None), None)
        result = "no run has finished" if own is None else f"mean {measure.title} {format_number(own, measure.digits)}"
        return f"No comparison: the study has one arm, {reference} ({result})."
    if not any(row.finished and row.is_reference for row in rows):
        return f"No evidence yet: {finished} of {study.planned} runs have finished, none of the reference {reference}."
    compared = [row for row in rows if row.comparison]
    if not compared:
        return f"No evidence yet: no arm has a finished run that pairs with one of the reference {reference}."
    helps = [row for row in compared if row.comparison and row.comparison.verdict == "helps"]
    hurts = [row for row in compared if row.comparison and row.comparison.verdict == "hurts"]
    undecided = [row for row in compared if row not in helps and row not in hurts]
    sizes = len({row.train_size for row in rows}) > 1
    added = _negligible(measure, compared, sizes) + _for_these_weights(compared, sizes)
    if not helps and not hurts:
        return _no_evidence(reference, measure, compared, sizes) + added
    common = _common_sample(compared)
    parts = []
    for decided, verb in ((helps, "help"), (hurts, "hurt")):
        if decided:
            names = join_names(_truncate([_with_numbers(row, measure, sizes, bool(common)) for row in decided]))
            parts.append(f"{names} {verb}{'s' if len(decided) == 1 else ''}")
    if undecided:
        parts.append(f"no evidence yet for {join_names(_truncate([_name(row, sizes) for row in undecided]))}")
    return f"Compared with {reference}{common}: {'; '.join(parts)}.{added}"


def verdict_limits(rows: Sequence[SummaryRow], digits: int = 3) -> list[str]:
    """Return sentences on what the verdicts rest on: a single case or seed, and failures that the sample can miss."""
    compared = [row for row in rows if row.comparison]
    sizes = len({row.train_size for row in rows}) > 1
    sentences = [
        f"{_name(row, sizes)}: this verdict rests on {row.comparison.decisive}; without it the interval includes zero."
        for row in compared
        if row.comparison and row.comparison.decisive and row.comparison.verdict != OPEN
    ]
    decided = [row for row in compared if row.comparison and row.comparison.verdict != OPEN]
    weakest = min(decided, key=_tolerated, default=None)
    if weakest is None or weakest.comparison is None:
        return sentences
    estimate = weakest.comparison.estimate
    cases, seeds = (unseen_share(count) for count in (estimate.n_cases, estimate.n_seeds))
    sentences.append(
        f"Failures that never occurred in the sample are in no interval: {plural(estimate.n_cases, 'case')} can miss "
        f"those of up to {cases:.0%} of cases, {plural(estimate.n_seeds, 'seed')} a collapse of up to {seeds:.0%} of "
        f"trainings (probability 5 %). If so many cases failed by {format_number(_tolerated(weakest), digits)}, the "
        f"difference of {_name(weakest, sizes)} would be zero."
    )
    return sentences


def _tolerated(row: SummaryRow) -> float:
    estimate = row.comparison.estimate if row.comparison else None
    return tolerated_failure(estimate.mean, estimate.n_cases) if estimate else 0.0


def _negligible(measure: Measure, compared: Sequence[SummaryRow], sizes: bool) -> str:
    """Return the sentence about arms whose difference is shown to be smaller than the margin."""
    rows = [row for row in compared if row.comparison and row.comparison.margin]
    if not rows or rows[0].comparison is None:
        return ""
    names = join_names(_truncate([_name(row, sizes) for row in rows]))
    return f" No difference larger than {rows[0].comparison.margin:g} {measure.title}: {names}."


def _for_these_weights(compared: Sequence[SummaryRow], sizes: bool) -> str:
    """Return the sentence about arms with a single training, judged over cases only."""
    rows = [row for row in compared if row.comparison and row.comparison.for_these_weights != OPEN]
    if not rows:
        return ""
    parts = [
        f"{_name(row, sizes)} {row.comparison.for_these_weights} on other cases ({format_p(p)})"
        for row in rows
        if row.comparison and (p := row.comparison.p_for_these_weights) is not None
    ]
    return f" For these weights, whatever another training would give: {join_names(_truncate(parts))}."


def _truncate(names: list[str]) -> list[str]:
    """Limit the number of names; the others are counted."""
    return names if len(names) <= MAX_NAMES else [*names[:MAX_NAMES], f"{len(names) - MAX_NAMES} more"]


def _common_sample(rows: Sequence[SummaryRow]) -> str:
    """Return the number of cases and seeds if it is the same for all rows, so that it is stated once."""
    samples = {(row.comparison.estimate.n_cases, row.comparison.estimate.n_seeds) for row in rows if row.comparison}
    if len(samples) != 1:
        return ""
    cases, seeds = samples.pop()
    return f" over {plural(cases, 'case')} and {plural(seeds, 'seed')}"


def _no_evidence(reference: str, measure: Measure, compared: Sequence[SummaryRow], sizes: bool) -> str:
    largest = max(compared, key=lambda row: abs(row.comparison.estimate.mean) if row.comparison else 0)
    if all(row.comparison and row.comparison.estimate.n_seeds < 2 for row in compared):
        start = "No evidence yet: each arm was trained once, and a single run cannot separate an arm from chance"
    elif len(compared) == 1:
        start = f"No evidence yet that {_name(largest, sizes)} is better or worse than {reference}"
    else:
        start = f"No evidence yet that any of {len(compared)} arms is better or worse than {reference}"
    which = "the difference" if len(compared) == 1 else "the largest difference"
    reason = largest.comparison.reason if largest.comparison else ""
    end = f", {reason}" if reason not in ("", INCLUDES_ZERO, ONE_SEED) else ""
    return f"{start}; {which} is that of {_with_numbers(largest, measure, sizes)}{end}."


def _name(row: SummaryRow, sizes: bool) -> str:
    return f"{row.title} {format_train_size(row.train_size)}" if sizes else row.title


def _with_numbers(row: SummaryRow, measure: Measure, sizes: bool, brief: bool = False) -> str:
    if row.comparison is None:
        return _name(row, sizes)
    estimate = row.comparison.estimate
    covers = {"cases": " over cases only", "seeds": " over seeds only"}.get(estimate.covers, "")
    numbers = [f"{measure.title} {format_signed(estimate.mean, measure.digits)}"]
    if estimate.low is not None:
        numbers.append(f"95 % interval{covers} {format_interval(estimate, measure.digits)}")
    if not brief:
        numbers.append(f"{plural(estimate.n_cases, 'case')}, {plural(estimate.n_seeds, 'seed')}")
    return f"{_name(row, sizes)} ({', '.join(numbers)})"
