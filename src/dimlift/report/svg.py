"""Matplotlib figures as inline SVG: text stays text, and colours follow the page's CSS variables."""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, FAINT = "#0a0b0c", "#0a0b0d"
"""Placeholders for the page's text and grid colours, replaced at the end: matplotlib has no CSS variables."""

HELPS, HURTS, OPEN = "#0a0b10", "#0a0b11", "#0a0b12"
SERIES = tuple(f"#0a0c{index:02d}" for index in range(10, 18))

_VARIABLES = {INK: "--ink", FAINT: "--grid", HELPS: "--helps", HURTS: "--hurts", OPEN: "--subtle"} | {
    colour: f"--series-{index}" for index, colour in enumerate(SERIES, start=1)
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}


@contextmanager
def figure_style(name: str) -> Iterator[None]:
    """Apply the style of the page inside the block. `name` keeps the ids of different figures distinct."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        # the browser has fonts for scripts that matplotlib's own fonts lack
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def to_svg(figure: Figure, title: str) -> Markup:
    """Return the figure as `<svg>` element with a title for screen readers. Call it inside `figure_style`."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.05, metadata={"Date": None}
    )
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    width, height = (float(number) for number in re.findall(r'(?:width|height)="([\d.]+)pt"', text)[:2])
    text = re.sub(r"<svg[^>]*>", "", text, count=1)
    used = set(re.findall(r'(?:xlink:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", text)
    text = text.replace("xlink:href", "href")  # xlink would need a namespace declaration
    for colour, variable in _VARIABLES.items():
        text = text.replace(colour, f"var({variable})")
    opening = f'<svg viewBox="0 0 {width:g} {height:g}" style="max-width:{width * 1.34:.0f}px" role="img">'
    return Markup(f"{opening}<title>{escape(title)}</title>{text}")


def series_style(index: int) -> dict[str, object]:
    """Return colour and line style of the arm with this index: eight colours, then the same ones dashed and dotted."""
    return {"color": SERIES[index % len(SERIES)], "linestyle": ("-", "--", ":")[index // len(SERIES) % 3]}


def hide_ticks(axes: Axes) -> None:
    """Remove tick marks; the grid shows the values."""
    axes.tick_params(length=0)
