"""Calibration of the verdict on simulated studies of two arms, with and without a true effect.

    python benchmarks/calibration.py [--studies 2000] [--cache FILE] [--results docs/results.md]

Each study is a table of paired differences, one per case and seed: a case effect plus a seed effect (training
variance) plus a residual, and in some regimes failures: a share of the cases, or of the trainings, is worse by half a
Dice point, and the others are better by so much that the true difference is zero. For each regime and size the
benchmark reports the rate of "helps" or "hurts" without an effect, the rate of "no difference larger than" at exactly
that difference, and the power before and after the guards against skewness and single cases. `--cache` keeps finished
entries, so that an interrupted run continues.
"""

import argparse
import json
import re
import textwrap
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from dimlift.report.confidence_interval import half_width
from dimlift.report.paired_differences import PairedDifferences
from dimlift.report.robustness import tolerated_failure
from dimlift.report.verdict import VerdictRules, compare_arms

HEADING = "## Calibration of the verdict"
FAILURE = 0.5
"""Dice that a failed case or training loses."""

STANDARD_ERRORS = 3.0
"""True effect in the columns of power, in standard errors of the mean."""


@dataclass(frozen=True)
class Regime:
    """Standard deviations of a difference in Dice, failures, and which entries of the table exist.

    Attributes:
        failed_cases, failed_seeds: probability that a case or a training loses `FAILURE`.
        tail: distribution of the cases, "normal", "exponential" (skewed) or "lognormal" (a long lower tail).
    """

    name: str
    case: float
    seed: float
    residual: float
    fold: float = 0.0
    shape: str = "full"
    tail: str = "normal"
    failed_cases: float = 0.0
    failed_seeds: float = 0.0

    @property
    def fails(self) -> bool:
        """Whether cases or trainings fail."""
        return bool(self.failed_cases or self.failed_seeds)


REGIMES = (
    Regime("no seed variance", 0.03, 0.0, 0.03),
    Regime("small seed variance", 0.03, 0.005, 0.03),
    Regime("as on small data sets", 0.03, 0.01, 0.03),
    Regime("large seed variance", 0.03, 0.02, 0.03),
    Regime("only seeds", 0.0, 0.01, 0.01),
    Regime("only residual (A/A)", 0.0, 0.0, 0.03),
    Regime("residual and seeds (A/A)", 0.0, 0.01, 0.03),
    Regime("cases differ most", 0.05, 0.005, 0.01),
    Regime("exponential cases", 0.03, 0.01, 0.02, tail="exponential"),
    Regime("lognormal cases", 0.03, 0.005, 0.02, tail="lognormal"),
    Regime("variance per cv fold", 0.03, 0.0, 0.02, fold=0.02),
    Regime("half of the last seed missing", 0.03, 0.01, 0.02, shape="half"),
    Regime("two cases of the last seed", 0.03, 0.01, 0.02, shape="two"),
    Regime("own cases per seed", 0.03, 0.01, 0.02, shape="own"),
    Regime("1 case in 5 fails", 0.0, 0.005, 0.02, failed_cases=1 / 5),
    Regime("1 case in 10 fails", 0.0, 0.005, 0.02, failed_cases=1 / 10),
    Regime("1 case in 20 fails", 0.0, 0.005, 0.02, failed_cases=1 / 20),
    Regime("1 case in 5 fails, cases differ", 0.03, 0.005, 0.03, failed_cases=1 / 5),
    Regime("1 case in 10 fails, cases differ", 0.03, 0.005, 0.03, failed_cases=1 / 10),
    Regime("1 case in 20 fails, cases differ", 0.03, 0.005, 0.03, failed_cases=1 / 20),
    Regime("1 training in 5 fails", 0.03, 0.005, 0.02, failed_seeds=1 / 5),
)
SIZES = ((8, 3), (20, 3), (20, 5), (30, 5), (50, 5))
SINGLE = (("small seed variance", "only residual (A/A)", "lognormal cases", "1 case in 5 fails"), (20, 50))
"""Regimes and numbers of cases for arms with one training."""


