"""Weights of a file into a 2D network: every key that does not fit is named, on both sides."""

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from dimlift.backbones.checkpoint_file import read_tensors
from dimlift.backbones.key_mapping import fuse, naming_of, original_name
from dimlift.backbones.load_report import PREFIXES, Reading, in_groups, resized_by, spellings
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
"""First parts of names that belong to heads, pretraining tasks and text towers: dropped where the network has none."""

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
"""Last parts of names whose numbers take no part in the answer, or follow from the architecture."""

MOST = 100
"""Kinds of names in one message: more than any network has, fewer than a file made to fill the screen."""

_NUMBER = re.compile(r"\.\d+(?=[. ]|$)")

Adapt = Callable[[dict[str, Tensor]], dict[str, Tensor]]
"""Tensors in original naming to tensors under the network's own names and shapes, as far as it knows them."""


class Found(NamedTuple):
    """A file's tensors under the network's names, and which of them (under original names) did not make it there."""

    tensors: dict[str, Tensor]
    names: dict[str, str]
    """What the file calls them, where it has other names."""
    lost: dict[str, Tensor]
    resized: dict[str, tuple[int, ...]]
    """Of those that have another number of numbers than in the file, the shape they have there."""
    naming: str


def load_weights(network: nn.Module, path: Path, whole: Iterable[str] = (), adapt: Adapt | None = None) -> Reading:
    """Fill a network from a file in its own, the original or Hugging Face's naming, whatever wrapped it.

    Args:
        network: filled in place; left as it was if anything does not fit.
        path: a .safetensors or .pt/.pth file.
        whole: keys of the whole network, where `network` is a part of one that hands out maps: the file may hold
            these too, and the part may have renamed them.
        adapt: puts original names into the network's own.

    Returns:
        What became of the file's tensors.

    Raises:
        WeightsError: if the file cannot be read, or any key is missing, left over, or of another shape.
    """
    wanted, names = network.state_dict(), set(whole)
    found, prefix, outside = _under_best_prefix(read_tensors(path), names | set(wanted), adapt)
    arrived: dict[str, Tensor] = {}
    resized = {}
    left = dict(found.lost)
    for key, tensor in found.tensors.items():
        own = next((s for s in spellings(key) if s in wanted), key) if names else key
        if own in wanted:
            arrived[own] = _as_wide(tensor, wanted[own])
            if key in found.resized:
                resized[own] = (found.resized[key], tuple(wanted[own].shape))
        elif key in names:
            outside.append(key)  # of the whole network, beyond the part that hands out maps
        else:
            left[key] = tensor
    tops = {key.split(".")[0] for key in wanted}
    idle = {key: _is_idle(key, tensor, tops) for key, tensor in left.items()}
    unwanted, left_over = ([found.names.get(key, key) for key in left if idle[key] is kind] for kind in (True, False))
    missing = [key for key in wanted if key not in arrived and key.split(".")[-1] not in COMPUTED]
    shapes = [
        f"{key} is {tuple(tensor.shape)} in the file and {tuple(wanted[key].shape)} in the network"
        for key, tensor in arrived.items()
        if tensor.shape != wanted[key].shape
    ]
    faults = [f"missing: {_named(missing)}"] if missing else []
    faults += [f"not of this network: {_named(left_over)}"] if left_over else []
    faults += [_named(shapes, "; ")] if shapes else []
    if faults:
        raise WeightsError(
            f"{path} does not fit the network; {'; '.join(faults)}; {_way_out(arrived, missing, left_over, shapes)}"
        )
    network.load_state_dict(wanted | arrived)
    return Reading(len(arrived), len(wanted), found.naming, prefix, resized, in_groups([*unwanted, *outside]))


def read_by_name(tensors: dict[str, Tensor], network: nn.Module) -> Reading:
    """What a library's own reader did with a file that has the network's names; of other names nothing is known.

    Args:
        tensors: of the file.
        network: as it was filled. A head of another shape was drawn anew.
    """
    wanted = network.state_dict()
    own = {key: next((name for name in spellings(key) if name in wanted), "") for key in tensors}
    filled: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
        name: (tuple(tensors[key].shape), tuple(wanted[name].shape))
        for key, name in own.items()
        if name and (tensors[key].shape == wanted[name].shape or key.split(".")[0] not in HEADS)
    }
    missing = [key for key in wanted if key not in filled and key not in own.values()]
    if any(key.split(".")[-1] not in COMPUTED for key in missing):
        return Reading()
    resized = {name: pair for name, pair in filled.items() if pair[0] != pair[1]}
    dropped = in_groups(key for key, name in own.items() if name not in filled)
    return Reading(len(filled), len(wanted), resized=resized, dropped=dropped)


