"""MkDocs hooks: executed notebooks, the navigation of method pages, links into the repository."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient


def on_config(config: Any) -> Any:
    """Add the pages of methods and notebooks to the navigation."""
    pages = Path(config.docs_dir)
    (methods,) = [entry["Methods"] for entry in config.nav if isinstance(entry, dict) and "Methods" in entry]
    methods += sorted(f"methods/{path.name}" for path in (pages / "methods").glob("*.md"))
    config.nav.append({"Notebooks": [f"notebooks/{path.stem}.md" for path in _notebooks(pages)]})
    return config


def on_files(files: Files, config: Any) -> Files:
    """Execute every notebook and add it as a page."""
    for path in _notebooks(Path(config.docs_dir)):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=executed(path)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Redirect links that leave docs/ to the repository."""
    folder = Path(page.file.src_uri).parent
    up = "../" * (len(folder.parts) + 1)
    return markdown.replace(f"]({up}", f"]({config.repo_url}/blob/main/")


def executed(path: Path) -> str:
    """Return a notebook as Markdown with the outputs of a fresh execution.

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
        output = "".join(_text(each) for each in cell.outputs).strip()
        if output:
            parts.append(f"```text\n{output}\n```")
    return "\n\n".join([parts[1], parts[0], *parts[2:]]) + "\n"


def _text(output: Any) -> str:
    if output.output_type == "stream":
        return output.text if output.name == "stdout" else ""
    return output.get("data", {}).get("text/plain", "") + "\n"


def _notebooks(pages: Path) -> list[Path]:
    return sorted((pages / "notebooks").glob("*.ipynb"))
