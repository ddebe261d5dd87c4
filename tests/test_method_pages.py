"""Every method a configuration may name has a page that says where it comes from and whose configurations are valid."""

import re
from pathlib import Path

import pytest
import yaml

from dimlift.methods.registry import METHODS, POINT_METHODS, PRETRAINING
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.run_config import StudyConfig, TrainConfig
from dimlift.studies.self_training.config import StagesConfig

PAGES = Path(__file__).parents[1] / "docs" / "methods"
NAMES = sorted({*METHODS, *POINT_METHODS, *PRETRAINING, "segmia", "multitask"})
"""What a configuration names, and the two stages that are methods of their own."""
CONFIGS = {"train": TrainConfig, "compare": StudyConfig, "pretrain": PretrainConfig, "stages": StagesConfig}
EXAMPLE = re.compile(r"^`dimlift (\w+) [^`]*`, with\n\n```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_every_method_has_a_page_and_no_page_is_left_over():
    assert sorted(path.stem for path in PAGES.glob("*.md")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_configurations_of_a_page_are_valid_and_about_its_method(name):
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    examples = EXAMPLE.findall(text)
    assert len(examples) == text.count("```yaml") > 0
    named = set()
    for command, example in examples:
        raw = yaml.safe_load(example)
        parse(raw, CONFIGS[command])
        parts = [raw.get("arm"), raw.get("student"), raw.get("pretraining"), *raw.get("arms", {}).values()]
        named |= set(raw.get("stages", ()))
        named |= {part.get("method", "external" if "external" in part else "") for part in parts if part}
    assert name in named


@pytest.mark.parametrize("name", NAMES)
def test_a_page_says_paper_code_equation_and_what_was_measured(name):
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\w+) \| (.+) \|$", text, re.MULTILINE))
    assert {"paper", "code", "measured"} <= rows.keys()
    assert re.search(r"(19|20)\d\d", rows["paper"])
    assert "https://" in rows["paper"]
    assert re.search(r"^What is computed:\n\n    \S", text, re.MULTILINE)


@pytest.mark.parametrize("name", NAMES)
def test_a_link_of_a_page_leads_to_a_heading_that_is_there(name):
    for target, anchor in re.findall(r"\]\((\.\./[^)#]+)#?([^)]*)\)", (PAGES / f"{name}.md").read_text("utf-8")):
        assert (PAGES / target).exists(), target
        headings = re.findall(r"^#+ (.+)$", (PAGES / target).read_text("utf-8"), re.MULTILINE) if anchor else []
        assert anchor in [slug(heading) for heading in headings] + [""]


def slug(heading):
    """As python-markdown names the anchor of a heading."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
