"""The house rules that a machine can check."""

import ast
import json
import re
import subprocess
import sys
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "dimlift"
FILES = sorted(SOURCE.rglob("*.py"))
PAGES = sorted(path for pattern in ("*.md", "docs/**/*.md", "examples/**/*.*") for path in ROOT.glob(pattern))


def name(path):
    return str(path.relative_to(ROOT))


def python(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_imports_go_down_only():
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_importing_dimlift_does_nothing():
    """No heavy package, no thread, no environment variable, no warning filter."""
    seen = python(
        "import json, os, sys, threading, warnings\n"
        "environment, filters = dict(os.environ), list(warnings.filters)\n"
        "import dimlift\n"
        "heavy = sorted({'torch', 'timm', 'monai', 'lightning', 'numpy', 'matplotlib'} & set(sys.modules))\n"
        "same = [environment == dict(os.environ), filters == warnings.filters]\n"
        "print(json.dumps([heavy, threading.active_count(), *same]))"
    )
    assert seen == [[], 1, True, True]


def test_public_names_stay_what_they_are_whatever_is_imported():
    """A room of the same name would take the place of a function as soon as anything in it is imported."""
    wrong = python(
        "import dimlift, json, types\n"
        "[getattr(dimlift, name) for name in dimlift.__all__]\n"
        "print(json.dumps([n for n in dimlift.__all__ if isinstance(getattr(dimlift, n), types.ModuleType)]))"
    )
    assert wrong == []


def test_rooms_that_need_no_torch_do_not_load_it():
    """Checking data and reading a report must not wait for torch; the first module that loads it is named."""
    modules = ["cli.app", "data.io.nifti", "data.datasets.open_dataset", "data.quality.check_dataset"]
    modules += ["data.preprocessing.preprocessing", "data.datasets.splits"]
    modules += ["records.record", "metrics.scores", "report.page", "report.summary"]
    loaders = python(
        "import importlib, json, sys\n"
        "loaders = {}\n"
        f"for module in {modules}:\n"
        "    importlib.import_module(f'dimlift.{module}')\n"
        "    for heavy in {'torch', 'timm', 'monai', 'lightning'} & set(sys.modules):\n"
        "        loaders.setdefault(heavy, module)\n"
        "print(json.dumps(loaders))"
    )
    assert loaders == {}


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_file_says_what_it_is_and_stays_readable(path):
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert ast.get_docstring(tree) or not tree.body, "a file starts with a docstring"
    assert len(text.splitlines()) <= 400
    assert path.stem not in {"utils", "helpers", "common", "misc"}
    assert not re.search(r"\b(TODO|FIXME|XXX)\b", text)
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert "print" not in calls
    assert not any(isinstance(node, ast.Assert) for node in ast.walk(tree)), (
        "input is checked with errors that tell the way out"
    )


RUNS_CODE = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "runpy", "code"}
"""Modules that run, or are made to hide, code in data."""


@pytest.mark.parametrize("path", FILES, ids=name)
def test_nothing_foreign_is_executed(path):
    """Only safetensors and JSON are written; what others wrote is read without running it or unpacking it blindly."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    allowed = ["pickle"] if path.name == "restricted_unpickler.py" else []  # it imports no name and calls nothing
    assert forbidden_in(tree) == allowed


def forbidden_in(tree):
    """Every import and call of a syntax tree that could run foreign code."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found += sorted(RUNS_CODE & {module.split(".")[0] for module in modules})
            if isinstance(node, ast.ImportFrom) and node.module in ("torch", "yaml", "numpy"):
                found += [f"{node.module}.{alias.name}" for alias in node.names if alias.name in ("load", "load_all")]
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {word.arg: getattr(word.value, "value", word.value) for word in node.keywords}
        if called in {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.save", "fabric.save"}:
            found.append(called)
        if called == "torch.load" and keywords.get("weights_only") is not True:
            found.append("torch.load without weights_only=True")
        if called.endswith(("hub.load", "load_from_checkpoint", ".extractall", ".extract", "unpack_archive")):
            found.append(called)
        if called.startswith("yaml.") and called.endswith(
            ("load", "load_all", "UnsafeLoader", "FullLoader", ".Loader")
        ):
            found += [called] if "safe" not in called or "unsafe" in called else []
        for word in ("allow_pickle", "trust_remote_code", "shell"):
            if keywords.get(word, False) is not False:
                found.append(f"{called}({word}=...)")
        if called.endswith("import_module") and not isinstance(node.args[0], ast.Constant | ast.Name):
            found.append(f"{called} of a name taken out of data")
    return found


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from joblib import load", "eval(x)", "exec(x)", "torch.load(p)", "torch.save(x, p)",
        "torch.load(p, weights_only=False)", "torch.load(p, weights_only=safe)", "np.load(p, allow_pickle=True)",
        "yaml.load(t, yaml.Loader)", "yaml.unsafe_load(t)", "yaml.full_load(t)", "tar.extractall(d)",
        "shutil.unpack_archive(p)", "importlib.import_module(config['_target_'])", "from torch import load",
        "AutoModel.from_pretrained(n, trust_remote_code=True)", "subprocess.run(c, shell=True)",
    ],
)  # fmt: skip
def test_foreign_code_would_be_seen(code):
    assert forbidden_in(ast.parse(code))


@pytest.mark.parametrize("path", [*FILES, *PAGES], ids=name)
def test_no_file_knows_the_machine_it_was_written_on(path):
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"(?<![\w.])/(work|home|root|Users|tmp|mnt)/\w", text)
    assert not re.search(r"index-url|find-links|extra-index", text)


def test_pins_are_names_and_versions_and_cover_every_dependency():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split("\n")[:-1]
    assert all(re.fullmatch(r"[\w.-]+==[\w.!-]+", line) for line in lines)
    pinned = {canonical(line.partition("==")[0]) for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    assert {canonical(re.match(r"[\w.-]+", need)[0]) for need in wanted} - {"dimlift"} <= pinned


def canonical(package):
    return re.sub(r"[-_.]+", "-", package).lower()


@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".md"], ids=name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [page for page in PAGES if page.suffix == ".md"], ids=name)
def test_rows_stand_in_a_table(page):
    """A row apart from its table is shown as a line of bars."""
    prose = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL).splitlines()
    firsts = [
        n for n, line in enumerate(prose) if line.startswith("|") and (n == 0 or not prose[n - 1].startswith("|"))
    ]
    assert [prose[n] for n in firsts if not re.fullmatch(r"\|[-:| ]+\|", [*prose, ""][n + 1])] == []


def test_every_promise_names_a_test_that_exists():
    text = (ROOT / "docs" / "promises.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "**" not in line][1:]
    assert len(rows) > 30
    for row in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, row
        for file, function in named:
            tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
            assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (file, function)
