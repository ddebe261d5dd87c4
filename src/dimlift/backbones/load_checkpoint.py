"""Load a weights file into a 2D network. Every key that does not fit is named, in the file and in the network."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from dimlift.backbones.checkpoint_file import read_state, require_finite_weights
from dimlift.backbones.key_mapping import detect_naming, fuse_qkv, to_original_key
from dimlift.backbones.load_report import PREFIXES, LoadReport, group_keys, is_resizable, key_aliases, resized_by
from dimlift.backbones.stem_channels import channels_in_file, set_image_channels
from dimlift.errors import WeightsError

# fmt: off
HEADS = {
    "head", "heads", "head_dist", "head_drop", "fc", "fc_norm", "classifier", "aux_classifier", "dino_head",
    "ibot_head", "lm_head", "attn_pool", "pooler", "projectors", "projector", "predictor", "decoder",
    "decoder_blocks", "decoder_embed", "decoder_norm", "decoder_pos_embed", "decoder_pred", "mask_token",
    "local_cls_norm", "text_model", "text", "text_projection", "token_embedding", "transformer",
    "positional_embedding", "ln_final", "logit_scale", "logit_bias", "visual_projection", "visual",
}
# fmt: on
"""First parts of names that belong to heads, pretraining tasks and text towers: dropped if the network has none."""

COMPUTED = (
    "num_batches_tracked",
    "relative_position_index",
    "relative_coords_table",
    "attn_mask",
    "mask_token",
    "periods",
    "bias_mask",
    "inv_freq",
    "position_ids",
)
"""Last parts of names whose values do not affect the output, or follow from the architecture."""

MAX_NAMES = 100
"""Groups of names in one message: more than any network has, fewer than a malicious file could contain."""

MAX_ANCHORS = 3
"""Names of the network that are looked for in a file with an unknown prefix."""

_NUMBER = re.compile(r"\.\d+(?=[. ]|$)")

KeyFilter = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""From tensors in original naming to tensors under the network's own names and shapes, as far as they are known."""


class MappedState(NamedTuple):
    """A file's tensors under the network's names.

    Attributes:
        tensors: by the network's names.
        names: their names in the file, where these differ.
        lost: tensors that were not mapped, by their original names.
        resized: for tensors with another number of elements than in the file, their shape in the file.
        naming: title of the file's naming scheme; empty for the network's own.
    """

    tensors: dict[str, Tensor]
    names: dict[str, str]
    lost: dict[str, Tensor]
    resized: dict[str, tuple[int, ...]]
    naming: str


