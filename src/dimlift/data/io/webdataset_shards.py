"""Pictures and RGB-D in tar shards (the WebDataset layout), read from front to back, decoded into tensors.

A shard is a tar file whose members belong together by name up to the first dot: `0007.jpg`, `0007.depth.png`,
`0007.cls`, `0007.json`. Members are decoded by what they are and nothing else: no pickle, no member that is executed.
The layout: https://github.com/webdataset/webdataset
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from dimlift.data.io.images import SUFFIXES
from dimlift.data.io.tar_stream import PIECE, members_of_tar
from dimlift.errors import DamagedFile, DataError

DEPTH = "depth.png"
LARGEST_MEMBER = 1 << 28
"""Bytes of the largest member that is read."""


@dataclass(frozen=True, eq=False)
class Example:
    """What a shard holds under one name.

    Attributes:
        key: the name, unique within its shard.
        picture: red, green, blue from 0 to 1, (3, H, W).
        depth: metres along the optical axis, (1, H, W), 0 where nothing was measured; None without a depth picture.
        label: the class of `.cls`, None without one.
        about: what `.json` says.
    """

    key: str
    picture: Float[Tensor, "3 height width"]
    depth: Float[Tensor, "1 height width"] | None = None
    label: int | None = None
    about: dict[str, Any] = field(default_factory=dict)


def find_shards(folder: Path | str) -> tuple[Path, ...]:
    """All tar files below a folder, sorted by name.

    Raises:
        DataError: if there is none.
    """
    found = tuple(sorted(path for path in Path(folder).rglob("*") if path.name.endswith((".tar", ".tar.gz", ".tgz"))))
    if not found:
        raise DataError(f"there is no .tar shard below {folder}; give the folder the shards lie in")
    return found


def read_shards(
    shards: Sequence[Path],
    *,
    seed: int | None = None,
    epoch: int = 0,
    part: int = 0,
    parts: int = 1,
    millimetres: float = 1.0,
) -> Iterator[Example]:
    """Every example of the shards once; each worker or process takes its own shards.

    Args:
        seed: draws the order of the shards anew in each epoch; None keeps theirs. Within a shard the order stays.
        part: number of this worker, counted from 0, of `parts` together.
        millimetres: what a step of a depth picture is.

    Raises:
        DataError: if there are fewer shards than parts.
        DamagedFile: naming shard and member.
    """
    if len(shards) < parts:
        raise DataError(f"{len(shards)} shards for {parts} workers; write more shards, or start {len(shards)} workers")
    order = np.arange(len(shards))
    if seed is not None:
        order = np.random.default_rng([seed, epoch]).permutation(len(shards))
    for number in order[part::parts]:
        yield from _examples(shards[number], millimetres)


def _examples(shard: Path, millimetres: float) -> Iterator[Example]:
    seen: set[str] = set()
    for key, group in groupby(_members(shard), key=lambda member: member[0]):
        members = {kind: content for _, kind, content in group}
        if key in seen:
            raise DamagedFile(f"{shard}: the members of {key!r} do not lie together; write the shard sorted by name")
        seen.add(key)
        try:
            yield _decoded(key, members, millimetres)
        except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as fault:
            raise DamagedFile(f"{shard}: {key!r} cannot be read ({fault}); write the shard again") from fault


def _members(shard: Path) -> Iterator[tuple[str, str, bytes]]:
    """Name, kind and content of each plain file."""
    try:
        for member, stream in members_of_tar(shard):
            folder, _, name = member.name.rpartition("/")
            stem, _, kind = name.partition(".")
            if stream is None or not stem:
                continue
            if member.size > LARGEST_MEMBER:
                raise DamagedFile(f"{shard}: {member.name!r} states {member.size:,} bytes; write the shard again")
            content = b"".join(iter(lambda source=stream: source.read(PIECE), b""))  # type: ignore[misc]
            yield f"{folder}/{stem}" if folder else stem, kind.lower(), content
    except Exception as fault:
        if isinstance(fault, DataError):
            raise
        raise DamagedFile(f"{shard} is cut off or no tar file ({fault}); copy it again") from fault


def _decoded(key: str, members: dict[str, bytes], millimetres: float) -> Example:
    kinds = [kind for kind in members if f".{kind}" in SUFFIXES]
    if len(kinds) != 1:
        raise ValueError(f"it holds {', '.join(members)}; one picture ({', '.join(SUFFIXES)}) is wanted")
    with Image.open(io.BytesIO(members[kinds[0]])) as picture:
        colours = np.asarray(picture.convert("RGB"), np.float32) / 255
    depth = None
    if DEPTH in members:
        with Image.open(io.BytesIO(members[DEPTH])) as measured:
            steps = np.asarray(measured)
        if steps.shape != colours.shape[:2]:
            raise ValueError(f"its depth is of {steps.shape}, its picture of {colours.shape[:2]}")
        depth = torch.from_numpy(steps.astype(np.float32) * np.float32(millimetres / 1000))[None]
    label = int(members["cls"]) if "cls" in members else None
    about = json.loads(members["json"]) if "json" in members else {}
    return Example(key, torch.from_numpy(colours).permute(2, 0, 1).contiguous(), depth, label, about)
