"""Time to render the report of a large study in a browser: 200 arms, 50 cases.

    python benchmarks/page.py [--arms 200] [--cases 50]

Needs Chromium on the PATH and playwright. Prints the size of the page and the time until the
browser renders its first content.
"""

import argparse
import shutil
import statistics
import tempfile
from pathlib import Path

import numpy as np
from playwright.sync_api import sync_playwright

from dimlift.records.record import RunRecord, Score
from dimlift.records.study import Study, StudyArm
from dimlift.report.page import write_report

FIRST_CONTENT = "performance.getEntries().find(entry => entry.name.startsWith('first-contentful'))?.startTime"


def write_study(folder: Path, arms: int, cases: int) -> Path:
    """Write a study with random scores and two seeds; return its folder."""
    rng = np.random.default_rng(0)
    names = [f"arm_{index:03d}" for index in range(arms)]
    Study("Many arms", "segmentation", names[0], {name: StudyArm(name) for name in names}, planned=2 * arms).save(
        folder
    )
    for seed in range(2):
        for name in names:
            values = np.clip(rng.normal(0.8, 0.05, cases), 0, 1)
            scores = [Score(f"case_{i:02d}", "organ", "dice", float(value)) for i, value in enumerate(values)]
            RunRecord(
                f"{name}-{seed}", name, 0, seed, 100, 60.0, 2**30, {}, "finished", scores=scores, train_fraction=1.0
            ).save(folder / "records")  # fmt: skip
    return folder


def main() -> None:
    """Write the page, open it several times, and print the median time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", type=int, default=200)
    parser.add_argument("--cases", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page = write_report(write_study(Path(folder), options.arms, options.cases))
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        times = []
        for _ in range(5):
            window = browser.new_page()
            window.goto(page.as_uri())
            window.wait_for_function(f"{FIRST_CONTENT} > 0")
            times.append(window.evaluate(FIRST_CONTENT))
            window.close()
        size = page.stat().st_size / 1e6
        print(
            f"{options.arms} arms x {options.cases} cases: {size:.1f} MB, first content after "
            f"{statistics.median(times):.0f} ms"
        )


if __name__ == "__main__":
    main()