def load_weights(
    network: nn.Module, path: Path, full_keys: Iterable[str] = (), key_filter: KeyFilter | None = None
) -> LoadReport:
    """Load a file in the network's own, the original or Hugging Face's naming, with or without wrapper prefixes.

    Args:
        network: changed in place, and only if everything fits.
        path: a .safetensors or .pt/.pth file.
        full_keys: keys of the full network, if `network` is the part of it that returns maps: the file may contain
            these too, and the part may have renamed them.
        key_filter: renames original names to the network's own.

    Returns:
        What became of the file's tensors.

    Raises:
        WeightsError: if the file cannot be read, a key is missing, unexpected, or of another shape, or a weight is not
            finite.
    """
    wanted, full = network.state_dict(), set(full_keys)
    state = read_state(path)
    mapped, prefix, dropped = _map_best_prefix(state.tensors, full | set(wanted), key_filter)
    loaded: dict[str, Tensor] = {}
    resized = {}
    rest = dict(mapped.lost)
    for key, tensor in mapped.tensors.items():
        own = next((alias for alias in key_aliases(key) if alias in wanted), key) if full else key
        if own in wanted:
            loaded[own] = _match_unit_axes(tensor, wanted[own])
            if key in mapped.resized:
                resized[own] = (mapped.resized[key], tuple(wanted[own].shape))
        elif key in full:
            dropped.append(key)  # of the full network, after the last map
        else:
            rest[key] = tensor
    tops = {key.split(".")[0] for key in wanted}
    unused = {key: _is_unused(key, tensor, tops) for key, tensor in rest.items()}
    dropped = [mapped.names.get(key, key) for key in rest if unused[key]] + dropped
    unexpected = [mapped.names.get(key, key) for key in rest if not unused[key]]
    missing = [key for key in wanted if key not in loaded and key.split(".")[-1] not in COMPUTED]
    channels = channels_in_file(loaded, network)
    shapes = [
        f"{key} is {tuple(tensor.shape)} in the file and {tuple(wanted[key].shape)} in the network"
        for key, tensor in loaded.items()
        if tensor.shape != wanted[key].shape and key not in channels
    ]
    shapes += [
        f"{key} is {old} in the file and {new} in the network"
        for key, (old, new) in resized.items()
        if not is_resizable(key)
    ]
    faults = [f"missing: {_list_names(missing)}"] if missing else []
    faults += [f"not of this network: {_list_names(unexpected)}"] if unexpected else []
    faults += [_list_names(shapes, "; ")] if shapes else []
    if faults:
        raise WeightsError(
            f"{path} does not fit the network; {'; '.join(faults)}; {_hint(loaded, missing, unexpected, shapes)}"
        )
    require_finite_weights(loaded, path)
    set_image_channels(network, channels)
    network.load_state_dict(wanted | loaded)
    return LoadReport(
        len(loaded),
        len(wanted),
        mapped.naming,
        state.entry,
        prefix,
        state.folded,
        next(iter(channels.values()), None),
        resized,
        group_keys(dropped),
    )


def match_by_name(tensors: dict[str, Tensor], network: nn.Module) -> LoadReport:
    """Report which tensors of a file a library's own reader loaded, for a file with the network's names.

    Args:
        tensors: of the file.
        network: after loading. A head of another shape was initialised randomly.

    Returns:
        The report; an empty one if the file has other names.
    """
    wanted = network.state_dict()
    own = {key: next((name for name in key_aliases(key) if name in wanted), "") for key in tensors}
    filled: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
        name: (tuple(tensors[key].shape), tuple(wanted[name].shape))
        for key, name in own.items()
        if name and (tensors[key].shape == wanted[name].shape or key.split(".")[0] not in HEADS)
    }
    missing = [key for key in wanted if key not in filled and key not in own.values()]
    if any(key.split(".")[-1] not in COMPUTED for key in missing):
        return LoadReport()
    resized = {name: pair for name, pair in filled.items() if pair[0] != pair[1]}
    dropped = group_keys(key for key, name in own.items() if name not in filled)
    return LoadReport(len(filled), len(wanted), resized=resized, dropped=dropped)