def in_original_names(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors in Hugging Face's naming under original names, and what they were called; others as they are.

    Raises:
        WeightsError: if two of them would have one name.
    """
    naming = naming_of(tensors)
    if naming is None:
        return tensors, {}
    renamed: dict[str, Tensor] = {}
    before: dict[str, str] = {}
    for key, tensor in tensors.items():
        name = original_name(key, naming)
        if name in renamed:
            raise WeightsError(f"{before[name]} and {key} are both {name}; give a file of one network")
        renamed[name], before[name] = tensor, key
    fused = fuse(renamed, naming)
    parts = {name: before.get(name) or before.get(name.replace("qkv.", "q."), name) for name in fused}
    return fused, parts


def _under_best_prefix(
    tensors: dict[str, Tensor], names: set[str], adapt: Adapt | None
) -> tuple[Found, str, list[str]]:
    """What is found under the prefix that most of the network is under, that prefix, and the file's keys outside it."""
    best, score, chosen = _found(tensors, adapt), -1, ""
    for prefix in _prefixes(tensors):
        inside = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        found = _found(inside, adapt)
        fitting = sum(key in names for key in found.tensors)
        if fitting > score:
            best, score, chosen = found, fitting, prefix
    return best, chosen, [key for key in tensors if not key.startswith(chosen)]


def _prefixes(keys: Iterable[str]) -> list[str]:
    """Every chain of wrappers' prefixes that some key begins with, teachers before students."""
    chains, rest = [""], {"": list(keys)}
    for chain in chains:
        for prefix in PREFIXES:
            bare = [key.removeprefix(prefix) for key in rest[chain] if key.startswith(prefix)]
            if bare:
                chains.append(chain + prefix)
                rest[chain + prefix] = bare
    return chains


def _found(tensors: dict[str, Tensor], adapt: Adapt | None) -> Found:
    original, before = in_original_names(tensors)
    naming = naming_of(tensors)
    plain = Found(original, before, {}, {}, "" if naming is None else naming.title)
    if adapt is None:
        return plain
    try:
        adapted = adapt(dict(original))
    except (KeyError, AttributeError, RuntimeError, AssertionError):  # how a filter says: none of mine
        return plain
    kept = {tensor.data_ptr() for tensor in adapted.values()}
    lost = {key: tensor for key, tensor in original.items() if key not in adapted and tensor.data_ptr() not in kept}
    resized = resized_by(original, adapted, lost)
    return plain._replace(
        tensors=adapted,
        lost={key: tensor for key, tensor in lost.items() if key not in resized.values()},
        resized={key: tuple(original[name].shape) for key, name in resized.items()},
    )


def _as_wide(tensor: Tensor, wanted: Tensor) -> Tensor:
    """Axes of length one are a matter of taste: (C,) is (1, 1, C), a linear layer is a 1 x 1 convolution."""
    bare, other = ([size for size in shape if size != 1] for shape in (tensor.shape, wanted.shape))
    return tensor.reshape(wanted.shape) if bare == other else tensor


def _is_idle(key: str, tensor: Tensor, tops: set[str]) -> bool:
    """Whether a key of the file has no part in what this network answers."""
    parts = key.split(".")
    while f"{parts[0]}." in PREFIXES and parts[1:]:
        parts = parts[1:]
    if parts[-1] in COMPUTED or parts[0] == "rope_embed":
        return True
    if parts[-1].endswith("bias") and not bool(tensor.nan_to_num().any()):
        return True
    return parts[0] in HEADS and parts[0] not in tops


def _way_out(arrived: dict[str, Tensor], missing: list[str], left: list[str], shapes: list[str]) -> str:
    if not arrived:
        return "not one key is this network's: the file is of another architecture"
    if missing and not left and not shapes and all(key.split(".")[0] in HEADS for key in missing):
        return "the file has no such head: lift it with features_only=True, or with num_classes=0"
    if shapes and not missing and not left and all(text.split(".")[0] in HEADS for text in shapes):
        return (
            "its head is for other classes: lift it with features_only=True, or with num_classes= as in the file; a "
            "teacher needs a file with all its published classes"
        )
    return "open the network it was saved from"


def _named(names: list[str], comma: str = ", ") -> str:
    """All of them; those that differ in numbers of blocks alone in one: "blocks.*.ls1.gamma (12)"."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(_NUMBER.sub(".*", name), []).append(name)
    said = [kind[0] if len(kind) == 1 else f"{name} ({len(kind)})" for name, kind in alike.items()]
    more = [f"and {len(said) - MOST} kinds more"] if len(said) > MOST else []
    return comma.join(said[:MOST] + more)