def simulate_tables(
    regime: Regime, cases: int, seeds: int, studies: int, stream: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield differences (cases, seeds) without an effect, and a mask of those that exist; `stream` changes the seed."""
    rng = np.random.default_rng([cases, seeds, zlib.crc32(regime.name.encode()), stream])
    keep = np.ones((cases, seeds), bool)
    if regime.shape == "half":
        keep[cases // 2 :, -1] = False
    elif regime.shape == "two":
        keep[2:, -1] = False
    elif regime.shape == "own":
        keep = np.arange(cases)[:, None] % seeds == np.arange(seeds)
    for _ in range(studies):
        case_effect = draw_cases(rng, regime.tail, cases)
        fold_effect = rng.normal(0, regime.fold, (5, seeds))[np.arange(cases) % 5]
        seed_effect = rng.normal(0, regime.seed, (1, seeds))
        residual = rng.normal(0, regime.residual, (cases, seeds))
        failures = draw_failures(rng, regime.failed_cases, (cases, 1)) + draw_failures(
            rng, regime.failed_seeds, (1, seeds)
        )
        yield regime.case * case_effect + seed_effect + fold_effect + residual + failures, keep


def draw_cases(rng: np.random.Generator, tail: str, cases: int) -> np.ndarray:
    """Return case effects (cases, 1) with mean 0 and standard deviation 1."""
    if tail == "exponential":
        return rng.exponential(size=(cases, 1)) - 1
    if tail == "lognormal":
        return (np.exp(0.5) - np.exp(rng.normal(size=(cases, 1)))) / np.sqrt((np.e - 1) * np.e)
    return rng.normal(size=(cases, 1))


def draw_failures(rng: np.random.Generator, share: float, shape: tuple[int, int]) -> np.ndarray:
    """Return effects with mean 0: a loss of `FAILURE` with probability `share`, otherwise the gain that balances it."""
    if not share:
        return np.zeros(shape)
    return np.where(rng.random(shape) < share, -FAILURE, FAILURE * share / (1 - share))


def standard_error(regime: Regime, cases: int, seeds: int) -> float:
    """Return the true standard error of the mean of a complete table."""

    def failed(share: float) -> float:
        return FAILURE**2 * share / (1 - share) if share else 0.0

    by_case, by_seed = regime.case**2 + failed(regime.failed_cases), regime.seed**2 + failed(regime.failed_seeds)
    fold = regime.fold**2 / (5 * seeds)
    return float(np.sqrt(by_case / cases + by_seed / seeds + regime.residual**2 / (cases * seeds) + fold))


def satterthwaite(table: np.ndarray) -> float:
    """Return the half width from mean squares with Satterthwaite degrees of freedom."""
    by_case, by_seed, residual = mean_variances(table)
    n, s = table.shape
    total = max(by_case + by_seed - residual, by_case, by_seed)
    freedom = total**2 / (by_case**2 / (n - 1) + by_seed**2 / (s - 1) + residual**2 / ((n - 1) * (s - 1)))
    return float(stats.t.ppf(0.975, freedom) * np.sqrt(total))


def seed_means(table: np.ndarray) -> float:
    """Return the half width of the t interval over seed means, with cases as fixed effects."""
    return float(stats.t.ppf(0.975, table.shape[1] - 1) * np.sqrt(mean_variances(table)[1]))


def case_means(table: np.ndarray) -> float:
    """Return the half width of the t interval over case means, with seeds as fixed effects."""
    return float(stats.t.ppf(0.975, len(table) - 1) * np.sqrt(mean_variances(table)[0]))


def all_entries(table: np.ndarray) -> float:
    """Return the half width if all entries were independent."""
    return float(stats.t.ppf(0.975, table.size - 1) * table.std(ddof=1) / np.sqrt(table.size))


def nested_bootstrap(table: np.ndarray, resamples: int = 200) -> float:
    """Return half the percentile interval from resampling seeds, and cases within each seed, with replacement."""
    rng = np.random.default_rng(0)
    n, s = table.shape
    seeds = rng.integers(0, s, (resamples, s, 1))
    means = table[rng.integers(0, n, (resamples, s, n)), seeds].mean((1, 2))
    return float(np.subtract(*np.percentile(means, (97.5, 2.5)))) / 2


def mean_variances(table: np.ndarray) -> tuple[float, float, float]:
    """Return the variance of the mean estimated between cases, between seeds, and from the residual."""
    n, s = table.shape
    residual = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + table.mean()
    return (
        table.mean(1).var(ddof=1) / n,
        table.mean(0).var(ddof=1) / s,
        float((residual**2).sum()) / ((n - 1) * (s - 1)) / (n * s),
    )


OTHERS: dict[str, Callable[[np.ndarray], float]] = {
    "Satterthwaite": satterthwaite,
    "t over seeds": seed_means,
    "t over cases": case_means,
    "all entries": all_entries,
    "bootstrap": nested_bootstrap,
}


def measure(regime: Regime, cases: int, seeds: int, studies: int) -> dict[str, float]:
    """Return the percentages for one regime and size."""
    effect = STANDARD_ERRORS * standard_error(regime, cases, seeds)
    rules = VerdictRules(margin=effect)
    strict_count = seeds if regime.failed_seeds else cases
    names = ("false", "strict", "unguarded", "covered", "equal", "before", "power", *OTHERS)
    counts: dict[str, float] = dict.fromkeys(names, 0)
    for index, (table, keep) in enumerate(simulate_tables(regime, cases, seeds, studies)):
        case, seed = np.nonzero(keep)
        for shift in (0.0, effect)[: 1 + (index % 2 and not regime.fails)]:
            pairs = PairedDifferences(table[keep] + shift, case, seed, 0)
            found = compare_arms({"arm": pairs}, rules=rules)["arm"]
            estimate = found.estimate
            if shift:
                counts["power"] += 2 * (found.verdict == "helps")
                counts["before"] += 2 * (estimate.mean > half_width(estimate, 0.05))
                counts["equal"] += 2 * (found.margin is not None)
            else:
                wrong = found.verdict != "no evidence yet"
                counts["false"] += wrong
                counts["strict"] += wrong and tolerated_failure(estimate.mean, strict_count) >= FAILURE
                counts["unguarded"] += abs(estimate.mean) > half_width(estimate, 0.05)
                counts["covered"] += estimate.low <= 0 <= estimate.high
        if keep.all() and not regime.fails:
            for name, half in OTHERS.items():
                counts[name] += abs(table.mean()) > half(table)
    if not keep.all() or regime.fails:
        counts |= dict.fromkeys(OTHERS, float("nan"))
    return {name: 100 * count / studies for name, count in counts.items()}


def measure_again(regime: Regime, cases: int, seeds: int, studies: int) -> str:
    """Return the percentage of false verdicts in newly sampled studies, with its standard error, as one line."""
    wrong = 0
    for table, keep in simulate_tables(regime, cases, seeds, studies, stream=1):
        case, seed = np.nonzero(keep)
        found = compare_arms({"arm": PairedDifferences(table[keep], case, seed, 0)})["arm"]
        wrong += found.verdict != "no evidence yet"
    fraction = wrong / studies
    error = np.sqrt(fraction * (1 - fraction) / studies)
    return f"- {regime.name}, {cases} x {seeds}: {100 * fraction:.2f} % (standard error {100 * error:.2f})"


def single_training(regime: Regime, cases: int, studies: int) -> float:
    """Return the percentage of false verdicts "for these weights": one training, whose own effect is zero."""
    fixed = Regime(regime.name, regime.case, 0.0, regime.residual, tail=regime.tail, failed_cases=regime.failed_cases)
    wrong = 0
    for table, keep in simulate_tables(fixed, cases, 1, studies, stream=2):
        case, seed = np.nonzero(keep)
        found = compare_arms({"arm": PairedDifferences(table[keep], case, seed, 0)})["arm"]
        wrong += found.for_these_weights != "no evidence yet"
    return 100 * wrong / studies


def many_arms(studies: int, arms: int = 8, cases: int = 30, seeds: int = 3) -> float:
    """Return the percentage of studies with a verdict for any of several arms without effect and one reference."""
    rng = np.random.default_rng(0)
    case, seed = np.nonzero(np.ones((cases, seeds)))
    wrong = 0
    for _ in range(studies):
        scores = [
            rng.normal(0, 0.02, (cases, 1)) + rng.normal(0, 0.007, (1, seeds)) + rng.normal(0, 0.02, (cases, seeds))
            for _ in range(arms + 1)
        ]
        pairs = {
            index: PairedDifferences((own - scores[0]).ravel(), case, seed, 0)
            for index, own in enumerate(scores)
            if index
        }
        wrong += any(found.verdict != "no evidence yet" for found in compare_arms(pairs).values())
    return 100 * wrong / studies


INTRODUCTION = """{heading}

    python benchmarks/calibration.py --studies {studies} --results docs/results.md
    python benchmarks/calibration.py --again 'REGIME:CASESxSEEDS' --studies 8000

Simulated studies of two arms, {studies:,} for each entry, half as many with an effect; entries are for {sizes}
(cases x seeds). *False verdicts*: percentage of *helps* or *hurts* without an effect. *Power*: percentage of
*helps* with a true effect of {errors:g} standard errors, in brackets without the guards against skewness and single
cases. *Equal*: percentage of *no difference larger than* if the true difference is exactly that large. Standard
deviations are those of a paired difference in Dice: between cases, between seeds, residual.

| regime | case / seed / residual | false verdicts | power (without guards) | equal |
|---|---|---|---|---|"""

FAILURES = """
Failures: the given share of cases or trainings loses {failure:g} Dice and the others gain so much that the true
difference is zero. *None in sample*: percentage of studies without any failure. Such a study equals one of a better
arm: a method with at most 5 % false verdicts finds that better arm in at most 5 / (none in sample) of studies.
*Strict*: with `report: {{unseen_failure: {failure:g}}}` for cases, `unseen_collapse` for trainings.

| regime | none in sample | false verdicts | without guards | strict |
|---|---|---|---|---|"""


def report(studies: int, cache: Path | None) -> str:
    """Return the section of docs/results.md."""
    known = read_cache(cache)
    sizes = ", ".join(f"{cases} x {seeds}" for cases, seeds in SIZES)
    lines = [INTRODUCTION.format(heading=HEADING, studies=studies, errors=STANDARD_ERRORS, sizes=sizes)]
    failures = [FAILURES.format(failure=FAILURE)]
    above, others = [], {name: [] for name in OTHERS}
    for regime in REGIMES:
        found = [cached(known, cache, regime, *size, studies) for size in SIZES]
        if regime.fails:
            share = regime.failed_cases or regime.failed_seeds
            counts = [size[0] if regime.failed_cases else size[1] for size in SIZES]
            columns = [join([100 * (1 - share) ** count for count in counts])]
            columns += [join([each[name] for each in found]) for name in ("false", "unguarded", "strict")]
            failures.append(f"| {regime.name} | {' | '.join(columns)} |")
            print(failures[-1], flush=True)
            continue
        above += [(regime, *size) for size, each in zip(SIZES, found, strict=True) if each["false"] > 5]
        for name, percentages in others.items():
            percentages += [each[name] for each in found if np.isfinite(each[name])]
        fold = f", cv fold {regime.fold}" if regime.fold else ""
        columns = [regime.name, f"{regime.case} / {regime.seed} / {regime.residual}{fold}"]
        columns += [join([each["false"] for each in found])]
        columns += [", ".join(f"{each['power']:.0f} ({each['before']:.0f})" for each in found)]
        columns += [join([each["equal"] for each in found])]
        lines.append(f"| {' | '.join(columns)} |")
        print(lines[-1], flush=True)
    ranges = [f"{name} {min(percentages):.1f} to {max(percentages):.1f} %" for name, percentages in others.items()]
    error = 100 * np.sqrt(0.05 * 0.95 / studies)
    lines += [
        "",
        textwrap.fill(
            f"An entry of 5.0 has a standard error of {error:.1f}. With eight arms without an effect, 30 cases and 3 "
            f"seeds, {many_arms(studies):.1f} % of studies contain any false verdict. False verdicts of other "
            f"intervals on the complete regimes: {', '.join(ranges)}.",
            120,
        ),
        *([f"\nEntries above 5, {4 * studies:,} studies sampled again:\n"] if above else []),
        *(measure_again(*entry, 4 * studies) for entry in above),
        *failures,
        "\nOne training: false verdicts *for these weights*, if these weights have no effect:\n",
    ]
    for regime in REGIMES:
        if regime.name in SINGLE[0]:
            rates = [f"{cases} cases {single_training(regime, cases, studies):.1f} %" for cases in SINGLE[1]]
            lines.append(f"- {regime.name}: {', '.join(rates)}")
    return "\n".join([*lines, ""])


def join(percentages: list[float]) -> str:
    """Return percentages with one decimal."""
    return ", ".join(f"{value:.1f}" for value in percentages)


def read_cache(path: Path | None) -> dict[str, dict[str, float]]:
    """Return the finished entries of an earlier call."""
    if path is None or not path.is_file():
        return {}
    entries = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {entry["key"]: entry["found"] for entry in entries}


def cached(
    known: dict[str, dict[str, float]], cache: Path | None, regime: Regime, cases: int, seeds: int, studies: int
) -> dict[str, float]:
    """Return an entry from the cache, or measure it and append it."""
    key = f"{regime} {cases} {seeds} {studies}"
    if key not in known:
        known[key] = measure(regime, cases, seeds, studies)
        if cache is not None:
            with cache.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, "found": known[key]}) + "\n")
    return known[key]


def replace_section(path: Path, section: str) -> None:
    """Replace the previous version of the section, or append it; the rest of the file is unchanged."""
    text = path.read_text(encoding="utf-8") if path.is_file() else "# Results\n"
    pattern = re.compile(rf"^{re.escape(HEADING)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    found = pattern.search(text)
    text = pattern.sub(lambda _: section + "\n", text) if found else text.rstrip("\n") + "\n\n" + section
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies per entry")
    parser.add_argument("--cache", type=Path, help="file of finished entries, to continue an interrupted run")
    parser.add_argument("--results", type=Path, help="markdown file whose section is replaced")
    parser.add_argument(
        "--again",
        action="append",
        metavar="REGIME:CASESxSEEDS",
        help="only this entry, with newly sampled studies; repeatable",
    )
    options = parser.parse_args()
    for line in options.again or ():
        name, _, size = line.partition(":")
        (selected,) = [regime for regime in REGIMES if regime.name == name]
        print(measure_again(selected, *map(int, size.split("x")), options.studies), flush=True)
    if options.again:
        raise SystemExit
    section = report(options.studies, options.cache)
    if options.results:
        replace_section(options.results, section)
    print(section)
