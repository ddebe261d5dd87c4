"""`dimlift export`: a trained network as an ONNX file, checked in onnxruntime."""

from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import err, out


def export(
    run: Annotated[Path, typer.Argument(help="Folder of `dimlift train`, or a weights folder.")],
    output: Annotated[Path, typer.Argument(help="The ONNX file to write.")],
) -> None:
    """Write the network of a run as ONNX, with its card in the metadata, once onnxruntime reproduces torch.

    Examples:

        dimlift export run model.onnx
    """
    from dimlift.integrations.onnx import export_onnx

    with err.status(f"exporting {run}"):
        exported = export_onnx(run, output)
    steps = {axis: "any" if step == 1 else f"any multiple of {step}" for axis, step in exported.dynamic.items()}
    sizes = " x ".join(steps.get(axis, str(size)) for axis, size in exported.axes)
    out.print(f"{exported.path}: volumes of {sizes}, error {exported.error:.1e}", soft_wrap=True, markup=False)