def rename_to_original(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Rename tensors in Hugging Face's naming to original names; return other tensors unchanged.

    Returns:
        The tensors, and their names in the file.

    Raises:
        WeightsError: if two of them would get the same name.
    """
    naming = detect_naming(tensors)
    if naming is None:
        return tensors, {}
    renamed: dict[str, Tensor] = {}
    before: dict[str, str] = {}
    for key, tensor in tensors.items():
        name = to_original_key(key, naming)
        if name in renamed:
            raise WeightsError(f"{before[name]} and {key} are both {name}; give a file of one network")
        renamed[name], before[name] = tensor, key
    fused = fuse_qkv(renamed, naming)
    names = {name: before.get(name) or before.get(name.replace("qkv.", "q."), name) for name in fused}
    return fused, names


def _map_best_prefix(
    tensors: dict[str, Tensor], names: set[str], key_filter: KeyFilter | None
) -> tuple[MappedState, str, list[str]]:
    """Return the state under the prefix that fills most of the network, that prefix, and the keys without it."""
    best, score, chosen = _map_keys(tensors, key_filter), -1, ""
    for prefix in _prefixes(tensors, names):
        inside = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        mapped = _map_keys(inside, key_filter)
        matching = sum(key in names for key in mapped.tensors)
        if matching > score:
            best, score, chosen = mapped, matching, prefix
    return best, chosen, [key for key in tensors if not key.startswith(chosen)]


def _prefixes(keys: Iterable[str], names: set[str]) -> list[str]:
    """Return every chain of wrapper prefixes that a key begins with, teachers before students, then any others.

    Others are found by a name of the network at the end of a key.
    """
    chains, rest = [""], {"": list(keys)}
    for chain in chains:
        for prefix in PREFIXES:
            bare = [key.removeprefix(prefix) for key in rest[chain] if key.startswith(prefix)]
            if bare:
                chains.append(chain + prefix)
                rest[chain + prefix] = bare
    longest = sorted(names, key=len, reverse=True)[:MAX_ANCHORS]
    others = (key.removesuffix(name) for name in longest for key in rest[""] if key.endswith(f".{name}"))
    return list(dict.fromkeys([*chains, *sorted(others)]))


def _map_keys(tensors: dict[str, Tensor], key_filter: KeyFilter | None) -> MappedState:
    original, names = rename_to_original(tensors)
    naming = detect_naming(tensors)
    unfiltered = MappedState(original, names, {}, {}, "" if naming is None else naming.title)
    if key_filter is None:
        return unfiltered
    try:
        filtered = key_filter(dict(original))
    except (KeyError, AttributeError, RuntimeError, AssertionError):  # raised by filters for files of other networks
        return unfiltered
    kept = {tensor.data_ptr() for tensor in filtered.values()}
    lost = {key: tensor for key, tensor in original.items() if key not in filtered and tensor.data_ptr() not in kept}
    resized = resized_by(original, filtered, lost)
    return unfiltered._replace(
        tensors=filtered,
        lost={key: tensor for key, tensor in lost.items() if key not in resized.values()},
        resized={key: tuple(original[name].shape) for key, name in resized.items()},
    )


def _match_unit_axes(tensor: Tensor, wanted: Tensor) -> Tensor:
    """Reshape if the shapes differ in axes of length one only: (C,) and (1, 1, C), linear and 1 x 1 convolution."""
    bare, other = ([size for size in shape if size != 1] for shape in (tensor.shape, wanted.shape))
    return tensor.reshape(wanted.shape) if bare == other else tensor


def _is_unused(key: str, tensor: Tensor, tops: set[str]) -> bool:
    """Whether a key of the file does not affect the output of this network."""
    parts = key.split(".")
    while f"{parts[0]}." in PREFIXES and parts[1:]:
        parts = parts[1:]
    if parts[-1] in COMPUTED or parts[0] == "rope_embed":
        return True
    if parts[-1].endswith("bias") and not bool(tensor.nan_to_num().any()):
        return True
    return parts[0] in HEADS and parts[0] not in tops


def _hint(loaded: dict[str, Tensor], missing: list[str], unexpected: list[str], shapes: list[str]) -> str:
    if not loaded:
        return "no key is of this network: the file is of another architecture"
    if missing and not unexpected and not shapes and all(key.split(".")[0] in HEADS for key in missing):
        return "the file has no such head: lift it with features_only=True, or with num_classes=0"
    if shapes and not missing and not unexpected and all(text.split(".")[0] in HEADS for text in shapes):
        return (
            "its head is for other classes: lift it with features_only=True, or with num_classes= as in the file; a "
            "teacher needs a file with all its published classes"
        )
    return "open the network it was saved from"


def _list_names(names: list[str], separator: str = ", ") -> str:
    """List all names; those that differ only in block numbers as one: "blocks.*.ls1.gamma (12)"."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(_NUMBER.sub(".*", name), []).append(name)
    listed = [group[0] if len(group) == 1 else f"{name} ({len(group)})" for name, group in groups.items()]
    more = [f"and {len(listed) - MAX_NAMES} groups more"] if len(listed) > MAX_NAMES else []
    return separator.join(listed[:MAX_NAMES] + more)
