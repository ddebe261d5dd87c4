"""`dimlift weights`: what a weights file holds."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Column, Table

from dimlift.cli.console import err, out

if TYPE_CHECKING:
    from dimlift.backbones.describe_weights import WeightsSummary

MAX_ROWS = 30
MAX_NAME = 200


def weights(
    file: Annotated[Path, typer.Argument(help="A .safetensors, .pt, .pth, .ckpt or .bin file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the list as JSON.")] = False,
) -> None:
    """List what a weights file holds, and what `dimlift lift --weights` would use of it. No code of the file is run.

    Examples:

        dimlift weights checkpoint.pth

        dimlift weights checkpoint.pth --json
    """
    from dimlift.backbones.describe_weights import describe_weights

    with err.status(f"reading {file}"):
        summary = describe_weights(file)
    if as_json:
        typer.echo(json.dumps(asdict(summary), indent=1, default=str))
    else:
        _print_summary(summary)


def _print_summary(summary: "WeightsSummary") -> None:
    numbers = (Column(name, justify="right", no_wrap=True) for name in ("tensors", "values", "size"))
    table = Table(
        Column("dictionary", overflow="fold"), *numbers, "type", Column("for example", overflow="fold"), box=SIMPLE_HEAD
    )
    for each in summary.tables[:MAX_ROWS]:
        examples = "\n".join(f"{_clip(name)} {'x'.join(map(str, shape))}" for name, shape in each.examples)
        place = _clip(each.place) or "(the file itself)"
        size = _size(each.nbytes)
        cells = (place, str(each.tensors), _count(each.parameters), size, "\n".join(each.dtypes), examples)
        table.add_row(*cells)
    lines = [f"{summary.path}: {_size(summary.nbytes)}"]
    if len(summary.tables) > MAX_ROWS:
        lines.append(f"and {len(summary.tables) - MAX_ROWS} dictionaries more")
    if summary.used is None:
        lines.append("used: nothing, it holds no named tensors")
    else:
        lines.append(f"used: {_clip(summary.used) or 'the file itself'} ({summary.used_tensors} tensors)")
        prefix = next((each.prefix for each in summary.tables if each.place == summary.used), "")
        lines += [f"prefix of all names: {prefix}"] if prefix else []
    if summary.naming:
        lines.append(f"names: {summary.naming}")
    if summary.objects:
        listed = ", ".join(map(_clip, summary.objects[:5]))
        lines.append(f"Python objects, left empty ({len(summary.objects)} kinds): {listed}")
    match = summary.nearest
    found = "not recognised" if match is None else f"{match.name}, {match.fitting} of its {match.tensors} tensors fit"
    lines.append(f"nearest network: {found}")
    out.print(table)
    for line in lines:
        out.print(line, soft_wrap=True)


def _clip(name: str) -> str:
    """Return a name of the file in one line of bounded length."""
    name = name.replace("\n", "\\n")
    return name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}..."


def _count(number: int) -> str:
    return f"{number / 1e6:.1f} M" if number >= 1e5 else str(number)


def _size(nbytes: int) -> str:
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= factor:
            return f"{nbytes / factor:.1f} {unit}"
    return f"{nbytes} bytes"
