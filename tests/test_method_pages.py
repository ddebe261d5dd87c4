"""Documentation: method pages with valid configurations, links to existing headings, examples with existing names."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from dimlift.methods.registry import METHODS, PRETRAINING
from dimlift.studies.load_config import parse
from dimlift.studies.pretrain_config import PretrainConfig
from dimlift.studies.run_config import StudyConfig, TrainConfig
from dimlift.studies.self_training.config import SelfTrainingConfig

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "methods"
NAMES = sorted({*METHODS, *PRETRAINING, "segmia", "multitask"})
"""Methods and pretraining methods, and the two stages of self-training that are methods of their own."""
CONFIGS = {"train": TrainConfig, "compare": StudyConfig, "pretrain": PretrainConfig, "self-train": SelfTrainingConfig}
EXAMPLE = re.compile(r"^`dimlift ([\w-]+) [^`]*`, with\n\n```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)
ALL_PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def page_id(path):
    return str(path.relative_to(ROOT))


def test_method_pages_match_registry():
    assert sorted(path.stem for path in PAGES.glob("*.md")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_method_page_configurations_are_valid(name):
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    examples = EXAMPLE.findall(text)
    assert len(examples) == text.count("```yaml") > 0
    named = set()
    for command, example in examples:
        raw = yaml.safe_load(example)
        parse(raw, CONFIGS[command])
        parts = [raw.get("arm"), raw.get("pretraining"), *raw.get("arms", {}).values()]
        named |= set(raw.get("stages", ()))
        named |= {part.get("method", "external" if "external" in part else "") for part in parts if part}
    assert name in named


@pytest.mark.parametrize("name", NAMES)
def test_method_page_has_paper_code_equation_and_results(name):
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| (\w+) \| (.+) \|$", text, re.MULTILINE))
    assert {"paper", "code", "measured"} <= rows.keys()
    assert re.search(r"(19|20)\d\d", rows["paper"])
    assert "https://" in rows["paper"]
    assert re.search(r"^What is computed:\n\n    \S", text, re.MULTILINE)


@pytest.mark.parametrize("path", ALL_PAGES, ids=page_id)
def test_page_links_lead_to_existing_headings(path):
    for target, anchor in re.findall(r"\]\(([^)#:]*\.md)?#([^)]+)\)", path.read_text(encoding="utf-8")):
        page = (path.parent / target).resolve() if target else path
        headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert anchor in [slug(heading) for heading in headings], f"{target}#{anchor}"


@pytest.mark.parametrize("path", ALL_PAGES, ids=page_id)
def test_page_examples_import_existing_names(path):
    for block in re.findall(r"^```python\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dimlift"):
                try:
                    module = import_module(node.module)
                except ModuleNotFoundError as fault:
                    if (fault.name or "").startswith("dimlift"):
                        raise
                    continue  # an optional dependency is not installed
                assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == []


def slug(heading):
    """Return the anchor of a heading, as python-markdown makes it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())
