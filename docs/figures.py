"""Draw the images of the documentation into docs/images.

    python docs/figures.py [--report REPORT.html]

`mechanism.png` and `features.png` come from the packaged EfficientNet-Lite0 on the MNI152 head of nilearn. `report.png`
is a screenshot, by headless Chromium, of a report of `dimlift demo --quick`.
"""

import argparse
import io
import shutil
import subprocess
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Rectangle
from nilearn.datasets import load_mni152_template
from numpy.typing import NDArray
from PIL import Image

from dimlift import DepthPlan, lift

IMAGES = Path(__file__).parent / "images"
INK, PLAIN, MIXING = "#26323c", "#dbe7f0", "#f2a65a"
DEPTH = 5
NETWORK = "packaged:efficientnet_lite0"


def head() -> NDArray[np.float32]:
    """Return the MNI152 head as square axial slices (z, y, x), the front up, in [0, 1]."""
    volume = np.asarray(load_mni152_template(resolution=1).dataobj, np.float32).transpose(2, 1, 0)[:, ::-1]
    rows, columns = (np.flatnonzero((volume > 0.02).any(axes)) for axes in ((0, 2), (0, 1)))
    side = int(np.ptp(rows)) + 9
    top, left = (int(span.mean()) - side // 2 for span in (rows, columns))
    volume = np.pad(volume, ((0, 0), (side, side), (side, side)))
    volume = volume[:, top + side : top + 2 * side, left + side : left + 2 * side]
    return np.clip(volume / np.quantile(volume[volume > 0.02], 0.99), 0, 1)


def feature_maps(slices: NDArray[np.float32], size: int = 512) -> list[NDArray[np.float32]]:
    """Return the maps of the lifted network, each (channels, depth, height, width), on slices of size x size."""
    plan = DepthPlan(kernel=3, inflation="gaussian")
    encoder = lift(NETWORK, plan, in_chans=1, features_only=True).eval()
    volume = torch.from_numpy(slices.copy())[:, None]
    volume = torch.nn.functional.interpolate(volume, (size, size), mode="bicubic", align_corners=False)
    volume = (volume - volume.mean()) / volume.std()
    with torch.no_grad():
        return [each[0].numpy() for each in encoder(volume.transpose(0, 1)[None])]


def components(features: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the first three principal components of a map as colours (depth, height, width, 3), white outside."""
    shape = features.shape[1:]
    small = torch.from_numpy(inside.astype(np.float32))[:, None]
    mask = torch.nn.functional.interpolate(small, shape[1:], mode="area")[:, 0].numpy() > 0.5
    values = features.reshape(len(features), -1).T
    values = (values - values[mask.ravel()].mean(0)) / (values[mask.ravel()].std(0) + 1e-6)
    axes = np.linalg.svd(values[mask.ravel()], full_matrices=False)[2][:3]
    scores = values @ axes.T
    low, high = np.quantile(scores[mask.ravel()], (0.02, 0.98), axis=0)
    colours = 0.2 + 0.8 * np.clip((scores - low) / (high - low), 0, 1).reshape(*shape, 3)
    return np.where(mask[..., None], colours, 1.0)


def grey(slices: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return slices as colours (depth, height, width, 3), white outside the head."""
    return np.repeat(np.where(slices > 0.02, 0.9 * slices, 1.0)[..., None], 3, -1)


def features(path: Path) -> None:
    """Draw slices of the head above components of two maps."""
    volume = head()
    slices = volume[44:129:17]
    maps = feature_maps(slices)
    inside = slices > 0.02
    rows = [("slices", grey(slices)), ("stride 4", components(maps[1], inside))]
    rows.append(("stride 16", components(maps[3], inside)))
    figure, axes = plt.subplots(len(rows), len(slices), figsize=(9.6, 4.8))
    for (label, images), line in zip(rows, axes, strict=True):
        for image, axis in zip(images, line, strict=True):
            axis.imshow(image, interpolation="nearest")
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        line[0].set_ylabel(label, fontsize=11, color=INK)
    figure.subplots_adjust(0.03, 0.005, 0.998, 0.995, 0.02, 0.02)
    save(figure, path)


def mechanism(path: Path) -> None:
    """Draw fold, 2D layers, depth mixing and unfold."""
    slices = head()[48:125:19]
    images, results = grey(slices), components(feature_maps(slices)[1], slices > 0.02)
    figure, axis = plt.subplots(figsize=(12, 4.7))
    axis.set(xlim=(0, 24.6), ylim=(-0.6, 9.0), aspect="equal")
    axis.axis("off")
    lanes = [1.35 + 1.5 * index for index in range(DEPTH)]
    _stack(axis, images, 0.35)
    _stack(axis, results, 20.2)
    for lane, image, result in zip(lanes[::-1], images, results, strict=True):
        _tile(axis, image, 5.95, lane - 0.7, 1.4)
        _tile(axis, result, 17.15, lane - 0.7, 1.4)
    for left, name, colour in ((8.4, "2D layer", PLAIN), (11.4, "depth mixing", MIXING), (14.4, "2D layer", PLAIN)):
        style = "round,pad=0,rounding_size=0.2"
        axis.add_patch(FancyBboxPatch((left, 0.55), 1.5, 7.6, boxstyle=style, fc=colour, ec=INK, lw=1.0))
        axis.text(left + 0.75, 8.5, name, ha="center", fontsize=12, color=INK)
    for start, end in ((7.4, 8.4), (9.9, 11.4), (12.9, 14.4), (15.9, 17.1)):
        for lane in lanes:
            _arrow(axis, (start, lane), (end, lane), 1.2)
    for left in (8.4, 14.4):
        for lane in lanes:
            axis.plot([left + 0.15, left + 1.35], [lane, lane], color=INK, lw=1.2)
    for target in range(DEPTH):
        for source in range(max(target - 1, 0), min(target + 2, DEPTH)):
            width = 2.4 if source == target else 1.0
            axis.plot([11.55, 12.75], [lanes[source], lanes[target]], color=INK, lw=width, solid_capstyle="round")
    _arrow(axis, (4.55, 4.35), (5.85, 4.35), 2.2)
    _arrow(axis, (18.7, 4.35), (20.0, 4.35), 2.2)
    for x, top, bottom in (
        (2.4, "volume", "(B, C, D, H, W)"),
        (6.65, "batch of slices", "(B·D, C, H, W)"),
        (9.15, "", "own forward"),
        (12.15, "", r"$W_z = p_z\,w$,  $\sum_z p_z = 1$"),
        (15.15, "", "own forward"),
        (17.85, "maps", "(B·D, C', H', W')"),
        (22.25, "volume of maps", "(B, C', D, H', W')"),
    ):
        axis.text(x, 8.5, top, ha="center", fontsize=12, color=INK)
        axis.text(x, -0.15, bottom, ha="center", va="center", fontsize=10, color=INK)
    for x, text in ((5.2, "fold"), (19.35, "unfold")):
        axis.text(x, 4.65, text, ha="center", fontsize=12, color=INK)
    figure.subplots_adjust(0, 0, 1, 1)
    save(figure, path)


def _stack(axis: Axes, images: NDArray[np.float32], left: float) -> None:
    """Draw slices behind each other, the lowest in front."""
    for index, image in reversed(list(enumerate(images))):
        _tile(axis, image, left + 0.4 * index, 1.6 + 0.75 * index, 2.5, frame=True)


def _tile(axis: Axes, image: NDArray[np.float32], left: float, bottom: float, side: float, frame: bool = False) -> None:
    order = 3 - bottom / 10
    extent = (left, left + side, bottom, bottom + side)
    axis.imshow(image, extent=extent, zorder=order, interpolation="antialiased")
    if frame:
        axis.add_patch(Rectangle((left, bottom), side, side, fill=False, ec=INK, lw=0.8, zorder=order))


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float], width: float) -> None:
    scale = 8 + 3 * width
    axis.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=scale, lw=width, color=INK, shrinkA=0, shrinkB=0)
    )


