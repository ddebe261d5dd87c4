"""Does the verdict keep its promise? Simulated studies of two arms, with and without a true effect.

    python benchmarks/calibration.py [--studies 2000] [--results docs/results.md]

Each study is a table of paired differences, one for every case and seed, made of a share of the case, a share of the
seed (the luck of a training) and a rest. For each regime it counts, over many studies without any effect, how often
the verdict is "helps" or "hurts" (5 % are promised) and how often the 95 % interval holds the truth, and with a true
effect of 0.02 how often the verdict is "helps". Other ways to make an interval are counted beside it.
"""

import argparse
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from dimlift.report.mixed_effects import estimate
from dimlift.report.paired_differences import Pairs
from dimlift.report.verdict import compare

HEADING = "## Does the verdict keep its promise?"
EFFECT = 0.02


@dataclass(frozen=True)
class Regime:
    """Standard deviations of a difference in Dice, and which cells of the table exist."""

    name: str
    case: float
    seed: float
    rest: float
    run: float = 0.0
    shape: str = "full"
    skewed: bool = False


AGAIN = (
    "The lines above 5 %, with {studies:,} studies drawn anew for each "
    "(`python benchmarks/calibration.py --again 'REGIME:CASESxSEEDS' --studies {studies}`):"
)

REGIMES = (
    Regime("no luck of training", 0.03, 0.0, 0.03),
    Regime("small luck", 0.03, 0.005, 0.03),
    Regime("as on small data sets", 0.03, 0.01, 0.03),
    Regime("large luck", 0.03, 0.02, 0.03),
    Regime("only luck", 0.0, 0.01, 0.01),
    Regime("only a rest (the same arm twice)", 0.0, 0.0, 0.03),
    Regime("rest and luck (the same arm twice)", 0.0, 0.01, 0.03),
    Regime("cases differ most", 0.05, 0.005, 0.01),
    Regime("skewed cases", 0.03, 0.01, 0.02, skewed=True),
    Regime("luck of each of five folds", 0.03, 0.0, 0.02, run=0.02),
    Regime("half of the last seed missing", 0.03, 0.01, 0.02, shape="half"),
    Regime("two cases of the last seed", 0.03, 0.01, 0.02, shape="two"),
    Regime("every seed has its own cases", 0.03, 0.01, 0.02, shape="own"),
)
SIZES = ((10, 3), (30, 3), (30, 5))


