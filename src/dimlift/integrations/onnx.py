"""A trained network as an ONNX file, for runtimes without Python: tried in onnxruntime before it is handed over."""

import json
import logging
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dimlift.config.method_config import Arm
from dimlift.errors import CannotExport
from dimlift.inference.point_predictor import is_of_points
from dimlift.inference.predictor import Trained
from dimlift.models.pad_to_multiple import AnySize
from dimlift.records.atomic_write import written_whole
from dimlift.records.weights import read_card, weights_folder

TOLERANCE = 1e-4
"""Largest difference between torch and onnxruntime, relative to the largest answer."""

AXES = {0: "batch", 2: "depth"}
"""Axes of (B, C, D, H, W) that may stay free."""

_OPERATOR = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'")

LARGEST = 2 * 1024**3
"""Bytes one ONNX file can hold."""


@dataclass(frozen=True)
class Exported:
    """What an ONNX file takes, and how it was tried.

    Attributes:
        free: axes whose length may be any multiple of a number, {"batch": 1, "depth": 8}; the others are as in `shape`.
        shape: of the volume it was traced with, (B, C, D, H, W).
        error: largest difference to torch over all volumes tried, relative to the largest answer.
    """

    path: Path
    free: Mapping[str, int]
    shape: tuple[int, ...]
    error: float

    @property
    def axes(self) -> list[tuple[str, int]]:
        """Name and traced length of every axis of a volume."""
        return list(zip(("batch", "channel", "depth", "height", "width"), self.shape, strict=True))


def export_onnx(run: Path | str, path: Path | str) -> Exported:
    """Write the network of a run as an ONNX file, its card in the file's metadata under "dimlift".

    The file holds the network alone: it reads one window of a volume that is oriented, resampled and normalised as the
    card says (preprocessing, built_for.patch_size), and answers with logits.

    Args:
        run: folder that `train` wrote, or any weights folder.

    Raises:
        CannotExport: if its method reads points, or more than the image, or as `write_onnx`.
        DataError, RunError, WeightsError: if there are no such weights.
    """
    folder = weights_folder(Path(run))
    if is_of_points(read_card(folder)):
        raise CannotExport(
            f"{folder} holds a network of points, which looks for neighbours anew in every cloud, and ONNX has no "
            "operator for that; use `dimlift predict`"
        )
    trained = Trained.load(folder)
    if type(trained.arm).companions is not Arm.companions:
        raise CannotExport(
            f"{trained.arm.method} reads 2D features beside the image, which a single network cannot hold; use "
            "`dimlift predict`, or export an arm that reads the image alone (unet, slices, lifted, ...)"
        )
    example = torch.randn(
        2, trained.task.in_channels, *trained.task.patch_size, generator=torch.Generator().manual_seed(0)
    )
    return write_onnx(trained.method, example, Path(path), read_card(folder))


def write_onnx(
    network: nn.Module,
    example: Float[Tensor, "batch channels depth height width"],
    path: Path,
    card: Mapping[str, Any] | None = None,
    tolerance: float = TOLERANCE,
) -> Exported:
    """Write any network of volumes as an ONNX file, with free batch and depth where it allows that.

    A network whose depth has to divide, as a U-Net's skips demand, gets a depth of any such multiple. A file is only
    left behind once onnxruntime gave torch's answers on the example and, for each free axis, on a longer volume.

    Args:
        network: one tensor for a volume; put into eval mode.
        example: what it is traced with; at least two volumes, or their number stays fixed.
        card: kept in the file's metadata.

    Raises:
        CannotExport: if an extra is missing, an operator has no ONNX counterpart, or the answers differ.
    """
    onnxruntime = _require_onnx()
    if sum(t.numel() * t.element_size() for t in network.state_dict().values()) >= LARGEST:
        raise CannotExport(
            f"{path} would pass the 2 GiB an ONNX file can hold; choose a smaller network, or use `dimlift predict`"
        )
    network = network.eval()
    why = ""
    step = _depth_step(network, example.shape[2])
    for free in ({0: 1, 2: 1}, {0: 1, 2: step}, {0: 1}, {}):
        try:
            program = _traced(network, example, free)
            program.model.metadata_props["dimlift"] = json.dumps(dict(card or {}))
            content = program.model_proto.SerializeToString()
            session = _session(onnxruntime, content)
            error = max(_difference(network, session, volume) for volume in _volumes(example, free))
        except _UnknownOperator:
            raise
        except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as fault:
            # an axis that the network computes with in Python cannot be free: it is fixed in the next attempt
            why = str(fault).strip().split("\n", maxsplit=1)[0]
            continue
        if error <= tolerance:
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as scratch:
                scratch.write_bytes(content)
            return Exported(path, {AXES[axis]: each for axis, each in free.items()}, tuple(example.shape), error)
        why = f"onnxruntime differs from torch by {error:.1e} of the largest answer, {tolerance:.0e} is allowed"
    raise CannotExport(f"{path} was not written: {why}; use `dimlift predict`, or another network or depth plan")


