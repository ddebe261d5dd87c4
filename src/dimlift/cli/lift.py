"""`dimlift lift`: a 2D network in, a 3D network and its certificate out."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from dimlift.cli.console import err, out


def lift(
    network: Annotated[
        str,
        typer.Argument(
            help="timm:NAME, NAME, torchvision:NAME, transformers:FOLDER, smp:Unet/ENCODER, or "
            "packaged:efficientnet_lite0 (real weights, no download)."
        ),
    ],
    kernel: Annotated[str, typer.Option(help="Depth of the kernels, or 'cubic' for as deep as wide.")] = "3",
    profile: Annotated[
        str,
        typer.Option(
            help="centre, average, gaussian, gaussian:SIGMA, box3, kienzle_1g_as_published, acs, soft_acs or random."
        ),
    ] = "centre",
    axes: Annotated[
        str, typer.Option(help="Axes the kernel spreads along, for example depth,height,width (cubic kernels).")
    ] = "depth",
    spacing: Annotated[
        str | None, typer.Option(help="z,y,x in mm: choose --kernel and --reduce for each stage by nnU-Net's rule.")
    ] = None,
    stride: Annotated[str, typer.Option(help="'kernel': patch embeddings also stride in depth (tubelets).")] = "none",
    reduce: Annotated[
        str, typer.Option(help="Average pooling over depth after each stage, for example 1,1,2,2.")
    ] = "1,1,1,1",
    attention: Annotated[
        str, typer.Option(help="slice, joint, planecycle, or the number of slices in a window.")
    ] = "slice",
    pool: Annotated[str, typer.Option(help="Squeeze-excite and global pools: slice or joint.")] = "slice",
    norm: Annotated[str, typer.Option(help="Statistics that span positions: slice or joint.")] = "slice",
    head: Annotated[str, typer.Option(help="How slices become one answer: mean, max, attention or none.")] = "mean",
    factorised: Annotated[
        bool, typer.Option("--factorised", help="2D kernel times a depth profile per channel: about the 2D cost.")
    ] = False,
    in_channels: Annotated[int | None, typer.Option(help="Channels of the volumes (1 for CT and most MR).")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Height and width of the slices, for networks that fix theirs (ViTs).")
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="Hand out a pyramid of feature maps instead of logits.")
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="A weights file of the 2D network (.safetensors, .pth), in original, timm or Hugging Face naming."
        ),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the weights, for the weights folder, where the source states none.")
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Use the published weights; looks on this disk only.")
    ] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Allow fetching them; without it the network is not asked for anything.")
    ] = False,
    certify: Annotated[
        bool, typer.Option(help="Test the laws on a small volume; skip it for very large networks.")
    ] = True,
    to: Annotated[
        Path | None, typer.Option("--out", help="Write a weights folder (model.safetensors + model.json) here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the certificate as JSON.")] = False,
) -> None:
    """Lift a 2D network into 3D and print its certificate: which layers talk, what was inflated, the measured error.

    Examples:

        dimlift lift packaged:efficientnet_lite0 --in-channels 1

        dimlift lift timm:resnet18 --kernel 3 --profile average --in-channels 1 --features --out lifted-resnet18

        dimlift lift timm:vit_small_patch14_dinov2 --attention joint --image-size 224 --pretrained --download
    """
    from dimlift.lifting.depth_plan import DepthPlan
    from dimlift.studies.lift_to_folder import lift_network

    choices: dict[str, Any] = {
        "profile": profile,
        "axes": axes.split(","),
        "stride": stride,
        "attention": _number(attention),
        "pool": pool,
        "norm": norm,
        "head": head,
        "factorised": factorised,
    }
    millimetres = None if spacing is None else _numbers(spacing)
    plan = DepthPlan(kernel=_number(kernel), reduce=_numbers(reduce), spacing=millimetres, **choices)
    with err.status(f"lifting {network}"):
        lifted = lift_network(
            network,
            plan,
            to,
            in_channels=in_channels,
            image_size=image_size,
            features_only=features,
            weights=weights,
            licence=licence,
            pretrained=pretrained or None,
            download=download,
            certify=certify,
        )
    if lifted.certificate is None:
        err.print(f"lifted {network} without testing it (--no-certify)", soft_wrap=True, markup=False)
    elif as_json:
        typer.echo(json.dumps(lifted.certificate.to_json(), indent=1))
    else:
        out.print(str(lifted.certificate), soft_wrap=True, markup=False)
    if to is not None:
        err.print(f"weights folder: {to}", soft_wrap=True)


def _number(text: str) -> Any:
    """A number where the text is one; the plan knows which words it takes."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _numbers(text: str) -> tuple[Any, ...]:
    return tuple(_number(part) for part in text.split(","))
