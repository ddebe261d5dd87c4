"""`dimlift lift`: lift a 2D network and print its certificate."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import err, out
from dimlift.cli.plan_options import with_plan_options
from dimlift.lifting.depth_plan import DepthPlan


@with_plan_options
def lift(
    network: Annotated[
        str,
        typer.Argument(
            help="timm:NAME, NAME, torchvision:NAME, transformers:FOLDER, smp:Unet/ENCODER, or "
            "packaged:efficientnet_lite0 (ImageNet weights, no download)."
        ),
    ],
    plan: DepthPlan,
    in_chans: Annotated[int | None, typer.Option(help="Channels of the volumes (1 for CT and most MR).")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Height and width of the slices, for networks with a fixed size (ViTs).")
    ] = None,
    features_only: Annotated[
        bool, typer.Option("--features-only", help="Return a pyramid of feature maps instead of logits.")
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Weights file of the 2D network (.safetensors, .pth), in original, timm or Hugging Face naming."
        ),
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence of the weights, for the weights folder, if the source states none.")
    ] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Use the published weights, if they are on this machine.")
    ] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Allow downloading them; without it no connection is made.")
    ] = False,
    certify: Annotated[
        bool, typer.Option(help="Check the laws on a small volume; skip this for very large networks.")
    ] = True,
    to: Annotated[
        Path | None, typer.Option("--out", help="Write a weights folder (model.safetensors + model.json) here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the certificate as JSON.")] = False,
) -> None:
    """Lift a 2D network to 3D and print its certificate: converted layers, origin of the weights, measured errors.

    Examples:

        dimlift lift packaged:efficientnet_lite0 --in-chans 1

        dimlift lift timm:resnet18 --inflation average --in-chans 1 --features-only --out lifted-resnet18

        dimlift lift timm:vit_small_patch14_dinov2 --attention volume --image-size 224 --pretrained --download
    """
    from dimlift.studies.lift_to_folder import lift_to_folder

    with err.status(f"lifting {network}"):
        lifted = lift_to_folder(
            network,
            plan,
            to,
            in_chans=in_chans,
            image_size=image_size,
            features_only=features_only,
            weights=weights,
            licence=licence,
            pretrained=pretrained or None,
            download=download,
            certify=certify,
        )
    if lifted.certificate is None:
        err.print(f"lifted {network} without a certificate (--no-certify)", soft_wrap=True, markup=False)
    elif as_json:
        typer.echo(json.dumps(lifted.certificate.to_json(), indent=1))
    else:
        out.print(str(lifted.certificate), soft_wrap=True, markup=False)
    if to is not None:
        err.print(f"weights folder: {to}", soft_wrap=True)