def tables(
    regime: Regime, cases: int, seeds: int, studies: int, again: bool = False
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Differences (cases, seeds) without any effect, and which of them exist; `again` draws other ones."""
    rng = np.random.default_rng([cases, seeds, REGIMES.index(regime)] + [1] * again)
    keep = np.ones((cases, seeds), bool)
    if regime.shape == "half":
        keep[cases // 2 :, -1] = False
    elif regime.shape == "two":
        keep[2:, -1] = False
    elif regime.shape == "own":
        keep = np.arange(cases)[:, None] % seeds == np.arange(seeds)
    for _ in range(studies):
        share = rng.exponential(size=(cases, 1)) - 1 if regime.skewed else rng.normal(size=(cases, 1))
        runs = rng.normal(0, regime.run, (5, seeds))[np.arange(cases) % 5]
        luck = rng.normal(0, regime.seed, (1, seeds))
        yield regime.case * share + luck + runs + rng.normal(0, regime.rest, (cases, seeds)), keep


def satterthwaite(table: np.ndarray) -> float:
    """Half width from mean squares with one Satterthwaite number of degrees of freedom."""
    by_case, by_seed, rest = mean_variances(table)
    n, s = table.shape
    total = max(by_case + by_seed - rest, by_case, by_seed)
    freedom = total**2 / (by_case**2 / (n - 1) + by_seed**2 / (s - 1) + rest**2 / ((n - 1) * (s - 1)))
    return float(stats.t.ppf(0.975, freedom) * np.sqrt(total))


def seed_means(table: np.ndarray) -> float:
    """Half width of the t interval over seed means: cases count as fixed."""
    return float(stats.t.ppf(0.975, table.shape[1] - 1) * np.sqrt(mean_variances(table)[1]))


def case_means(table: np.ndarray) -> float:
    """Half width of the t interval over case means: seeds count as fixed."""
    return float(stats.t.ppf(0.975, len(table) - 1) * np.sqrt(mean_variances(table)[0]))


def all_cells(table: np.ndarray) -> float:
    """Half width if every cell were independent of every other."""
    return float(stats.t.ppf(0.975, table.size - 1) * table.std(ddof=1) / np.sqrt(table.size))


def nested_bootstrap(table: np.ndarray, draws: int = 200) -> float:
    """Half of the percentile interval from drawing seeds, and within each of them cases, with replacement."""
    rng = np.random.default_rng(0)
    n, s = table.shape
    seeds = rng.integers(0, s, (draws, s, 1))
    means = table[rng.integers(0, n, (draws, s, n)), seeds].mean((1, 2))
    return float(np.subtract(*np.percentile(means, (97.5, 2.5)))) / 2


def mean_variances(table: np.ndarray) -> tuple[float, float, float]:
    """Variance of the mean as seen between cases, between seeds, and in the rest."""
    n, s = table.shape
    rest = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + table.mean()
    return (
        table.mean(1).var(ddof=1) / n,
        table.mean(0).var(ddof=1) / s,
        float((rest**2).sum()) / ((n - 1) * (s - 1)) / (n * s),
    )


OTHERS: dict[str, Callable[[np.ndarray], float]] = {
    "Satterthwaite": satterthwaite,
    "t over seeds": seed_means,
    "t over cases": case_means,
    "all cells": all_cells,
    "bootstrap": nested_bootstrap,
}


def measure(regime: Regime, cases: int, seeds: int, studies: int) -> dict[str, float]:
    """Percentages for one regime and size."""
    counts: dict[str, float] = dict.fromkeys(("false", "covered", "power", *OTHERS), 0)
    for table, keep in tables(regime, cases, seeds, studies):
        case, seed = np.nonzero(keep)
        for effect in (0.0, EFFECT):
            pairs = Pairs(table[keep] + effect, case, seed, 0)
            verdict = compare({"arm": pairs})["arm"].verdict
            counts["power" if effect else "false"] += verdict == "helps" if effect else verdict != "no evidence yet"
        found = estimate(table[keep], case, seed)
        counts["covered"] += found.low <= 0 <= found.high
        if keep.all():
            for name, half_width in OTHERS.items():
                counts[name] += abs(table.mean()) > half_width(table)
    if not keep.all():
        counts |= dict.fromkeys(OTHERS, float("nan"))
    return {name: 100 * count / studies for name, count in counts.items()}


def measure_again(regime: Regime, cases: int, seeds: int, studies: int) -> str:
    """One sentence: false verdicts in studies drawn anew, with the standard error of their share."""
    wrong = 0
    for table, keep in tables(regime, cases, seeds, studies, again=True):
        case, seed = np.nonzero(keep)
        wrong += compare({"arm": Pairs(table[keep], case, seed, 0)})["arm"].verdict != "no evidence yet"
    share = wrong / studies
    error = np.sqrt(share * (1 - share) / studies)
    return f"- {regime.name}, {cases} x {seeds}: {100 * share:.2f} % (standard error {100 * error:.2f})"


def many_arms(studies: int, arms: int = 8, cases: int = 30, seeds: int = 3) -> float:
    """Percentage of studies in which any of several arms without effect gets a verdict; they share one reference."""
    rng = np.random.default_rng(0)
    case, seed = np.nonzero(np.ones((cases, seeds)))
    wrong = 0
    for _ in range(studies):
        scores = [
            rng.normal(0, 0.02, (cases, 1)) + rng.normal(0, 0.007, (1, seeds)) + rng.normal(0, 0.02, (cases, seeds))
            for _ in range(arms + 1)
        ]
        pairs = {index: Pairs((own - scores[0]).ravel(), case, seed, 0) for index, own in enumerate(scores) if index}
        wrong += any(found.verdict != "no evidence yet" for found in compare(pairs).values())
    return 100 * wrong / studies


def report(studies: int) -> str:
    """The section of docs/results.md."""
    lines = [
        HEADING,
        "",
        f"Simulated studies of two arms, {studies:,} for each line (`benchmarks/calibration.py`): without an effect, "
        'how often the verdict is "helps" or "hurts" (promised: at most 5 %) and how often the 95 % interval holds the '
        f"truth; with a true effect of {EFFECT} Dice, how often it says so. Standard deviations are those of a paired "
        "difference: between cases, between seeds (the luck of a training), rest. The last columns are the false "
        "verdicts of other intervals, where the table is full.",
        "",
        "| regime | case / seed / rest | cases x seeds | false verdicts | coverage | power | "
        + " | ".join(OTHERS)
        + " |",
        "|---|---|---|--:|--:|--:|" + "--:|" * len(OTHERS),
    ]
    worst, above = 0.0, []
    for regime in REGIMES:
        for cases, seeds in SIZES:
            found = measure(regime, cases, seeds, studies)
            worst = max(worst, found["false"])
            if found["false"] > 5:
                above.append((regime, cases, seeds))
            others = [f"{found[name]:.1f}" if np.isfinite(found[name]) else "" for name in OTHERS]
            deviations = f"{regime.case} / {regime.seed} / {regime.rest}" + (
                f", run {regime.run}" if regime.run else ""
            )
            line = [regime.name, deviations, f"{cases} x {seeds}", f"{found['false']:.1f}", f"{found['covered']:.1f}"]
            lines.append("| " + " | ".join([*line, f"{found['power']:.0f}", *others]) + " |")
            print(lines[-1], flush=True)
    error = 100 * np.sqrt(0.05 * 0.95 / studies)
    lines += [
        "",
        f"Rates are percentages; a true 5.0 is measured with a standard error of {error:.1f}, so that among so many "
        f"lines some lie above it by chance; the highest is {worst:.1f} %. Where nothing but the luck of training "
        "varies, the interval is the t interval over seed means, whose true rate is exactly 5 %; elsewhere it errs on "
        "the careful side, and pays for it in power. With eight arms without effect against one reference, 30 cases "
        f"and 3 seeds, {many_arms(studies):.1f} % of studies hold any false verdict.",
        "",
        *([AGAIN.format(studies=8 * studies), ""] if above else []),
        *(measure_again(*line, 8 * studies) for line in above),
        "",
    ]
    return "\n".join(lines)


def replace_section(path: Path, section: str) -> None:
    """Put the section in the place of its last version, or at the end; the rest of the file is left alone."""
    text = path.read_text(encoding="utf-8") if path.is_file() else "# Results\n"
    pattern = re.compile(rf"^{re.escape(HEADING)}\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    found = pattern.search(text)
    text = pattern.sub(lambda _: section + "\n", text) if found else text.rstrip("\n") + "\n\n" + section
    path.write_text(text.rstrip("\n") + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000, help="simulated studies for each line")
    parser.add_argument("--results", type=Path, help="markdown file whose section is replaced")
    parser.add_argument(
        "--again", action="append", metavar="REGIME:CASESxSEEDS", help="only this line, drawn anew; repeatable"
    )
    options = parser.parse_args()
    for line in options.again or ():
        name, _, size = line.partition(":")
        (wanted,) = [regime for regime in REGIMES if regime.name == name]
        print(measure_again(wanted, *map(int, size.split("x")), options.studies), flush=True)
    if options.again:
        raise SystemExit
    section = report(options.studies)
    if options.results:
        replace_section(options.results, section)
    print(section)
