"""Names of arms, classes and cases are text in the page and in its tables, whatever they contain."""

import csv
import html

import pytest
from synthetic_study import record

from dimlift.records.record import Score
from dimlift.records.study import CasePaths, Study, StudyArm, StudyDataset
from dimlift.report.page import write_report

NAMES = ["<script>alert(1)</script>", "[red]x[/]", "\x1b[2J", "=cmd()", "-1+cmd()", "$x^2$", "scan\udcff", "a\rb"]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_names_are_text_in_page_and_tables(tmp_path, name):
    Study(
        title=name,
        task="segmentation",
        reference=name,
        arms={name: StudyArm(name, name), "other": StudyArm("other")},
        planned=4,
        notes=[name],
        dataset=StudyDataset(name, 2, {"background": 0, name: 1}),
        budget={"steps": 1},
        cases={name: CasePaths(name, name), "other": CasePaths("other", "other")},
    ).save(tmp_path)
    for number, arm in enumerate((name, "other") * 2):
        scores = [Score(case, name, "dice", 0.5 + 0.1 * number) for case in (name, "other")]
        record(f"{arm}", number // 2, scores, run_id=f"r{number}", extra={"notes": [name]}).save(tmp_path / "records")
    page = write_report(tmp_path, tmp_path / "page.html")
    text = page.read_bytes().decode()
    assert not {"<script>alert", "\x1b", "\r"} & {part for part in ("<script>alert", "\x1b", "\r") if part in text}
    shown = ascii(name)[1:-1]
    assert html.escape(shown, quote=False) in text
    assert f">{html.escape(shown, quote=False)}<" in text[text.index("<svg") :]
    for table in (page.with_suffix(".csv"), page.with_name("page_scores.csv")):
        with table.open(newline="", encoding="utf-8") as stream:
            cells = {cell for row in csv.reader(stream) for cell in row}
        assert f"'{shown}" in cells if name[0] in "=-" else shown in cells
