"""Studies that stop once every verdict is decided (`until: decided`), simulated with and without an effect.

    OMP_NUM_THREADS=1 python benchmarks/sequential.py --studies 2000

Two arms, 30 cases, up to six seeds, analyses after three seeds and every later one. The fixed design trains six seeds.
The table is written to docs/results.md, between its markers.
"""

import argparse

import numpy as np

from dimlift.report.paired_differences import PairedDifferences
from dimlift.report.verdict import OPEN, Verdict, VerdictRules, compare_arms
from hippocampus import write_block

CASES, SEEDS, FIRST = 30, 6, 3
ANALYSES = SEEDS - FIRST + 1
REGIMES = {
    "small seed variance": (0.03, 0.005, 0.03),
    "as on small data sets": (0.03, 0.01, 0.03),
    "large seed variance": (0.03, 0.02, 0.03),
    "only seeds": (0.0, 0.01, 0.01),
}
"""Standard deviations of a paired difference: between cases, between seeds, residual."""

EFFECTS = (0.0, 0.02, 0.04, 0.08)


def main() -> None:
    """Simulate, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    options = parser.parse_args()
    lines = [
        "| regime | true difference | wrong verdict, stopped | right verdict, stopped | right verdict, fixed | "
        "mean seeds, stopped |",
        "|---|---|---|---|---|---|",
    ]
    for name, spread in REGIMES.items():
        rng = np.random.default_rng(0)
        for effect in EFFECTS:
            tables = [simulate(rng, effect, spread) for _ in range(options.studies)]
            stopped = [run(table) for table in tables]
            fixed = [judge(table, SEEDS, 1) for table in tables]
            right = [sum(verdict == "helps" for verdict in verdicts) for verdicts in ([v for v, _ in stopped], fixed)]
            wrong = sum(verdict == "hurts" or (not effect and verdict != OPEN) for verdict, _ in stopped)
            cells = [wrong, *right] if effect else [wrong]
            shares = [f"{100 * count / options.studies:.1f} %" for count in cells] + ["", ""] * (not effect)
            seeds = np.mean([count for _, count in stopped])
            lines.append(f"| {name} | {effect:g} | {' | '.join(shares)} | {seeds:.1f} |")
    write_block("sequential", "\n".join([*lines, "", f"{options.studies} studies for each row."]))


def simulate(rng: np.random.Generator, effect: float, spread: tuple[float, float, float]) -> np.ndarray:
    """Return the differences of one study, (cases, seeds)."""
    case, seed, residual = spread
    noise = rng.normal(0, case, (CASES, 1)) + rng.normal(0, seed, SEEDS) + rng.normal(0, residual, (CASES, SEEDS))
    return effect + noise


def judge(table: np.ndarray, seeds: int, analyses: int) -> Verdict:
    """Return the verdict after some seeds."""
    case, seed = np.indices((CASES, seeds)).reshape(2, -1)
    pairs = PairedDifferences(table[:, :seeds].ravel(), case, seed, 0)
    return compare_arms({"arm": pairs}, rules=VerdictRules(analyses=analyses))["arm"].verdict


def run(table: np.ndarray) -> tuple[Verdict, int]:
    """Return the verdict of a study that stops once it is decided, and its seeds."""
    for seeds in range(FIRST, SEEDS):
        verdict = judge(table, seeds, ANALYSES)
        if verdict != OPEN:
            return verdict, seeds
    return judge(table, SEEDS, ANALYSES), SEEDS


if __name__ == "__main__":
    main()
