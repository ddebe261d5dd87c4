"""A trained network as an ONNX file, checked against torch in onnxruntime before it is written."""

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

from dimlift.errors import ExportError
from dimlift.inference.predictor import Predictor
from dimlift.models.pad_to_multiple import PadToMultiple
from dimlift.records.atomic_write import atomic_write
from dimlift.records.weights import read_card, weights_folder

TOLERANCE = 1e-4
"""Largest difference between torch and onnxruntime, relative to the largest output."""

DYNAMIC_AXES = {0: "batch", 2: "depth"}
"""Axes of (B, C, D, H, W) that may be dynamic."""

_OPERATOR = re.compile(r"No ONNX function found for <OpOverload\(op='([\w.]+)'")

MAX_FILE_BYTES = 2 * 1024**3


@dataclass(frozen=True)
class OnnxExport:
    """An ONNX file, its input shape, and how it was checked.

    Attributes:
        dynamic: axes whose length may be any multiple of a number, {"batch": 1, "depth": 8}; others are as in `shape`.
        shape: of the volume it was traced with, (B, C, D, H, W).
        error: largest difference from torch over all checked volumes, relative to the largest output.
    """

    path: Path
    dynamic: Mapping[str, int]
    shape: tuple[int, ...]
    error: float

    @property
    def axes(self) -> list[tuple[str, int]]:
        """Name and traced length of every axis of a volume."""
        return list(zip(("batch", "channel", "depth", "height", "width"), self.shape, strict=True))


def export_onnx(run: Path | str, path: Path | str) -> OnnxExport:
    """Write the network of a run as an ONNX file, with its card in the metadata under "dimlift".

    The file holds the network alone: from one window of a volume that is oriented, resampled and normalised as the card
    states (preprocessing, built_for.patch_size) to logits.

    Args:
        run: folder that `train` wrote, or any weights folder.

    Raises:
        ExportError: for point clouds, for methods that need more than the image, and as `write_onnx`.
        DataError, RunError, WeightsError: if there are no such weights.
    """
    folder = weights_folder(Path(run))
    predictor = Predictor.load(folder)
    return write_onnx(predictor.method, predictor.modality.export_example(predictor), Path(path), read_card(folder))


def write_onnx(
    network: nn.Module,
    example: Float[Tensor, "batch channels depth height width"],
    path: Path,
    card: Mapping[str, Any] | None = None,
    tolerance: float = TOLERANCE,
) -> OnnxExport:
    """Write any network of volumes as an ONNX file, with dynamic batch and depth where the network allows it.

    Where depth must be a multiple of a number, as for the skips of a U-Net, it may be any such multiple. The file is
    written only if onnxruntime reproduces torch on the example and, for each dynamic axis, on a longer volume.

    Args:
        network: returns one tensor for a volume; put into eval mode.
        example: traced input; at least two volumes, or the batch size stays fixed.
        card: stored in the metadata.

    Raises:
        ExportError: if an extra is missing, an operator has no ONNX counterpart, or the outputs differ.
    """
    onnxruntime = _require_onnx()
    if sum(t.numel() * t.element_size() for t in network.state_dict().values()) >= MAX_FILE_BYTES:
        raise ExportError(
            f"{path} would exceed the 2 GiB limit of an ONNX file; choose a smaller network, or use `dimlift predict`"
        )
    network = network.eval()
    reason = ""
    step = _depth_step(network, example.shape[2])
    for dynamic in ({0: 1, 2: 1}, {0: 1, 2: step}, {0: 1}, {}):
        try:
            program = _traced(network, example, dynamic)
            program.model.metadata_props["dimlift"] = json.dumps(dict(card or {}))
            content = program.model_proto.SerializeToString()
            session = _session(onnxruntime, content)
            error = max(_difference(network, session, volume) for volume in _volumes(example, dynamic))
        except _UnknownOperator:
            raise
        except (torch.onnx.OnnxExporterError, RuntimeError, ValueError) as fault:
            # an axis whose length the network uses in Python cannot be dynamic: it is fixed in the next attempt
            reason = str(fault).strip().split("\n", maxsplit=1)[0]
            continue
        if error <= tolerance:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_write(path) as scratch:
                scratch.write_bytes(content)
            return OnnxExport(
                path, {DYNAMIC_AXES[axis]: each for axis, each in dynamic.items()}, tuple(example.shape), error
            )
        reason = f"onnxruntime differs from torch by {error:.1e} of the largest output, {tolerance:.0e} is allowed"
    raise ExportError(f"{path} was not written: {reason}; use `dimlift predict`, or another network or depth plan")


class _UnknownOperator(ExportError):
    """No further attempt can succeed."""


def _require_onnx() -> Any:
    """Import what an export needs and return onnxruntime."""
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as fault:
        raise ExportError(f"an export needs {fault.name}; pip install 'dimlift[onnx]'") from fault
    return onnxruntime


def _session(onnxruntime: Any, content: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # an unsupported length raises here, which is expected
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _depth_step(network: nn.Module, depth: int) -> int:
    """Return the step of a dynamic depth: the multiple the network pads to, or the power of two in `depth`."""
    known = next((module.multiple[0] for module in network.modules() if isinstance(module, PadToMultiple)), 0)
    return known if known and depth % known == 0 else depth & -depth


def _traced(network: nn.Module, example: Tensor, dynamic: Mapping[int, int]) -> Any:
    """Return the network as an ONNX program whose `dynamic` axes may be any multiple of a number each."""
    axes = {
        axis: torch.export.Dim(DYNAMIC_AXES[axis], min=1)
        if step == 1
        else step * torch.export.Dim(f"{DYNAMIC_AXES[axis]}_steps", min=1)
        for axis, step in dynamic.items()
    }
    before = logging.root.manager.disable
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # of the tracer itself, as are its log lines
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
    """Return the messages of an error and of its causes."""
    messages = []
    while fault is not None:
        messages.append(str(fault))
        fault = fault.__cause__ or fault.__context__
    return "\n".join(messages)


def _volumes(example: Tensor, dynamic: Mapping[int, int]) -> list[Tensor]:
    """Return the example, and a longer one along each dynamic axis."""
    generator = torch.Generator().manual_seed(1)
    volumes = [example]
    for axis, step in dynamic.items():
        shape = list(example.shape)
        shape[axis] += step
        volumes.append(torch.randn(shape, generator=generator))
    return volumes


def _difference(network: nn.Module, session: Any, volume: Tensor) -> float:
    """Largest difference between torch and onnxruntime, relative to the largest output."""
    with torch.no_grad():
        expected = network(volume).numpy()
    try:
        (found,) = session.run(None, {"volume": volume.numpy()})
    except Exception as fault:  # onnxruntime errors have no common base class
        raise RuntimeError(f"onnxruntime cannot take a volume of {tuple(volume.shape)}: {fault}") from fault
    if found.shape != expected.shape:
        raise RuntimeError(f"onnxruntime returns shape {found.shape}, torch {expected.shape}")
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))
