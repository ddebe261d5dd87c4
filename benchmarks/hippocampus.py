"""Does 2D knowledge pay on 8 hippocampus volumes? Every arm of a study at equal steps or equal wall time.

    python benchmarks/hippocampus.py --budget steps:500
    python benchmarks/hippocampus.py --budget seconds:120 --arms unet,borrowed --seeds 0,1,2,3,4
    python benchmarks/hippocampus.py --study benchmarks/fine_features.yaml --budget seconds:120
    python benchmarks/hippocampus.py --study benchmarks/transseg.yaml --budget seconds:120
    python benchmarks/hippocampus.py --study benchmarks/attention_modes.yaml --budget steps:60 --seeds 0,1

It may run for hours on one core and can be stopped at any time: started again with the same budget it goes on. Its
table goes into docs/results.md, between the markers of its budget. `key.sub=value` pairs at the end override the
YAML file.
"""

import argparse
import datetime
import os
import platform
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dimlift.progress import Event
from dimlift.records.record import Record, load_records
from dimlift.report.summary import Row, Summary, summarise
from dimlift.studies.compare import compare
from dimlift.studies.load_config import load_config
from dimlift.studies.run_config import StudyConfig

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results.md"
COLUMNS = (
    "arm",
    "runs",
    "Dice",
    "by class",
    "against the reference [95 %]",
    "HD95 mm",
    "steps",
    "training s",
    "features s",
    "peak MB",
)


def main() -> None:
    """Run what is missing, then write the table."""
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
    """Run the cells of some arms that are missing, then write the table of all there are."""
    unknown = set(arms) - set(study.arms)
    if unknown:
        raise SystemExit(f"no such arm: {', '.join(sorted(unknown))}; there are {', '.join(study.arms)}")
    if arms:
        os.chdir(ROOT)
        compare(study, folder, progress=tell, only=arms)
    write_table(folder, budget, name)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--budget", default="steps:500", help="steps:N or seconds:S")
    parser.add_argument("--arms", default="", help="names from the YAML file, separated by commas; all by default")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--study", type=Path, default=Path(__file__).with_suffix(".yaml"))
    parser.add_argument("--data", default="", help="folder with images/ and labels/")
    parser.add_argument("--out", type=Path, help="runs/NAME OF THE STUDY by default")
    parser.add_argument("--name", default="", help="part of the markers in docs/results.md; the study's by default")
    parser.add_argument("--table-only", action="store_true", help="write the table of what there is, run nothing")
    parser.add_argument("overrides", nargs="*", help="key.sub=value")
    return parser.parse_args()


def tell(event: Event) -> None:
    """One line for what a person wants to know."""
    if event.message or event.stage in ("done", "failed"):
        clock = time.strftime("%H:%M:%S")
        print(f"{clock} [{event.cell}/{event.cells}] {event.arm} {event.stage}: {event.message}", flush=True)


def write_table(folder: Path, budget: str, name: str) -> None:
    """The table of a study, between the markers of its budget in docs/results.md."""
    summary = summarise(folder)
    finished = [record for record in load_records(folder / "records") if record.status == "finished"]
    write_block(f"{name} {budget}", table(summary, finished, budget))


def write_block(marker: str, content: str) -> None:
    """Put a table between its markers in docs/results.md; append it where there are none yet."""
    opening, closing = f"<!-- {marker} -->", f"<!-- end of {marker} -->"
    block = f"{opening}\n{content}\n{closing}"
    text = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else "# Results\n"
    if opening in text:
        before, _, rest = text.partition(opening)
        text = before + block + rest.partition(closing)[2]
    else:
        text = f"{text.rstrip()}\n\n{block}\n"
    RESULTS.write_text(text, encoding="utf-8")
    print(block)


def table(summary: Summary, records: list[Record], budget: str) -> str:
    """Markdown: one row for each arm; a column that says nothing of any arm is left out."""
    kind, _, amount = budget.partition(":")
    columns = [name.replace("Dice", summary.measure.title) for name in COLUMNS]
    rows = [_line(row, [r for r in records if r.arm == row.arm]) for row in summary.rows if row.finished]
    told = [place for place in range(len(columns)) if any(row[place] for row in rows)]
    lines = [
        f"## {summary.title}, {amount} {kind}",
        "",
        summary.sentence,
        "",
        f"| {' | '.join(columns[place] for place in told)} |",
        "|" + " --- |" * len(told),
    ]
    lines += [f"| {' | '.join(row[place] for place in told)} |" for row in rows]
    trained_on = {tuple(sorted(r.extra["training_cases"])) for r in records if r.extra.get("training_cases")}
    drawn = {0: "", 1: ", the same training volumes for all"}  # predictions made elsewhere do not say
    today = datetime.date.today().isoformat()
    seeds = sorted({record.seed for record in records})
    lines += [
        "",
        f"Measured {today} with torch {records[0].versions.get('torch', '?')}, Python {platform.python_version()}, "
        f"one thread, seeds {', '.join(map(str, seeds))}"
        f"{drawn.get(len(trained_on), '; each seed draws its own training volumes')}. "
        f"Intervals come from the two-way (case x seed) model"
        f"{'; features s is a part of training s' if COLUMNS.index('features s') in told else ''}.",
    ]
    return "\n".join(lines)


def _line(row: Row, records: list[Record]) -> list[str]:
    difference = "reference"
    if row.comparison is not None:
        found = row.comparison.estimate
        interval = "" if found.low is None or found.high is None else f" [{found.low:+.4f}, {found.high:+.4f}]"
        difference = f"{found.mean:+.4f}{interval} {row.comparison.verdict}"
    elif not row.is_reference:
        difference = ""
    several = len(row.classes) > 1
    classes = ", ".join(f"{c.name} {c.mean:.3f}" for c in row.classes if several and c.mean is not None)
    hd95 = row.others.get("hd95_mm")
    features = sum(float(r.extra.get("feature_seconds", 0)) for r in records) / max(len(records), 1)
    trained = [f"{row.steps or 0:.0f}", f"{row.seconds or 0:.0f}", f"{features:.1f}"]
    trained.append(f"{(row.peak_bytes or 0) / 1e6:.0f}")
    return [
        row.title, f"{row.finished}", f"{row.mean or 0:.4f}", classes, difference,
        "" if hd95 is None else f"{hd95:.2f}", *(trained if row.steps else [""] * len(trained)),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
