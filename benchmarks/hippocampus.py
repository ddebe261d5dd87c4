"""Compare the arms of a study on 8 hippocampus volumes, at equal steps or equal wall time.

    python benchmarks/hippocampus.py --budget steps:500
    python benchmarks/hippocampus.py --budget seconds:120 --arms unet,frozen_features --seeds 0,1,2,3,4
    python benchmarks/hippocampus.py --study benchmarks/fine_features.yaml --budget seconds:120
    python benchmarks/hippocampus.py --study benchmarks/transseg.yaml --budget seconds:120
    python benchmarks/hippocampus.py --study benchmarks/attention_modes.yaml --budget steps:60 --seeds 0,1

It may run for hours on one core; started again with the same budget it resumes. The table is written to
docs/results.md, between the markers of its budget. `key.sub=value` pairs at the end override the YAML file.
"""

import argparse
import datetime
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dimlift.progress import Event
from dimlift.records.record import RunRecord, load_records
from dimlift.report.summary import summarise
from dimlift.report.summary_types import Summary, SummaryRow
from dimlift.studies.compare import compare
from dimlift.studies.load_config import load_config
from dimlift.studies.run_config import StudyConfig

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results.md"
COLUMNS = ("arm", "Dice", "difference [95 %]", "verdict", "HD95 mm", "steps", "s")


def main() -> None:
    """Execute the missing runs, then write the table."""
    options = arguments()
    kind, _, amount = options.budget.partition(":")
    overrides = [f"budget={{{kind}: {amount}}}", f"seeds=[{options.seeds}]", *options.overrides]
    if options.data:
        overrides.append(f"dataset.path={options.data}")
    study = load_config(options.study, overrides, StudyConfig)
    chosen = options.arms.split(",") if options.arms else list(study.arms)
    folder = (options.out or ROOT / "runs" / options.study.stem) / f"{kind}-{amount}"
    name = options.name or options.study.stem
    run_study(study, folder, [] if options.table_only else chosen, options.budget, name)


def run_study(study: StudyConfig, folder: Path, arms: list[str], budget: str, name: str) -> None:
    """Execute the missing runs of some arms, then write the table of all finished runs."""
    unknown = set(arms) - set(study.arms)
    if unknown:
        raise SystemExit(f"unknown arm: {', '.join(sorted(unknown))}; the study has {', '.join(study.arms)}")
    if arms:
        os.chdir(ROOT)
        compare(study, folder, progress=print_event, only=arms)
    write_table(folder, budget, name)


def arguments() -> argparse.Namespace:
    """Return the command line options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="steps:500", help="steps:N or seconds:S")
    parser.add_argument("--arms", default="", help="names from the YAML file, separated by commas; all by default")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--study", type=Path, default=Path(__file__).with_suffix(".yaml"))
    parser.add_argument("--data", default="", help="folder with images/ and labels/")
    parser.add_argument("--out", type=Path, help="runs/STUDY_NAME by default")
    parser.add_argument("--name", default="", help="name in the markers of docs/results.md; the study's by default")
    parser.add_argument(
        "--table-only", action="store_true", help="write the table of the finished runs without running any"
    )
    parser.add_argument("overrides", nargs="*", help="key.sub=value")
    return parser.parse_args()


def print_event(event: Event) -> None:
    """Print messages and the end of each run."""
    if event.message or event.stage in ("done", "failed"):
        clock = time.strftime("%H:%M:%S")
        print(f"{clock} [{event.run_index}/{event.num_runs}] {event.arm} {event.stage}: {event.message}", flush=True)


def write_table(folder: Path, budget: str, name: str) -> None:
    """Write the table of a study between the markers of its budget in docs/results.md."""
    summary = summarise(folder)
    finished = [record for record in load_records(folder / "records") if record.status == "finished"]
    write_block(f"{name} {budget}", table(summary, finished, budget))


def write_block(marker: str, content: str) -> None:
    """Write a block between its markers in docs/results.md; append it if there are none yet."""
    opening, closing = f"<!-- {marker} -->", f"<!-- end of {marker} -->"
    block = f"{opening}\n{content}\n{closing}"
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Results\n"
    if opening in text:
        before, _, after = text.partition(opening)
        text = before + block + after.partition(closing)[2]
    else:
        text = f"{text.rstrip()}\n\n{block}\n"
    RESULTS.write_text(text, encoding="utf-8")
    print(block)


def table(summary: Summary, records: list[RunRecord], budget: str) -> str:
    """Return a Markdown table with one row per arm; empty columns are omitted."""
    kind, _, amount = budget.partition(":")
    columns = [name.replace("Dice", summary.measure.title) for name in COLUMNS]
    rows = [_row(row) for row in summary.rows if row.finished]
    shown = [index for index in range(len(columns)) if any(row[index] for row in rows)]
    cases = {score.case for record in records for score in record.scores}
    seeds = sorted({record.seed for record in records})
    return "\n".join(
        [
            f"| {' | '.join(columns[index] for index in shown)} |",
            "|" + "---|" * len(shown),
            *(f"| {' | '.join(row[index] for index in shown)} |" for row in rows),
            "",
            f"{amount} {kind}, {len(cases)} cases, seeds {', '.join(map(str, seeds))}; "
            f"{datetime.date.today().isoformat()}, torch {records[0].versions.get('torch', '?')}.",
        ]
    )


def _row(row: SummaryRow) -> list[str]:
    difference, verdict = "", "reference" if row.is_reference else ""
    if row.comparison is not None:
        found, verdict = row.comparison.estimate, row.comparison.verdict
        interval = "" if found.low is None or found.high is None else f" [{found.low:+.4f}, {found.high:+.4f}]"
        difference = f"{found.mean:+.4f}{interval}"
    hd95 = row.other_measures.get("hd95_mm")
    cost = (f"{row.steps:.0f}", f"{row.seconds or 0:.0f}") if row.steps else ("", "")
    return [
        row.title,
        f"{row.mean or 0:.4f}",
        difference,
        verdict,
        "" if hd95 is None else f"{hd95:.2f}",
        *cost,
    ]


if __name__ == "__main__":
    main()
