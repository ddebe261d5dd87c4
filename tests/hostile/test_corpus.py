"""Every hostile file is rejected by name, executes nothing and leaves nothing behind."""

import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

from corpus import CORPUS, marker, pickled

from dimlift.records.record import RunRecord, Score
from dimlift.records.study import CasePaths, Study, StudyArm, StudyDataset
from dimlift.report.page import write_report

HERE = Path(__file__).parent


def test_hostile_files_are_rejected_without_execution(tmp_path):
    """Uses one process for imports and a fork per file; time and memory are printed and not asserted."""
    done = subprocess.run(
        [sys.executable, HERE / "measure.py", tmp_path / "outcomes.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    outcomes = json.loads((tmp_path / "outcomes.json").read_text())
    assert outcomes.keys() == CORPUS.keys()
    faults = []
    for name, found in outcomes.items():
        if "DimliftError" not in found["errors"]:
            faults.append(f"{name}: {found['errors'][:1] or 'was read'} {found['message'][:200]}")
        elif CORPUS[name].message not in found["message"] or "corpus" not in found["message"]:
            faults.append(f"{name}: does not state {CORPUS[name].message!r} of its file: {found['message'][:200]}")
        if "Traceback" in found["message"] or "weights_only" in found["message"]:
            faults.append(f"{name}: is a message for programmers: {found['message'][:200]}")
        if found["executed"]:
            faults.append(f"{name}: code of the file was executed, or it wrote outside of its folder")
        if found["left"]:
            faults.append(f"{name}: left {found['left']}")
    assert not faults, "\n".join(faults)
    seconds, mebibytes = (max(found[key] for found in outcomes.values()) for key in ("seconds", "mebibytes"))
    print(f"{len(outcomes)} files: at most {seconds:.2f} s and {mebibytes:.0f} MiB each")


def test_corpus_pickles_are_executable(tmp_path):
    """Otherwise the test above could not fail."""
    import pickle

    pickle.loads(pickled("a.pt")(tmp_path).read_bytes())
    assert marker(tmp_path).exists()


class Elements(HTMLParser):
    """Elements, handlers, links and scripts of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.handlers, self.links, self.scripts = set(), [], [], []
        self.data = False

    def handle_data(self, data):
        if self.lasttag == "script" and not self.data:
            self.scripts.append(data)

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.data = dict(attrs).get("type") == "application/json"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        self.links += [
            value for name, value in attrs if name in ("href", "src") and not value.startswith(("#", "data"))
        ]


def test_report_escapes_html_in_names(tmp_path):
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'><a href='javascript:alert(3)'>"
    study = Study(
        title=evil,
        task="segmentation",
        reference=evil,
        arms={evil: StudyArm(evil, evil, {"summary": evil, "text": evil}), "b": StudyArm("b" + evil, evil)},
        planned=4,
        notes=[evil],
        dataset=StudyDataset(evil, 2, {evil: 1}),
        budget={evil: 1.0},
        cases={evil: CasePaths(evil, evil), "c": CasePaths(evil)},
    )
    study.save(tmp_path)
    for number, arm in enumerate((evil, "b", evil, "b")):
        scores = [Score(case, evil, "dice", 0.5 + 0.1 * number) for case in (evil, "c")]
        history = [{"step": 1, "seconds": 1.0, "loss": 1.0}, {"step": 2, "seconds": 2.0, "loss": 0.5}]
        extra = {"notes": [evil], "error": evil}
        status = "failed" if number == 3 else "finished"
        record = RunRecord(
            f"r{number}",
            arm,
            0,
            number // 2,
            2,
            2.0,
            1,
            {evil: evil},
            status,
            history,
            scores,
            extra,
            train_fraction=1.0,
        )
        record.save(tmp_path / "records")
    text = write_report(tmp_path).read_text(encoding="utf-8")
    page = Elements()
    page.feed(text)
    assert "&lt;script&gt;alert(1)" in text
    assert not {"img", "iframe", "object"} & page.tags
    assert not any("alert(" in script for script in page.scripts)  # the page has its own script
    assert not page.handlers
    assert not page.links
