"""A weights folder: `model.safetensors` and, beside it, `model.json`, the card that says what the numbers are.

The card holds {schema, task, source, licence, provenance, plan, channels, labels, spacing, orientation, normalisation,
certificate} and whatever else its writer needs to build the network again. torch is imported only when called.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimlift.errors import DamagedFile, DataError, RunError
from dimlift.records.atomic_write import written_whole
from dimlift.records.json_file import read_json
from dimlift.records.record import write_json

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
WEIGHTS_NAME = "model.safetensors"
CARD_NAME = "model.json"


def write_weights(folder: Path, state: "Mapping[str, Tensor]", card: Mapping[str, Any]) -> Path:
    """Write a weights folder; the weights first, so that a folder with a card is a whole one.

    Args:
        state: state dict. Tensors that share memory are stored once for each name.
        card: anything JSON can hold; "schema" is filled in.

    Returns:
        The folder.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    # a card of earlier weights must not vouch for the new ones, should this process end between the two files
    (folder / CARD_NAME).unlink(missing_ok=True)
    # safetensors refuses shared memory and strides; a fresh copy has neither
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    with written_whole(folder / WEIGHTS_NAME) as scratch:
        save_file(plain, scratch)
    write_json(folder / CARD_NAME, {"schema": SCHEMA, **card})
    return folder


def read_card(folder: Path) -> dict[str, Any]:
    """The card alone, without reading the weights.

    Raises:
        DataError: if the folder holds no card, or one of another schema.
        DamagedFile: if the card is not JSON.
    """
    path = folder / CARD_NAME
    if not path.is_file():
        raise DataError(f"{folder} holds no {CARD_NAME}; give a folder that `dimlift train` wrote to the end")
    try:
        card = read_json(path)
    except ValueError as fault:
        raise DamagedFile(f"{path} is not JSON ({fault}); copy it again or train again") from fault
    found = card.get("schema") if isinstance(card, dict) else None
    if found != SCHEMA:
        raise DataError(
            f"{path} has weights schema {found}, this dimlift reads {SCHEMA}; read it with the version that wrote it"
        )
    return card


def read_weights(folder: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """State dict (on the CPU) and card of a weights folder.

    Raises:
        DataError: if one of the two files is missing, or the card has another schema.
        DamagedFile: if one of them is cut short or is not what its name says.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    card = read_card(folder)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise DataError(f"{folder} holds no {WEIGHTS_NAME} beside its card; copy both files, or train again")
    try:
        return load_file(path), card
    except SafetensorError as fault:
        raise DamagedFile(
            f"{path} ({path.stat().st_size} bytes) is damaged: {fault}; copy it again or train again"
        ) from fault


def weights_folder(run: Path) -> Path:
    """The weights folder of a run: itself, or weights/ inside, or the only one of a study.

    Raises:
        RunError: if there is none, or several.
    """
    if not run.is_dir():
        raise RunError(f"there is no run {run}; give a folder that `dimlift train` wrote")
    for folder in (run, run / "weights"):
        if (folder / CARD_NAME).is_file():
            return folder
    cells = sorted(card.parent for card in (run / "weights").glob(f"*/{CARD_NAME}"))
    if len(cells) == 1:
        return cells[0]
    if cells:
        shown = "\n  ".join(f"{cell}  {_arm_of(run, cell.name)}" for cell in cells[:20])
        raise RunError(f"{run} holds the weights of {len(cells)} cells; give one of them:\n  {shown}")
    raise RunError(
        f"{run} holds no {CARD_NAME}: training has not come to its end; start `dimlift train` again to go on"
    )


def _arm_of(run: Path, cell: str) -> str:
    """What a person calls a cell."""
    try:
        record = read_json(run / "records" / f"{cell}.json")
        return f"{record['arm']}, fold {record['fold']}, seed {record['seed']}"
    except (OSError, ValueError, KeyError):
        return ""
