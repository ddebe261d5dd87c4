"""What a lifted network does to depth, drawn from the side: slices stand upright, and grow thicker where they merge."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

SLICES = 16
"""Drawn of the volume, unless a stage merges more into one."""

BLOCK, GAP, TOP, TALL, LINE = 112, 34, 14, 96, 15
"""Width of a block, distance of two, space above, height of the volume, height of a line of text."""


def draw_depth_plan(content: Mapping[str, Any], title: str) -> Markup | None:
    """The stages of a lifted network as blocks, beside the volume; None if the certificate does not hold them.

    A block has the slices that are left of the volume's, as thick as what they stand for, and is lower the coarser
    pixels are (by the same step for every doubling). A bar above says how far kernels reach through the slices.

    Args:
        content: a certificate with `stages` (stride, channels, kernels, reach and attention of each) and `spacing`
            (z, y, x in millimetres, or None).
        title: of the arm, for those who cannot see the drawing.
    """
    stages = content.get("stages")
    if not isinstance(stages, list) or not stages:
        return None
    spacing = content.get("spacing")
    volume: dict[str, Any] = {"stride": [1, 1, 1], "kernels": None, "attention": "slice"}
    drawn = max(SLICES, *(math.ceil(stage["stride"][0]) for stage in stages))
    parts = []
    for index, stage in enumerate([volume, *stages]):
        left = index * (BLOCK + GAP)
        before = stages[index - 2]["stride"][0] if index > 1 else 1
        parts.append(_block(stage, left, drawn))
        parts += _captions(stage, "volume" if index == 0 else f"stage {index - 1}", left, spacing)
        if index:
            parts.append(_arrow(left, stage["stride"][0] / before))
    width, height = (len(stages) + 1) * (BLOCK + GAP) - GAP, TOP + TALL + 5 * LINE + 6
    words = f"Depth plan of {title}: the volume and {len(stages)} stages"
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" style="max-width:{width}px" role="img" font-size="11" '
        f'font-family="sans-serif"><title>{escape(words)}</title>{"".join(parts)}</svg>'
    )


def _block(stage: Mapping[str, Any], left: float, drawn: int) -> str:
    depth, pixel = stage["stride"][0], stage["stride"][2]
    tall = TALL * max(0.25, 1 - 0.13 * math.log2(max(pixel, 1)))
    base = TOP + (TALL - tall) / 2
    count = max(1, round(drawn / depth))
    thick = BLOCK / count
    talks = bool(stage["kernels"]) or stage["attention"] not in ("slice", 1)
    colour = "--series-1" if talks else "--muted"
    found = [
        f'<rect x="{left + number * thick + 0.6:.1f}" y="{base:.1f}" width="{max(thick - 1.2, 1):.1f}" '
        f'height="{tall:.1f}" fill="var({colour})" fill-opacity="{0.75 if talks else 0.35}"/>'
        for number in range(count)
    ]
    if stage["kernels"]:
        reach = min(stage["reach"] / drawn, 1) * BLOCK
        start = left + (BLOCK - reach) / 2
        found.append(f'<path d="M{start:.1f} {base - 4:.1f}v-5h{reach:.1f}v5" fill="none" stroke="var(--ink)"/>')
    return "".join(found)


def _captions(stage: Mapping[str, Any], name: str, left: float, spacing: Sequence[float] | None) -> list[str]:
    stride = stage["stride"]
    lines = [name, " x ".join(map(str, stride)) + " voxels"]
    if name == "volume":
        lines[1] = "1 voxel"
    if spacing is not None:
        lines.append(f"{_millimetres(spacing[0] * stride[0])} x {_millimetres(spacing[2] * stride[2])} mm")
    if stage["kernels"] is not None:
        lines += [_talk(stage), f"{stage['channels']} channels"]
    return [
        f'<text x="{left + BLOCK / 2:.1f}" y="{TOP + TALL + (number + 1) * LINE:.1f}" text-anchor="middle" '
        f'fill="var(--ink)"{" font-weight=" + chr(34) + "bold" + chr(34) if number == 0 else ""}>{escape(line)}</text>'
        for number, line in enumerate(lines)
    ]


def _talk(stage: Mapping[str, Any]) -> str:
    sizes, attention = ", ".join(map(str, stage["kernels"])), stage["attention"]
    found = [f"depth kernel {sizes}"] if sizes else []
    if attention not in ("slice", 1):
        words = {"joint": "joint attention", "planecycle": "planes in turn"}
        found.append(words.get(attention, f"attention over {attention}"))
    return " + ".join(found) or "slices apart"


def _arrow(left: float, factor: float) -> str:
    middle, across = TOP + TALL / 2, left - GAP / 2
    words = "" if factor <= 1 else f"\N{DIVISION SIGN}{factor:g}"
    return (
        f'<path d="M{left - GAP + 7} {middle}h{GAP - 16}m-4 -4l4 4l-4 4" fill="none" stroke="var(--ink)"/>'
        f'<text x="{across}" y="{middle - 8}" text-anchor="middle" fill="var(--ink)">{words}</text>'
    )


def _millimetres(number: float) -> str:
    return f"{number:.3g}"