class _UnknownOperator(CannotExport):
    """No attempt can help."""


def _require_onnx() -> Any:
    """onnxruntime, once everything an export needs is known to be here."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as fault:
        raise CannotExport(f"an export needs {fault.name}; pip install 'dimlift[onnx]'") from fault
    return onnxruntime


def _session(onnxruntime: Any, content: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # a length it cannot take is found out here on purpose
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _depth_step(network: nn.Module, depth: int) -> int:
    """What a free depth is a multiple of: what the network divides volumes by, or the powers of two in `depth`."""
    known = next((module.multiple[0] for module in network.modules() if isinstance(module, AnySize)), 0)
    return known if known and depth % known == 0 else depth & -depth


def _traced(network: nn.Module, example: Tensor, free: Mapping[int, int]) -> Any:
    """The network as an ONNX program whose `free` axes may be any multiple of a number each."""
    axes = {
        axis: torch.export.Dim(AXES[axis], min=1)
        if step == 1
        else step * torch.export.Dim(f"{AXES[axis]}_steps", min=1)
        for axis, step in free.items()
    }
    before = logging.root.manager.disable
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer, about itself, as are its log lines
            logging.disable(logging.CRITICAL)
            return torch.onnx.export(
                network, (example,), dynamo=True, dynamic_shapes=(axes or None,), verbose=False,
                input_names=["volume"], output_names=["logits"],
            )  # fmt: skip
    except torch.onnx.OnnxExporterError as fault:
        found = _OPERATOR.search(_chain(fault))
        if found is None:
            raise
        raise _UnknownOperator(
            f"the operator {found[1]} has no ONNX counterpart; leave the layer that uses it out of the network or the "
            "depth plan, or use `dimlift predict`"
        ) from fault
    finally:
        logging.disable(before)


def _chain(fault: BaseException | None) -> str:
    """What an error and those that caused it say."""
    said = []
    while fault is not None:
        said.append(str(fault))
        fault = fault.__cause__ or fault.__context__
    return "\n".join(said)


def _volumes(example: Tensor, free: Mapping[int, int]) -> list[Tensor]:
    """The example, and a longer one along each free axis."""
    draw = torch.Generator().manual_seed(1)
    volumes = [example]
    for axis, step in free.items():
        shape = list(example.shape)
        shape[axis] += step
        volumes.append(torch.randn(shape, generator=draw))
    return volumes


def _difference(network: nn.Module, session: Any, volume: Tensor) -> float:
    """Largest difference between torch and onnxruntime, relative to the largest answer."""
    with torch.no_grad():
        wanted = network(volume).numpy()
    try:
        (found,) = session.run(None, {"volume": volume.numpy()})
    except Exception as fault:  # its errors have no base of their own
        raise RuntimeError(f"onnxruntime cannot take a volume of {tuple(volume.shape)}: {fault}") from fault
    if found.shape != wanted.shape:
        raise RuntimeError(f"onnxruntime answers {found.shape} where torch answers {wanted.shape}")
    return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-12))
