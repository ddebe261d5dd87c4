"""One vocabulary: no public name means two things, and no private language in code, docs, examples or help texts."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "dimlift"
TEXTS = sorted(
    path
    for pattern in (
        "src/dimlift/**/*.py", "src/dimlift/**/*.j2", "src/dimlift/**/*.yaml", "docs/**/*.md", "docs/**/*.py",
        "docs/**/*.ipynb", "examples/**/*.*", "benchmarks/*.*", "*.md", "mkdocs.yml",
    )
    for path in ROOT.glob(pattern)
    if "__pycache__" not in path.parts
)  # fmt: skip

BANNED = re.compile(
    r"(?<![\w-])(talk(?:s|ing|ed)?|hear(?:s|d|ing)?|wak(?:e|es|ing|en)|woken|asleep|mute[sd]?|hands?|told|tells?"
    r"|ask(?:s|ed|ing)?|borrow(?:s|ed|ing)?|paint(?:s|ed|ing)?|looks|arrivals?|culprits?|answer(?:s|ed|ing)?"
    r"|remember(?:s|ed)?|listen(?:s|ed|ing|ers?)?|foresee[ns]?|foreseen|pictures?|photos?|photographs?)(?![\w-])",
    re.IGNORECASE,
)
"""Words that other codebases of the field do not use for what happens here; identifiers are split at underscores."""

PROPER_NAMES = re.compile(
    r"TalkingHeadAttn|(first|contentful)[-_ ]paint|\.tell\(|def tell\(|imagenet_photos", re.IGNORECASE
)
"""Names that others gave."""

COMMANDS_AND_FUNCTIONS = {"train", "predict", "compare", "pretrain", "probe", "embed", "demo", "lift", "push", "pull"}
"""Typer names a command after its function; each calls the function of the same name."""


def words_of(text: str) -> str:
    """Identifiers as words: snake_case and CamelCase taken apart."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text.replace("_", " "))


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_uses_the_terms_of_the_field(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    found = [
        f"{number}: {match[0]!r} in {line.strip()[:100]}"
        for number, line in enumerate(lines, 1)
        for match in BANNED.finditer(words_of(PROPER_NAMES.sub("", line)))
    ]
    assert not found, "\n".join(found)


def test_no_public_name_is_defined_in_two_modules():
    homes = defaultdict(list)
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(str(path.relative_to(SOURCE)))
    twice = {
        name: files
        for name, files in homes.items()
        if len([file for file in files if not (name in COMMANDS_AND_FUNCTIONS and file.startswith("cli/"))]) > 1
    }
    assert not twice


def test_words_are_found_in_every_spelling():
    """The check itself: plain words, snake_case and CamelCase."""
    for text in ("it asks for", "class TalkingConv", "def look_at(pictures)", "self.heard = []"):
        assert BANNED.search(words_of(text)), text
    for text in ("a task", "the handler", "shape", "unlabelled_images", "hearth"):
        assert not BANNED.search(words_of(text)), text
