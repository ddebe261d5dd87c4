"""Start an arm from weights learnt before: which arrive, which do not, and that no test case was among the lessons."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from torch import nn

from dimlift.data.case import Case
from dimlift.errors import ConfigError, DataError, WeightsError
from dimlift.records.weights import WEIGHTS_NAME, read_card, read_weights


def learning_network(method: nn.Module) -> nn.Module:
    """The network inside a method: what pretraining trains and what starts from its weights.

    Raises:
        ConfigError: if the method has no single network to speak of.
    """
    network = getattr(method, "model", None)
    if not isinstance(network, nn.Module):
        raise ConfigError(f"{type(method).__name__} has no network that could be pretrained; choose another arm")
    return cast(nn.Module, network)


def start_from(method: nn.Module, folder: Path, taken: Callable[[str], bool] = lambda name: True) -> str:
    """Fill the network of a method from a weights folder, as far as names and shapes agree.

    Args:
        folder: written by `dimlift pretrain` or `dimlift train`.
        taken: whether a weight may arrive, by its name in the network (`Arm.takes`).

    Returns:
        one sentence for the record: how many weights arrived, and which are new.

    Raises:
        DataError: if the folder holds no weights.
        WeightsError: if not one weight of the encoder (or of the network, where it has none) arrived.
    """
    state, card = read_weights(folder)
    if card.get("task") != "pretraining":  # a trained method: its network lies one level down
        state = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    network = learning_network(method)
    wanted = network.state_dict()
    fitting = {
        name: value
        for name, value in state.items()
        if name in wanted and value.shape == wanted[name].shape and taken(name)
    }
    body = [name for name in fitting if name.startswith("encoder.")] if hasattr(network, "encoder") else list(fitting)
    if not any(wanted[name].ndim > 1 for name in body):
        raise WeightsError(
            f"no weight of {folder} fits this network (it has {', '.join(list(wanted)[:3])}, ...; the folder "
            f"{', '.join(list(state)[:3]) or 'nothing'}, ...); start the arm it was pretrained as"
        )
    network.load_state_dict(fitting, strict=False)
    new = [name for name in wanted if name not in fitting and "num_batches_tracked" not in name]
    shown = ", ".join(new[:6]) + (f" and {len(new) - 6} more" if len(new) > 6 else "")
    return f"{len(fitting)} of {len(wanted)} weights start from {folder.name}" + (f"; new: {shown}" if new else "")


def require_unseen(folder: Path, cases: Sequence[Case], digests: Callable[[Case], Sequence[str]]) -> None:
    """Stop if a test case was among what the weights were pretrained on, whatever its file was called then.

    Args:
        digests: what a case is known by there.

    Raises:
        DataError: naming the cases.
    """
    seen = set(read_card(folder).get("seen", []))
    known = [case.name for case in cases if seen and not seen.isdisjoint(digests(case))]
    if known:
        shown = ", ".join(known[:5]) + (f" and {len(known) - 5} more" if len(known) > 5 else "")
        raise DataError(
            f"{len(known)} test cases were pretrained on in {folder}: {shown}. Pretrain again with the split of the "
            "study (`split` in its configuration), so that its test cases stay unseen"
        )


def weights_digest(folder: Path) -> str:
    """SHA-256 of the weights: what a run started from, wherever the folder lies.

    Raises:
        DataError: if there are none.
    """
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise DataError(f"{folder} holds no {WEIGHTS_NAME}; give a folder that `dimlift pretrain` wrote (OUT/weights)")
    return file_digest(path)


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def pretraining_cost(folder: Path) -> dict[str, Any]:
    """What the weights cost before this run: {"seconds", "steps", "method"}, as far as the card says."""
    card = read_card(folder)
    return {name: card[name] for name in ("seconds", "steps", "method") if name in card}
