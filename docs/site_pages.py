"""What the site adds to the pages as they lie here: links into the repository, a page a method, executed notebooks."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient

METHOD = re.compile(r"^##+ `([a-z0-9_]+)`.*$", re.M)
"""The heading of a section about one method (or several: the first names the page)."""


def on_config(config: Any) -> Any:
    """List the pages that are made here."""
    pages = Path(config.docs_dir)
    (methods,) = [entry["Methods"] for entry in config.nav if isinstance(entry, dict) and "Methods" in entry]
    methods += [f"methods/{name}.md" for name in _sections(pages)]
    config.nav.append({"Notebooks": [f"notebooks/{path.stem}.md" for path in _notebooks(pages)]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Make a page of every method's section and of every notebook, which is executed."""
    pages = Path(config.docs_dir)
    for name, section in _sections(pages).items():
        files.append(File.generated(config, f"methods/{name}.md", content=section))
    for path in _notebooks(pages):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=executed(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Lead links that leave docs/ to the repository."""
    here = Path(page.file.src_uri).parent
    up = "../" * (len(here.parts) + 1)
    return markdown.replace(f"]({up}", f"]({config.repo_url}/blob/main/")


def executed(path: Path) -> str:
    """A notebook as Markdown, with what its cells answer now.

    Raises:
        CellExecutionError: if a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as scratch:
        NotebookClient(notebook, timeout=300, resources={"metadata": {"path": scratch}}).execute()
    parts = [f"[The notebook]({path.name})"]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        said = "".join(_text(output) for output in cell.outputs).strip()
        if said:
            parts.append(f"```text\n{said}\n```")
    return "\n\n".join([parts[1], parts[0], *parts[2:]]) + "\n"


def _text(output: Any) -> str:
    if output.output_type == "stream":
        return output.text if output.name == "stdout" else ""
    return output.get("data", {}).get("text/plain", "") + "\n"


def _notebooks(pages: Path) -> list[Path]:
    return sorted((pages / "notebooks").glob("*.ipynb"))


def _sections(pages: Path) -> dict[str, str]:
    """Each method's section of methods.md as a page, its links led one folder up."""
    text = (pages / "methods.md").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for match in METHOD.finditer(text):
        level = match[0].index(" ")
        end = re.search(rf"^#{{1,{level}}} ", text[match.end() :], re.M)
        body = text[match.start() : match.end() + end.start() if end else len(text)]
        body = re.sub(rf"^#{{{level}}}", "#", body, flags=re.M)
        body = re.sub(r"\]\(#", "](../methods.md#", body)
        body = re.sub(r"\]\((?!https?:|\.\./methods\.md)", "](../", body)
        source = _source(pages, match[1])
        more = f"[The code]({source}), [its keys](../config.md), [what was measured](../results.md).\n"
        found[match[1]] = body.rstrip() + "\n\n" + more
    return found


def _source(pages: Path, name: str) -> str:
    """Where a method's code lies, as seen from its page."""
    for place in (
        f"src/dimlift/methods/{name}.py",
        f"src/dimlift/methods/{name}",
        f"src/dimlift/experiments/arms/{name}.py",
    ):
        if (pages.parent / "src/dimlift" / place).exists():
            return f"../../src/dimlift/{place}"
    return "../../src/dimlift/experiments/tables.py"
