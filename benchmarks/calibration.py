"""Calibration of the verdict on simulated studies of two arms, with and without a true effect.

    python benchmarks/calibration.py [--studies 2000] [--results docs/results.md]

Each study is a table of paired differences, one per case and seed: a case effect plus a seed effect (training
variance) plus a residual. For each regime the benchmark reports the rate of "helps" or "hurts" without an effect
(guarantee: at most 5 %), the coverage of the 95 % interval, and the rate of "helps" with a true effect of 0.02. Other
intervals are included for comparison.
"""

import argparse
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from dimlift.report.confidence_interval import crossed_interval
from dimlift.report.paired_differences import PairedDifferences
from dimlift.report.verdict import compare_arms

HEADING = "## Calibration of the verdict"
EFFECT = 0.02


@dataclass(frozen=True)
class Regime:
    """Standard deviations of a difference in Dice, and which entries of the table exist."""

    name: str
    case: float
    seed: float
    residual: float
    fold: float = 0.0
    shape: str = "full"
    skewed: bool = False


REGIMES = (
    Regime("no seed variance", 0.03, 0.0, 0.03),
    Regime("small seed variance", 0.03, 0.005, 0.03),
    Regime("as on small data sets", 0.03, 0.01, 0.03),
    Regime("large seed variance", 0.03, 0.02, 0.03),
    Regime("only seeds", 0.0, 0.01, 0.01),
    Regime("only residual (A/A)", 0.0, 0.0, 0.03),
    Regime("residual and seeds (A/A)", 0.0, 0.01, 0.03),
    Regime("cases differ most", 0.05, 0.005, 0.01),
    Regime("skewed cases", 0.03, 0.01, 0.02, skewed=True),
    Regime("variance per cv fold", 0.03, 0.0, 0.02, fold=0.02),
    Regime("half of the last seed missing", 0.03, 0.01, 0.02, shape="half"),
    Regime("two cases of the last seed", 0.03, 0.01, 0.02, shape="two"),
    Regime("own cases per seed", 0.03, 0.01, 0.02, shape="own"),
)
SIZES = ((10, 3), (30, 3), (30, 5))

INTRODUCTION = """{heading}

    python benchmarks/calibration.py --studies {studies}
    python benchmarks/calibration.py --again 'REGIME:CASESxSEEDS' --studies 8000

Simulated studies of two arms, {studies:,} for each entry. *False verdicts*: percentage of *helps* or *hurts* without an
effect (guarantee: at most 5 %); coverage of the 95 % interval is 100 minus this. *Power*: percentage of *helps* with a
true effect of {effect} Dice. Standard deviations are those of a paired difference: between cases, between seeds,
residual. Entries are for 10 cases x 3 seeds, 30 x 3 and 30 x 5.

| regime | case / seed / residual | false verdicts | power |
|---|---|---|---|"""


def simulate_tables(
    regime: Regime, cases: int, seeds: int, studies: int, again: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield differences (cases, seeds) without an effect, and a mask of those that exist; `again` changes the seed."""
    rng = np.random.default_rng([cases, seeds, REGIMES.index(regime)] + [1] * again)
    keep = np.ones((cases, seeds), bool)
    if regime.shape == "half":
        keep[cases // 2 :, -1] = False
    elif regime.shape == "two":
        keep[2:, -1] = False
    elif regime.shape == "own":
        keep = np.arange(cases)[:, None] % seeds == np.arange(seeds)
    for _ in range(studies):
        case_effect = rng.exponential(size=(cases, 1)) - 1 if regime.skewed else rng.normal(size=(cases, 1))
        fold_effect = rng.normal(0, regime.fold, (5, seeds))[np.arange(cases) % 5]
        seed_effect = rng.normal(0, regime.seed, (1, seeds))
        residual = rng.normal(0, regime.residual, (cases, seeds))
        yield regime.case * case_effect + seed_effect + fold_effect + residual, keep


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
    counts: dict[str, float] = dict.fromkeys(("false", "covered", "power", *OTHERS), 0)
    for table, keep in simulate_tables(regime, cases, seeds, studies):
        case, seed = np.nonzero(keep)
        for effect in (0.0, EFFECT):
            pairs = PairedDifferences(table[keep] + effect, case, seed, 0)
            verdict = compare_arms({"arm": pairs})["arm"].verdict
            counts["power" if effect else "false"] += verdict == "helps" if effect else verdict != "no evidence yet"
        found = crossed_interval(table[keep], case, seed)
        counts["covered"] += found.low <= 0 <= found.high
        if keep.all():
            for name, half_width in OTHERS.items():
                counts[name] += abs(table.mean()) > half_width(table)
    if not keep.all():
        counts |= dict.fromkeys(OTHERS, float("nan"))
    return {name: 100 * count / studies for name, count in counts.items()}


def measure_again(regime: Regime, cases: int, seeds: int, studies: int) -> str:
    """Return the percentage of false verdicts in newly sampled studies, with its standard error, as one line."""
    wrong = 0
    for table, keep in simulate_tables(regime, cases, seeds, studies, again=True):
        case, seed = np.nonzero(keep)
        wrong += (
            compare_arms({"arm": PairedDifferences(table[keep], case, seed, 0)})["arm"].verdict != "no evidence yet"
        )
    fraction = wrong / studies
    error = np.sqrt(fraction * (1 - fraction) / studies)
    return f"- {regime.name}, {cases} x {seeds}: {100 * fraction:.2f} % (standard error {100 * error:.2f})"


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


def report(studies: int) -> str:
    """Return the section of docs/results.md."""
    lines = [INTRODUCTION.format(heading=HEADING, studies=studies, effect=EFFECT)]
    worst, above = 0.0, []
    others: dict[str, list[float]] = {name: [] for name in OTHERS}
    for regime in REGIMES:
        found = [measure(regime, cases, seeds, studies) for cases, seeds in SIZES]
        false, power = [each["false"] for each in found], [each["power"] for each in found]
        worst = max(worst, *false)
        above += [(regime, *size) for size, percentage in zip(SIZES, false, strict=True) if percentage > 5]
        for name, percentages in others.items():
            percentages += [each[name] for each in found if np.isfinite(each[name])]
        fold = f", cv fold {regime.fold}" if regime.fold else ""
        columns = [regime.name, f"{regime.case} / {regime.seed} / {regime.residual}{fold}"]
        columns += [", ".join(f"{value:.1f}" for value in false), ", ".join(f"{value:.0f}" for value in power)]
        lines.append(f"| {' | '.join(columns)} |")
        print(lines[-1], flush=True)
    error = 100 * np.sqrt(0.05 * 0.95 / studies)
    ranges = [f"{name} {min(percentages):.1f} to {max(percentages):.1f} %" for name, percentages in others.items()]
    lines += [
        "",
        f"An entry of 5.0 has a standard error of {error:.1f}; the highest is {worst:.1f}. With eight arms without an "
        f"effect, 30 cases and 3 seeds, {many_arms(studies):.1f} % of studies contain any false verdict. False "
        f"verdicts of other intervals on the complete regimes: {', '.join(ranges)}.",
        "",
        *([f"Entries above 5, {8 * studies:,} studies sampled again:", ""] if above else []),
        *(measure_again(*entry, 8 * studies) for entry in above),
        "",
    ]
    return "\n".join(lines)


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
    section = report(options.studies)
    if options.results:
        replace_section(options.results, section)
    print(section)
