"""Drawing of a depth plan from the side: slices are upright bars that get wider where depth is reduced."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

NUM_SLICES = 16
"""Slices of the volume that are drawn, unless a stage reduces more of them to one."""

BLOCK_WIDTH, GAP, TOP, HEIGHT, LINE_HEIGHT = 112, 34, 14, 96, 15
"""Width of a block, gap between blocks, space above, height of the volume, height of a line of text."""

_PER_SLICE = ("per_slice", 1)


def draw_depth_plan(certificate: Mapping[str, Any], title: str) -> Markup | None:
    """Draw the stages of a lifted network as blocks next to the volume; None if the certificate has no stages.

    A block has one bar per remaining slice, as wide as the slices of the volume that it covers. Its height decreases by
    a constant for every doubling of the pixel size. A bracket above shows the depth extent of the kernels.

    Args:
        certificate: with `stages` (stride, channels, kernels, reach and attention of each) and `spacing` (z, y, x in
            millimetres, or None).
        title: title of the arm, for screen readers.
    """
    stages = certificate.get("stages")
    if not isinstance(stages, list) or not stages:
        return None
    spacing = certificate.get("spacing")
    volume: dict[str, Any] = {"stride": [1, 1, 1], "kernels": None, "attention": "per_slice"}
    num_slices = max(NUM_SLICES, *(math.ceil(stage["stride"][0]) for stage in stages))
    parts = []
    for index, stage in enumerate([volume, *stages]):
        left = index * (BLOCK_WIDTH + GAP)
        previous = stages[index - 2]["stride"][0] if index > 1 else 1
        parts.append(_block(stage, left, num_slices))
        parts += _captions(stage, "volume" if index == 0 else f"stage {index - 1}", left, spacing)
        if index:
            parts.append(_arrow(left, stage["stride"][0] / previous))
    width, height = (len(stages) + 1) * (BLOCK_WIDTH + GAP) - GAP, TOP + HEIGHT + 5 * LINE_HEIGHT + 6
    description = f"Depth plan of {title}: the volume and {len(stages)} stages"
    return Markup(
        f'<svg viewBox="0 0 {width} {height}" style="max-width:{width}px" role="img" font-size="11" '
        f'font-family="sans-serif"><title>{escape(description)}</title>{"".join(parts)}</svg>'
    )


def _block(stage: Mapping[str, Any], left: float, num_slices: int) -> str:
    depth, pixel = stage["stride"][0], stage["stride"][2]
    height = HEIGHT * max(0.25, 1 - 0.13 * math.log2(max(pixel, 1)))
    top = TOP + (HEIGHT - height) / 2
    count = max(1, round(num_slices / depth))
    width = BLOCK_WIDTH / count
    mixes = bool(stage["kernels"]) or stage["attention"] not in _PER_SLICE
    colour, opacity = ("--series-1", 0.75) if mixes else ("--subtle", 0.35)
    shapes = [
        f'<rect x="{left + number * width + 0.6:.1f}" y="{top:.1f}" width="{max(width - 1.2, 1):.1f}" '
        f'height="{height:.1f}" fill="var({colour})" fill-opacity="{opacity}"/>'
        for number in range(count)
    ]
    if stage["kernels"]:
        reach = min(stage["reach"] / num_slices, 1) * BLOCK_WIDTH
        start = left + (BLOCK_WIDTH - reach) / 2
        shapes.append(f'<path d="M{start:.1f} {top - 4:.1f}v-5h{reach:.1f}v5" fill="none" stroke="var(--ink)"/>')
    return "".join(shapes)


def _captions(stage: Mapping[str, Any], name: str, left: float, spacing: Sequence[float] | None) -> list[str]:
    stride = stage["stride"]
    lines = [name, "1 voxel" if name == "volume" else " x ".join(map(str, stride)) + " voxels"]
    if spacing is not None:
        lines.append(f"{spacing[0] * stride[0]:.3g} x {spacing[2] * stride[2]:.3g} mm")
    if stage["kernels"] is not None:
        lines += [_describe_mixing(stage), f"{stage['channels']} channels"]
    centre = left + BLOCK_WIDTH / 2
    return [
        f'<text x="{centre:.1f}" y="{TOP + HEIGHT + (number + 1) * LINE_HEIGHT:.1f}" text-anchor="middle" '
        f'fill="var(--ink)"{" font-weight=" + chr(34) + "bold" + chr(34) if number == 0 else ""}>{escape(line)}</text>'
        for number, line in enumerate(lines)
    ]


def _describe_mixing(stage: Mapping[str, Any]) -> str:
    sizes, attention = ", ".join(map(str, stage["kernels"])), stage["attention"]
    parts = [f"depth kernel {sizes}"] if sizes else []
    if attention not in _PER_SLICE:
        names = {"volume": "joint attention", "planecycle": "alternating planes"}
        parts.append(names.get(attention, f"attention over {attention}"))
    return " + ".join(parts) or "no depth mixing"


def _arrow(left: float, factor: float) -> str:
    middle, centre = TOP + HEIGHT / 2, left - GAP / 2
    text = "" if factor <= 1 else f"\N{DIVISION SIGN}{factor:g}"
    return (
        f'<path d="M{left - GAP + 7} {middle}h{GAP - 16}m-4 -4l4 4l-4 4" fill="none" stroke="var(--ink)"/>'
        f'<text x="{centre}" y="{middle - 8}" text-anchor="middle" fill="var(--ink)">{text}</text>'
    )
