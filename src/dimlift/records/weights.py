"""A weights folder: `model.safetensors` and `model.json`, a card that describes the weights.

The card holds {schema, weights_sha256, task, source, licence, provenance, plan, channels, labels, spacing, orientation,
normalisation, certificate} and whatever else is needed to build the network again. `weights_sha256` is the SHA-256 of
`model.safetensors`: it binds the two files to each other. torch is imported only inside functions.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimlift.errors import CorruptFileError, DataError, RunError
from dimlift.file_digest import file_sha256
from dimlift.records.atomic_write import atomic_write
from dimlift.records.card_schema import WeightsCard, validate_card
from dimlift.records.json_file import read_json
from dimlift.records.record import write_json

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1
WEIGHTS_NAME = "model.safetensors"
FINAL = "final"
"""Folder of the model that `dimlift run` trains on all cases, below its run."""

CARD_NAME = "model.json"


def write_weights(folder: Path, state: "Mapping[str, Tensor]", card: Mapping[str, Any]) -> Path:
    """Write a weights folder. The card is written last, so a folder with a card is complete.

    Args:
        state: state dict. Tensors that share memory are stored once per name.
        card: JSON-serialisable; "schema" and "weights_sha256" are added.

    Returns:
        The folder.
    """
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    # the card of previous weights must not describe the new ones if the process ends between the two files
    (folder / CARD_NAME).unlink(missing_ok=True)
    # safetensors rejects shared memory and non-contiguous tensors
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    with atomic_write(folder / WEIGHTS_NAME) as temporary:
        save_file(plain, temporary)
        digest = file_sha256(temporary)
    write_json(folder / CARD_NAME, {"schema": SCHEMA, **card, "weights_sha256": digest})
    return folder


def read_card(folder: Path) -> dict[str, Any]:
    """Read the card without the weights.

    Raises:
        DataError: if the folder holds no card, or one of another schema.
        CorruptFileError: if the card is not JSON.
    """
    path = folder / CARD_NAME
    if not path.is_file():
        raise DataError(f"{folder} holds no {CARD_NAME}; pass the folder of a finished `dimlift train` run")
    try:
        card = read_json(path)
    except ValueError as error:
        raise CorruptFileError(f"{path} is not JSON ({error}); copy it again or train again") from error
    found = card.get("schema") if isinstance(card, dict) else None
    if found != SCHEMA:
        raise DataError(
            f"{path} has weights schema {found}, this version of dimlift reads {SCHEMA}; read it with the version that "
            "wrote it"
        )
    validate_card(card, path, WeightsCard)
    return card


def read_weights(folder: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Read the state dict (on the CPU) and the card of a weights folder.

    Raises:
        DataError: if one of the two files is missing, or the card has another schema.
        CorruptFileError: if one of them is truncated, of another format, or the weights are not those of the card.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    card = read_card(folder)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise DataError(f"{folder} holds a card but no {WEIGHTS_NAME}; copy both files, or train again")
    with ThreadPoolExecutor(1) as pool:  # hashlib releases the GIL: the digest costs little beside reading
        digest = pool.submit(file_sha256, path)
        try:
            state = load_file(path)
        except SafetensorError as error:
            raise CorruptFileError(
                f"{path} ({path.stat().st_size} bytes) is damaged: {error}; copy it again or train again"
            ) from error
    _require_digest(folder, card, digest.result())
    return state, card


def verify_weights(folder: Path) -> None:
    """Check that the two files of a weights folder belong together and are undamaged, without loading the weights.

    Raises:
        DataError: if one of them is missing, or the card has another schema.
        CorruptFileError: if the weights are not those of the card.
    """
    card = read_card(folder)
    if not (folder / WEIGHTS_NAME).is_file():
        raise DataError(f"{folder} holds a card but no {WEIGHTS_NAME}; copy both files, or train again")
    _require_digest(folder, card, file_sha256(folder / WEIGHTS_NAME))


def _require_digest(folder: Path, card: Mapping[str, Any], found: str) -> None:
    stated = card.get("weights_sha256")
    if stated is None:
        raise CorruptFileError(
            f"{folder / CARD_NAME} does not state weights_sha256, the SHA-256 of {WEIGHTS_NAME}, so damage cannot be "
            "detected; copy both files again, train again, or add the entry (sha256sum prints it) if you trust the file"
        )
    if stated != found:
        raise CorruptFileError(
            f"{folder / WEIGHTS_NAME} is damaged, or is not the file that {CARD_NAME} beside it describes: its SHA-256 "
            f"is {found[:12]}..., the card states {stated[:12]}...; copy both files again from one run, or train "
            "again"
        )


def weights_folder(run: Path) -> Path:
    """Return the weights folder of a run: the folder itself, its weights/, its final model, or the only one of a study.

    Raises:
        RunError: if there is none, or several.
    """
    if not run.is_dir():
        raise RunError(f"there is no run {run}; pass a folder that `dimlift train` wrote")
    for folder in (run, run / "weights", run / FINAL / "weights"):
        if (folder / CARD_NAME).is_file():
            return folder
    found = sorted(card.parent for card in (run / "weights").glob(f"*/{CARD_NAME}"))
    if len(found) == 1:
        return found[0]
    if found:
        listed = "\n  ".join(f"{folder}  {_describe_run(run, folder.name)}" for folder in found[:20])
        raise RunError(f"{run} holds the weights of {len(found)} runs; pass one of them:\n  {listed}")
    raise RunError(
        f"{run} holds no {CARD_NAME}: training is not finished; repeat the `dimlift train` command to resume"
    )


def _describe_run(study: Path, run_id: str) -> str:
    """Return arm, fold and seed of a run of a study."""
    try:
        record = read_json(study / "records" / f"{run_id}.json")
        return f"{record['arm']}, fold {record['fold']}, seed {record['seed']}"
    except (OSError, ValueError, KeyError):
        return ""
