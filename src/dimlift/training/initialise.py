"""Initialisation of a network from a weights folder, with a check that no test case was used in pretraining."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from dimlift.data.case import Case
from dimlift.errors import DataError, WeightsError
from dimlift.records.weights import WEIGHTS_NAME, read_card, read_weights


def init_from_weights(network: nn.Module, folder: Path, accepts: Callable[[str], bool] = lambda name: True) -> str:
    """Load the weights of a folder into a network, where names and shapes match.

    Args:
        network: changed in place.
        folder: written by `dimlift pretrain` or `dimlift train`.
        accepts: whether a weight may be loaded, by its name in the network (`MethodConfig.accepts_weight`).

    Returns:
        One sentence for the run record: how many weights were loaded, and which are new.

    Raises:
        DataError: if the folder contains no weights.
        WeightsError: if no weight of the encoder (or of the network, if it has none) was loaded.
    """
    state, card = read_weights(folder)
    if card.get("task") != "pretraining":  # weights of a trained method: its network is the submodule `model`
        state = {name.removeprefix("model."): value for name, value in state.items() if name.startswith("model.")}
    expected = network.state_dict()
    matching = {
        name: value
        for name, value in state.items()
        if name in expected and value.shape == expected[name].shape and accepts(name)
    }
    has_encoder = any(name == "encoder" for name, _ in network.named_children())
    body = [name for name in matching if name.startswith("encoder.")] if has_encoder else list(matching)
    if not any(expected[name].ndim > 1 for name in body):
        raise WeightsError(
            f"no weight of {folder} fits this network (it has {', '.join(list(expected)[:3])}, ...; the folder "
            f"{', '.join(list(state)[:3]) or 'nothing'}, ...); use the arm that was pretrained"
        )
    network.load_state_dict(matching, strict=False)
    new = [name for name in expected if name not in matching and "num_batches_tracked" not in name]
    listed = ", ".join(new[:6]) + (f" and {len(new) - 6} more" if len(new) > 6 else "")
    return f"{len(matching)} of {len(expected)} weights start from {folder.name}" + (f"; new: {listed}" if new else "")


def require_no_leakage(folder: Path, cases: Sequence[Case], digests: Callable[[Case], Sequence[str]]) -> None:
    """Check that no test case was used in pretraining, under whatever file name.

    Args:
        folder: the weights folder.
        cases: the test cases.
        digests: returns the content hashes of a case.

    Raises:
        DataError: naming the cases.
    """
    seen = set(read_card(folder).get("seen", []))
    leaked = [case.name for case in cases if seen and not seen.isdisjoint(digests(case))]
    if leaked:
        listed = ", ".join(leaked[:5]) + (f" and {len(leaked) - 5} more" if len(leaked) > 5 else "")
        raise DataError(
            f"{len(leaked)} test cases were used in the pretraining of {folder}: {listed}. Pretrain again with the "
            "split of the study (`split` in its configuration), which excludes its test cases"
        )


def require_same_up_axis(folder: Path, up_axis: str) -> None:
    """Check that points are upright along the axis of the pretraining, if its weights card names one.

    Raises:
        DataError: if they are not.
    """
    pretrained = read_card(folder).get("up_axis")
    if pretrained not in (None, up_axis):
        raise DataError(
            f"{folder} was pretrained with {pretrained} up, point_clouds.up_axis is {up_axis}; set it to {pretrained} "
            f"if that axis points up in your files, or pretrain again with point_clouds.up_axis={up_axis}"
        )


def weights_digest(folder: Path) -> str:
    """Return the SHA-256 of the weights in a folder.

    Raises:
        DataError: if there are none.
    """
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise DataError(f"{folder} has no {WEIGHTS_NAME}; set a folder written by `dimlift pretrain` (OUT/weights)")
    return file_digest(path)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of the content of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def pretraining_cost(folder: Path) -> dict[str, Any]:
    """Return the cost of the weights before this run, {"seconds", "steps", "method"}, as far as the card states it."""
    card = read_card(folder)
    return {name: card[name] for name in ("seconds", "steps", "method") if name in card}
