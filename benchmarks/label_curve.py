"""Label curve of frozen 2D features against the plain U-Net, in seconds of CPU time.

    OMP_NUM_THREADS=1 python benchmarks/label_curve.py                 # benchmarks/label_curve.yaml
    OMP_NUM_THREADS=1 python benchmarks/label_curve.py --table-only

Seconds of the budget are CPU seconds of this process, so that other work on the machine does not shorten a training.
Memory and caches are still shared: steps per second are in the table. Finished runs are kept in
benchmarks/records/label_curve and not repeated, so that a study of many hours can be run in parts. The tables go
to docs/results.md.
"""

import argparse
import gzip
import os
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from dimlift.progress import Event
from dimlift.records.record import load_records
from dimlift.records.study import Study
from dimlift.report.summary import summarise_records
from dimlift.studies.compare import compare
from dimlift.studies.load_config import load_config
from dimlift.studies.run_config import StudyConfig
from hippocampus import ROOT, print_event, table, write_block


def main() -> None:
    """Execute the missing runs, then write one table per number of labelled volumes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, default=ROOT / "benchmarks" / "label_curve.yaml")
    parser.add_argument("--out", type=Path, default=Path("runs/label_curve"))
    parser.add_argument("--table-only", action="store_true")
    parser.add_argument("overrides", nargs="*", help="key.sub=value")
    options = parser.parse_args()
    os.chdir(ROOT)
    time.perf_counter = time.process_time  # budgets are measured with it
    kept, records = ROOT / "benchmarks" / "records" / options.study.stem, options.out / "records"
    study = load_config(options.study, options.overrides, StudyConfig)
    compare(study, options.out, only=[])  # writes the plan of the study, which records belong to
    unpack_new(kept, records)

    def keep(event: Event) -> None:
        print_event(event)
        if event.stage == "done":
            pack_new(records, kept)

    if not options.table_only:
        compare(study, options.out, progress=keep)
    plan, found = Study.load(options.out), load_records(records)
    for count in sorted({record.train_count for record in found if record.train_count}):
        of_count = [record for record in found if record.train_count == count and record.status == "finished"]
        text = table(summarise_records(plan, of_count), of_count, f"seconds:{study.budget.seconds:g}")
        write_block(f"{options.study.stem} {count}", text)


def pack_new(source: Path, target: Path) -> None:
    """Compress the records that the target lacks."""
    target.mkdir(parents=True, exist_ok=True)
    for path in source.glob("*.json"):
        packed = target / f"{path.name}.gz"
        if not packed.exists():
            packed.write_bytes(gzip.compress(path.read_bytes(), mtime=0))


def unpack_new(source: Path, target: Path) -> None:
    """Write the compressed records that the target lacks."""
    target.mkdir(parents=True, exist_ok=True)
    for packed in source.glob("*.json.gz"):
        path = target / packed.stem
        if not path.exists():
            path.write_bytes(gzip.decompress(packed.read_bytes()))


if __name__ == "__main__":
    main()
