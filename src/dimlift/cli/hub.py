"""`dimlift push` and `dimlift pull`: trained weights to and from the Hugging Face hub."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from dimlift.cli.console import out


def push(
    run: Annotated[Path, typer.Argument(help="Folder of `dimlift train`, or a weights folder.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository on the hub.")],
    licence: Annotated[str | None, typer.Option(help="Of the new weights; by default that of the 2D weights.")] = None,
    data: Annotated[str, typer.Option(help="A sentence about the training data.")] = "",
    public: Annotated[bool, typer.Option("--public", help="Make a new repository public.")] = False,
    preview: Annotated[
        Path | None, typer.Option("--preview", metavar="FILE", help="Only write the model page, upload nothing.")
    ] = None,
) -> None:
    """Upload the weights of a run with a page: data, licence, certificate, scores. No case is named.

    Examples:

        dimlift push run me/hippocampus --licence cc-by-4.0 --preview page.md

        dimlift push run me/hippocampus --licence cc-by-4.0 --data "260 MRI of the Decathlon"
    """
    from dimlift.inference import hub

    if preview is not None:
        out.print(hub.write_model_page(run, preview, repository, licence=licence, data=data), soft_wrap=True)
        return
    out.print(hub.push(run, repository, licence=licence, data=data, public=public), soft_wrap=True)


def pull(
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Repository on the hub.")],
    to: Annotated[Path, typer.Option("--out", help="Folder for the weights; must not exist.")] = Path("weights"),
    download: Annotated[bool, typer.Option("--download", help="Fetch what is not on this machine.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit; by default the newest.")] = None,
) -> None:
    """Download weights. Without --download only the cache of this machine is searched.

    Examples:

        dimlift pull me/hippocampus --download --out weights

        dimlift predict weights scan.nii.gz labels.nii.gz
    """
    from dimlift.errors import RunError
    from dimlift.inference import hub
    from dimlift.records.atomic_write import atomic_write
    from dimlift.records.weights import CARD_NAME, WEIGHTS_NAME

    if to.exists() and not _is_interrupted_pull(to):
        raise RunError(f"{to} exists already; give another folder with --out")
    folder = hub.pull(repository, download=download, revision=revision)
    to.mkdir(parents=True, exist_ok=True)
    try:
        for name in (WEIGHTS_NAME, CARD_NAME):  # the card last: a folder with a card is complete
            with atomic_write(to / name) as scratch:
                shutil.copyfile(folder / name, scratch)
    except BaseException:
        shutil.rmtree(to)
        raise
    out.print(to, soft_wrap=True)


def _is_interrupted_pull(folder: Path) -> bool:
    """Return whether a folder holds nothing but what `pull` leaves when it is killed: weights without a card."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return bool(names) and all(name == "model.safetensors" or name.endswith(".part") for name in names)