def save(figure: plt.Figure, path: Path) -> None:
    """Write a figure as a PNG with a palette of 256 colours."""
    stream = io.BytesIO()
    figure.savefig(stream, dpi=130, facecolor="white")
    plt.close(figure)
    shrink(Image.open(stream), path)


def shrink(image: Image.Image, path: Path, colours: int = 256) -> None:
    """Write an image with a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image.convert("RGB").quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)


def screenshot(report: Path, path: Path) -> None:
    """Write the verdict, the differences and the cases of a report, by headless Chromium.

    Raises:
        SystemExit: if Chromium is not on the PATH.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise SystemExit("chromium is not on the PATH; install it, or leave --report out")
    hidden = ", ".join(f'section[aria-labelledby="{name}"]' for name in ("classes", "descriptions", "squares"))
    style = f"<style>{hidden} {{ display: none }}</style></head>"
    with tempfile.TemporaryDirectory() as folder:
        page, target = Path(folder) / "report.html", Path(folder) / "page.png"
        page.write_text(report.read_text(encoding="utf-8").replace("</head>", style, 1), encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += ["--window-size=1200,2284", f"--screenshot={target}", page.as_uri()]
        subprocess.run(command, check=True, capture_output=True)
        shrink(Image.open(target).resize((900, 1713), Image.Resampling.LANCZOS), path, 64)


def main() -> None:
    """Draw every image."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=Path, help="report.html to take the screenshot of")
    options = parser.parse_args()
    torch.set_num_threads(1)
    mechanism(IMAGES / "mechanism.png")
    features(IMAGES / "features.png")
    if options.report:
        screenshot(options.report, IMAGES / "report.png")


if __name__ == "__main__":
    main()
