"""Weight and spectral normalisation in a state dict: the weights that they stand for.

- Salimans & Kingma 2016 (weight norm): weight = original1 * original0 / |original1|
- Miyato et al. 2018 (spectral norm): weight = original / sigma, sigma = u' W v with the stored vectors

Both are stored by torch's parametrizations, and under other names by its older functions.
"""

import torch
from torch import Tensor

PARAMETRIZED = ".parametrizations."


def fold_norms(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """Replace the parts of normalised weights by the weights.

    Returns:
        The tensors, and the number of weights that were folded.
    """
    folded: dict[str, Tensor] = {}
    used: set[str] = set()
    for key in tensors:
        for parts, weight, name in _candidates(key, tensors):
            folded[name] = weight
            used |= set(parts)
    if not folded:
        return tensors, 0
    return {key: tensor for key, tensor in tensors.items() if key not in used} | folded, len(folded)


def _candidates(key: str, tensors: dict[str, Tensor]) -> list[tuple[tuple[str, ...], Tensor, str]]:
    """Return (keys used, weight, its name) if `key` is the main part of a normalised weight."""
    head, _, last = key.rpartition(".")
    owner, mark, name = head.rpartition(PARAMETRIZED)
    if not mark and head.startswith(PARAMETRIZED[1:]):
        owner, mark, name = "", PARAMETRIZED, head.removeprefix(PARAMETRIZED[1:])
    plain = f"{owner}.{name}" if owner else name
    if mark and last == "original1":
        return _weight_norm(f"{head}.original0", key, plain, tensors)
    if mark and last == "original":
        return _spectral_norm(key, f"{head}.0._u", f"{head}.0._v", plain, tensors)
    if last.endswith("_v") and f"{key[:-2]}_orig" not in tensors:
        return _weight_norm(f"{key[:-2]}_g", key, key[:-2], tensors)
    if last.endswith("_orig"):
        stem = key[: -len("_orig")]
        return _spectral_norm(key, f"{stem}_u", f"{stem}_v", stem, tensors)
    return []


def _weight_norm(
    gain_key: str, key: str, name: str, tensors: dict[str, Tensor]
) -> list[tuple[tuple[str, ...], Tensor, str]]:
    gain, direction = tensors.get(gain_key), tensors[key]
    if gain is None or gain.ndim not in (0, direction.ndim):
        return []
    axes = [axis for axis in range(direction.ndim) if gain.ndim == 0 or gain.shape[axis] == 1]
    norm = torch.linalg.vector_norm(direction, dim=axes, keepdim=gain.ndim > 0)
    return [((gain_key, key), direction * (gain / norm), name)]


def _spectral_norm(
    key: str, u_key: str, v_key: str, name: str, tensors: dict[str, Tensor]
) -> list[tuple[tuple[str, ...], Tensor, str]]:
    weight, u, v = tensors[key], tensors.get(u_key), tensors.get(v_key)
    if u is None or v is None or weight.ndim < 2:
        return []
    fits = []
    for axis in (0, 1):  # transposed convolutions are normalised over their second axis
        matrix = weight.movedim(axis, 0).flatten(1)
        if matrix.shape == (len(u), len(v)):
            image = matrix.float() @ v.float()
            fits.append((float((image / image.norm() - u.float()).norm()), weight / torch.dot(u.float(), image)))
    if not fits:
        return []
    return [((key, u_key, v_key), min(fits, key=lambda fit: fit[0])[1].to(weight.dtype), name)]
