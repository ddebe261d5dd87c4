"""`dimlift examples`: the example configurations and scripts, from the installed package."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out


def examples(
    name: Annotated[str | None, typer.Argument(help="File to write; without it all are listed.")] = None,
    to: Annotated[Path, typer.Option("--out", help="Folder to write to.")] = Path(),
) -> None:
    """List the example configurations and Python scripts, or write one.

    Examples:

        dimlift examples

        dimlift examples study.yaml
    """
    from dimlift.errors import ConfigError, UnknownNameError

    known = {path.name: path for path in sorted(example_folder().rglob("*")) if path.suffix in (".yaml", ".py")}
    if name is None:
        for path in known.values():
            out.print(f"{path.name:<26} {first_line(path)}", soft_wrap=True)
        return
    if name not in known:
        raise UnknownNameError("example", name, known)
    target = to / name
    if target.exists():
        raise ConfigError(f"{target} exists; choose another folder with --out")
    to.mkdir(parents=True, exist_ok=True)
    target.write_text(known[name].read_text(encoding="utf-8"), encoding="utf-8")
    out.print(str(target), soft_wrap=True)


def example_folder() -> Path:
    """Return the folder of the examples: inside the installed package, or beside the sources."""
    import dimlift

    package = Path(dimlift.__file__).parent
    installed = package / "examples"
    return installed if installed.is_dir() else package.parents[1] / "examples"


def first_line(path: Path) -> str:
    """Return the first line of an example's comment or docstring."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if text := line.strip().strip('#"').strip():
            return text.split("\n", 1)[0]
    return ""
