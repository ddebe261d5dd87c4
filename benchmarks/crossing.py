"""Calibration of the crossing point: simulated studies at five numbers of labels, with known gains.

    OMP_NUM_THREADS=1 python benchmarks/crossing.py --studies 500

30 cases; standard deviations of a paired difference: cases 0.03 and seeds 0.01 (half of both variances is common to all
numbers of labels), residual 0.03. The table is written to docs/results.md, between its markers.
"""

import argparse
from collections import Counter
from collections.abc import Callable

import numpy as np

from dimlift.report.crossing_point import Crossing, LabelLevel, find_crossing
from dimlift.report.paired_differences import PairedDifferences
from dimlift.report.verdict import compare_arms
from hippocampus import write_block

COUNTS = (2.0, 4.0, 8.0, 16.0, 32.0)
CASES, CASE_SD, SEED_SD, RESIDUAL_SD = 30, 0.03, 0.01, 0.03
Shape = tuple[Callable[[float], float], float | None]
SHAPES: dict[str, Shape] = {
    "none: 0": (lambda count: 0.0, None),
    "plateau: .03": (lambda count: 0.03, None),
    "power law: .1 to .025": (lambda count: 0.1 * (count / 2) ** -0.5, None),
    "line: .08 to -.04": (lambda count: 0.08 - 0.03 * np.log2(count / 2), 2 * 2 ** (8 / 3)),
    "curve: .10 to -.0125": (lambda count: 0.12 * 2 / count - 0.02, 12.0),
}
"""Gain over labelled cases, and where it is zero."""


def main() -> None:
    """Simulate, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=500)
    options = parser.parse_args()
    lines = [
        "| gain from 2 to 32 labels | seeds | pays at some number | states an end | interval holds the true end | "
        "median interval |",
        "|---|---|---|---|---|---|",
    ]
    for name, (gain, truth) in SHAPES.items():
        for seeds in (3, 5):
            rng = np.random.default_rng(seeds)
            found = [simulate(rng, gain, seeds) for _ in range(options.studies)]
            lines.append(f"| {name} | {seeds} | {' | '.join(describe(found, truth))} |")
    write_block("crossing point", "\n".join([*lines, "", f"{options.studies} studies for each row."]))


def simulate(rng: np.random.Generator, gain: Callable[[float], float], seeds: int) -> Crossing:
    """Return the crossing point of one simulated study."""
    cases, runs = (grid.ravel() for grid in np.meshgrid(np.arange(CASES), np.arange(seeds), indexing="ij"))
    common = rng.normal(0, CASE_SD, CASES), rng.normal(0, SEED_SD, seeds)
    pairs = {}
    for count in COUNTS:
        of_case, of_seed = (
            np.sqrt(0.5) * (shared + rng.normal(0, spread, len(shared)))
            for shared, spread in zip(common, (CASE_SD, SEED_SD), strict=True)
        )
        values = gain(count) + of_case[cases] + of_seed[runs] + rng.normal(0, RESIDUAL_SD, len(cases))
        pairs[count] = PairedDifferences(values, cases, runs, 0, tuple(map(str, range(CASES))))
    verdicts = compare_arms(pairs)
    return find_crossing([LabelLevel(count, pairs[count], verdicts[count].verdict) for count in COUNTS])


def describe(found: list[Crossing], truth: float | None) -> list[str]:
    """Return the columns of one row."""
    pays = sum(bool(each.paying) for each in found) / len(found)
    ended = [each for each in found if each.crossing is not None and each.high is not None]
    columns = [f"{100 * pays:.1f} %", f"{100 * len(ended) / len(found):.1f} %"]
    if truth is None:
        return [*columns, "", ""]
    stated = [each for each in found if each.paying and each.outcome != "not estimated"]
    holds = Counter(
        (each.low or max(each.paying)) <= truth <= (each.high or np.inf) if each.outcome == "stops paying" else False
        for each in stated
    )
    widths = [np.log2(each.high / each.low) for each in ended if each.high and each.low]
    median = sorted(ended, key=lambda each: np.log2(each.high / each.low))[len(ended) // 2] if widths else None
    share = f"{100 * holds[True] / max(1, sum(holds.values())):.1f} % of {sum(holds.values())}"
    return [*columns, share, f"{median.low:.0f} to {median.high:.0f}" if median else ""]


if __name__ == "__main__":
    main()
