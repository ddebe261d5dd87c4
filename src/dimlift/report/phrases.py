"""Numbers and verdicts in words. Everything the report claims is phrased here."""

from collections.abc import Sequence

from dimlift.records.study import Study
from dimlift.report.measures import Measure
from dimlift.report.mixed_effects import Estimate
from dimlift.report.summary_types import Row, Worth

MOST_NAMES = 8
"""Arms named in the verdict for each of its parts."""

MINUS = "\N{MINUS SIGN}"


def number(value: float, digits: int = 3) -> str:
    """0.812, with a true minus."""
    return f"{value:.{digits}f}".replace("-", MINUS)


def signed(value: float, digits: int = 3) -> str:
    """+0.021 or −0.004; a value that rounds to nothing gets no sign."""
    text = f"{value:+.{digits}f}"
    return (text if float(text) else text[1:]).replace("-", MINUS)


def chance(p: float) -> str:
    """p = 0.012, or p < 0.001."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def counted(count: int, noun: str) -> str:
    """1 seed, 2 seeds."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def interval(found: Estimate, digits: int = 3) -> str:
    """The interval in words, or that there is none."""
    if found.low is None or found.high is None:
        return "no interval"
    return f"{signed(found.low, digits)} to {signed(found.high, digits)}"


def duration(seconds: float) -> str:
    """A time a person can grasp: 48 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def memory(size: int) -> str:
    """A size a person can grasp, in powers of 1024."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def energy(joules: float) -> str:
    """0.8 Wh, 12 Wh, 1.20 kWh."""
    hours = joules / 3600
    return f"{hours / 1000:.2f} kWh" if hours >= 1000 else f"{hours:.1f} Wh" if hours < 10 else f"{hours:.0f} Wh"


def worth(found: Worth) -> str:
    """As many labelled cases of the reference, with the interval; beyond what was tried only "more" or "fewer"."""

    def said(cases: float | None) -> str:
        if cases is None:
            return f"more than {found.most:g}"
        return f"fewer than {found.fewest:g}" if cases == 0 else f"{cases:.0f}"

    if (found.low, found.high) == (found.cases, found.cases) or found.low == found.high:
        return said(found.cases)
    return f"{said(found.cases)} ({said(found.low)} to {said(found.high)})"


def share_of_labels(fraction: float) -> str:
    """at 0.5 of the labels, with 8 labelled cases: shares end at 1, counts begin above it."""
    return f"with {fraction:g} labelled cases" if fraction > 1 else f"at {fraction:g} of the labels"


def listed(names: Sequence[str]) -> str:
    """a, b and c."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def verdict_sentence(study: Study, measure: Measure, rows: Sequence[Row], finished: int) -> str:
    """The verdict of a study: one sentence with the numbers that carry it."""
    reference = study.arms[study.reference].title or study.reference
    if len(study.arms) == 1:
        own = next((row.mean for row in rows if row.mean is not None), None)
        found = "nothing has finished yet" if own is None else f"mean {measure.title} {number(own, measure.digits)}"
        return f"Nothing to compare: the study has one arm, {reference} ({found})."
    if not any(row.finished and row.is_reference for row in rows):
        return f"No evidence yet: {finished} of {study.planned} cells have finished, none of the reference {reference}."
    compared = [row for row in rows if row.comparison]
    if not compared:
        return f"No evidence yet: no arm has a finished cell that pairs with one of the reference {reference}."
    helps = [row for row in compared if row.comparison and row.comparison.verdict == "helps"]
    hurts = [row for row in compared if row.comparison and row.comparison.verdict == "hurts"]
    open_ = [row for row in compared if row not in helps and row not in hurts]
    fractions = len({row.fraction for row in rows}) > 1
    if not helps and not hurts:
        return _no_evidence(reference, measure, compared, fractions)
    common = _common_size(compared)
    parts = []
    for found_rows, verb in ((helps, "help"), (hurts, "hurt")):
        if found_rows:
            named = listed(_first([_with_numbers(row, measure, fractions, bool(common)) for row in found_rows]))
            parts.append(f"{named} {verb}{'s' if len(found_rows) == 1 else ''}")
    if open_:
        parts.append(f"no evidence yet for {listed(_first([_name(row, fractions) for row in open_]))}")
    return f"Compared with {reference}{common}: {'; '.join(parts)}."


def _first(names: list[str]) -> list[str]:
    """Few enough to be read in one breath; the others are counted."""
    return names if len(names) <= MOST_NAMES else [*names[:MOST_NAMES], f"{len(names) - MOST_NAMES} more"]


def _common_size(rows: Sequence[Row]) -> str:
    """Over how many cases and seeds, if that is the same for all; said once it need not be said for each."""
    sizes = {(row.comparison.estimate.n_cases, row.comparison.estimate.n_seeds) for row in rows if row.comparison}
    if len(sizes) != 1:
        return ""
    cases, seeds = sizes.pop()
    return f" over {counted(cases, 'case')} and {counted(seeds, 'seed')}"


def _no_evidence(reference: str, measure: Measure, compared: Sequence[Row], fractions: bool) -> str:
    largest = max(compared, key=lambda row: abs(row.comparison.estimate.mean) if row.comparison else 0)
    if all(row.comparison and row.comparison.estimate.n_seeds < 2 for row in compared):
        start = "No evidence yet: each arm was trained once, and one run cannot tell an arm from its luck"
    elif len(compared) == 1:
        start = f"No evidence yet that {_name(largest, fractions)} is better or worse than {reference}"
    else:
        start = f"No evidence yet that any of {len(compared)} arms is better or worse than {reference}"
    which = "the difference" if len(compared) == 1 else "the largest difference"
    why = largest.comparison.why if largest.comparison else ""
    end = f", {why}" if why.startswith("not beyond") else ""
    return f"{start}; {which} is that of {_with_numbers(largest, measure, fractions)}{end}."


def _name(row: Row, fractions: bool) -> str:
    return f"{row.title} {share_of_labels(row.fraction)}" if fractions else row.title


def _with_numbers(row: Row, measure: Measure, fractions: bool, brief: bool = False) -> str:
    if row.comparison is None:
        return _name(row, fractions)
    found = row.comparison.estimate
    covers = {"cases": " over cases only", "seeds": " over seeds only"}.get(found.covers, "")
    numbers = [f"{measure.title} {signed(found.mean, measure.digits)}"]
    if found.low is not None:
        numbers.append(f"95 % interval{covers} {interval(found, measure.digits)}")
    if not brief:
        numbers.append(f"{counted(found.n_cases, 'case')}, {counted(found.n_seeds, 'seed')}")
    return f"{_name(row, fractions)} ({', '.join(numbers)})"
