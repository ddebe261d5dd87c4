"""The page of the demo on clouds: accuracies, and clouds coloured by what networks make of their points."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from dimlift.records.json_file import read_json
from dimlift.records.record import write_text

_STYLE = """
:root { --ink: #1c2430; --grid: #d5dae1 }
body { font: 16px/1.5 sans-serif; color: var(--ink); max-width: 64rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse }
td, th { padding: .3rem .8rem; text-align: left; border-bottom: 1px solid var(--grid) }
img { width: 100% }
"""

_PAGE = Markup("""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Clouds</title><style>{style}</style>
<h1>What a network of points learns without labels</h1>
<p>{count} clouds made of boxes, classes {classes}: a linear SVM on frozen features, half of the clouds to train on,
five draws; in brackets the 95 % interval of the mean. Shapes of boxes say that the pipeline works, nothing about real
scans.</p>
<table><tr><th>weights<th>accuracy<th>beside random weights<th>steps</tr>
{rows}
</table>
<h2>Before and after</h2>
<p>Each point has the colour of the three leading components of the tokens around it; each column has components of its
own, so compare where colours change, not which they are.</p>
{picture}
</html>
""")


def write_clouds_page(folder: Path) -> Path:
    """`folder`/points.html from points.json and points.npz; it needs nothing from outside."""
    content = read_json(folder / "points.json")
    with np.load(folder / "points.npz", allow_pickle=False) as arrays:
        picture = _clouds(arrays["points"], arrays["colours"], content)
    rows = [_row(row) for row in content["rows"]]
    page = _PAGE.format(
        style=Markup(_STYLE),
        count=content["clouds"],
        classes=", ".join(content["classes"]),
        rows=Markup("\n").join(rows),
        picture=picture,
    )
    return write_text(folder / "points.html", str(page))


def _row(row: dict[str, Any]) -> Markup:
    gain = "" if "gain" not in row else f"{row['gain']:+.3f}{_interval(row['gain_interval'], '+.3f')}"
    cells = (row["name"], f"{row['accuracy']:.3f}{_interval(row['interval'], '.3f')}", gain, str(row["steps"]))
    return Markup("<tr>{}</tr>").format(Markup("").join(Markup("<td>{}</td>").format(escape(cell)) for cell in cells))


def _interval(found: list[float] | None, digits: str) -> str:
    return "" if found is None else f" ({found[0]:{digits}} to {found[1]:{digits}})"


def _clouds(
    points: Float[np.ndarray, "clouds points 3"], colours: Float[np.ndarray, "columns clouds points 3"], content: Any
) -> Markup:
    """A picture: one row a class, one column for each network; seen from above and in front, near points last."""
    names = content["columns"]
    figure = Figure(figsize=(3.2 * len(names), 2.6 * len(points)), layout="constrained")
    grid = figure.subplots(len(points), len(names), squeeze=False)
    across, up, away = from_in_front(points)
    for row, axes in enumerate(grid):
        order = np.argsort(-away[row])
        for column, axis in enumerate(axes):
            shades = colours[column, row][order]
            axis.scatter(across[row][order], up[row][order], c=shades, s=9, linewidths=0)
            axis.set_aspect("equal")
            axis.set_axis_off()
            if row == 0:
                axis.set_title(names[column], fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return Markup('<img alt="clouds coloured by features: {names}" src="{source}">').format(
        names=", ".join(names), source=source
    )


def from_in_front(
    points: Float[np.ndarray, "*clouds 3"],
) -> tuple[Float[np.ndarray, "*clouds"], Float[np.ndarray, "*clouds"], Float[np.ndarray, "*clouds"]]:
    """Points whose second coordinate is upright, seen from above and in front: across, up, and away from the eye."""
    turned, lean = np.deg2rad(35), np.deg2rad(20)
    x, y, z = np.moveaxis(points, -1, 0)
    across, away = np.cos(turned) * x + np.sin(turned) * z, np.cos(turned) * z - np.sin(turned) * x
    return across, np.cos(lean) * y + np.sin(lean) * away, np.cos(lean) * away - np.sin(lean) * y
