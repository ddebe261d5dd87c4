"""Files of torch.save, in both of its formats: a zip archive, and one pickle after another (before torch 1.6)."""

import io
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dimlift.backbones.restricted_unpickler import RestrictedUnpickler
from dimlift.backbones.saved_tensor import SavedTensor
from dimlift.backbones.torch_script import declare_tensors

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
"""First number of a file in the format before torch 1.6."""


@dataclass(frozen=True)
class Checkpoint:
    """Content of a weights file.

    Attributes:
        content: nested dictionaries and objects; tensors are `SavedTensor`, or Tensor.
        load: returns the values of one of its tensors.
        objects: names of the Python objects that were left empty.
    """

    content: Any
    load: Callable[[SavedTensor | Tensor], Tensor]
    objects: tuple[str, ...] = ()


def read_torch_zip(path: Path) -> Checkpoint:
    """Read a zip archive of torch.save or torch.jit.save.

    Raises:
        ValueError: if it holds no pickle, is compressed, or is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
    main = next((name for name in entries if name.split("/")[1:] == ["data.pkl"]), None)
    if main is None:
        raise ValueError("it is a zip archive without data.pkl; unpack it, and give the weights file inside")
    root = main.removesuffix("data.pkl")
    packed = [each for name, each in entries.items() if name == main or name.startswith(f"{root}data/")]
    size, unpacked = path.stat().st_size, sum(each.file_size for each in packed)
    if unpacked > size:
        raise ValueError(
            f"it has {size:,} bytes and would unpack to {unpacked:,}, while torch.save never compresses; save it again "
            "with torch.save"
        )
    frozen = any(name.startswith(f"{root}constants/") for name in entries)
    if frozen and not any(name.startswith(f"{root}data/") for name in entries):
        raise ValueError(
            "it is a frozen TorchScript module, whose weights are constants without names; save the module as it was "
            "before torch.jit.freeze or optimize_for_inference"
        )
    order = _read_entry(path, entries[f"{root}byteorder"]) if f"{root}byteorder" in entries else None
    if order is not None and bytes(order.tolist()).decode() != sys.byteorder:
        raise ValueError("its numbers are big-endian; save it again on another machine")
    unpickler = RestrictedUnpickler(io.BytesIO(_read_entry(path, entries[main]).numpy().tobytes()))
    content = unpickler.load()
    declare_tensors(path, root, unpickler.classes)
    return _checkpoint(content, unpickler, lambda key: _read_entry(path, entries[f"{root}data/{key}"]))


def read_torch_legacy(path: Path) -> Checkpoint:
    """Read a file in the format before torch 1.6.

    Raises:
        ValueError: if it is a pickle of another program, or damaged.
    """
    positions: dict[str, tuple[int, int]] = {}
    with path.open("rb") as stream:
        first = RestrictedUnpickler(stream)
        if first.load() != LEGACY_MAGIC:
            named = f" ({', '.join(first.objects[:3])})" if first.objects else ""
            raise ValueError(
                f"it is a pickle that torch.save did not write{named}, and pickled code is never executed; save its "
                "state_dict as safetensors where it was made"
            )
        RestrictedUnpickler(stream).load()  # version of the format
        facts = RestrictedUnpickler(stream).load()
        if isinstance(facts, dict) and facts.get("little_endian") is False:
            raise ValueError("its numbers are big-endian; save it again on another machine")
        unpickler = RestrictedUnpickler(stream)
        content = unpickler.load()
        for key in RestrictedUnpickler(stream).load():
            width = unpickler.storages[str(key)].itemsize
            (count,) = struct.unpack("<q", stream.read(8))
            positions[str(key)] = (stream.tell(), count * width)
            stream.seek(count * width, os.SEEK_CUR)
    return _checkpoint(content, unpickler, lambda key: _read_at(path, *positions[key]))


def _checkpoint(content: Any, unpickler: RestrictedUnpickler, read: Callable[[str], Tensor]) -> Checkpoint:
    blocks: dict[str, Tensor] = {}  # tensors that share memory in the file share it after reading

    def block(key: str) -> Tensor:
        if key not in blocks:
            blocks[key] = read(key)
        return blocks[key]

    def load(tensor: SavedTensor | Tensor) -> Tensor:
        return tensor if isinstance(tensor, Tensor) else tensor.load(block)

    return Checkpoint(content, load, unpickler.objects)


def _read_entry(path: Path, entry: zipfile.ZipInfo) -> Tensor:
    """Return the bytes of an entry that is not compressed."""
    if entry.compress_type != zipfile.ZIP_STORED:
        raise ValueError("its entries are compressed, which torch.save never does; save it again with torch.save")
    with path.open("rb") as stream:
        stream.seek(entry.header_offset)
        header = stream.read(30)
        if header[:4] != b"PK\3\4":
            raise ValueError(f"its entry {entry.filename} is damaged; copy or download it again")
        start = stream.tell() + sum(struct.unpack("<HH", header[26:30]))
    content = _read_at(path, start, entry.file_size)
    # zero where torch wrote no checksums
    if entry.CRC and zlib.crc32(content.numpy().data) != entry.CRC:
        raise ValueError(f"its entry {entry.filename} has another checksum than it states; copy or download it again")
    return content


def _read_at(path: Path, start: int, count: int) -> Tensor:
    """Return `count` bytes of a file, from `start` on."""
    with path.open("rb") as stream:
        available = os.fstat(stream.fileno()).st_size - start
        if not 0 <= count <= available:
            raise ValueError(f"it ends after {available} of {count} bytes of a tensor; copy or download it again")
        content = torch.empty(count, dtype=torch.uint8)
        stream.seek(start)
        stream.readinto(content.numpy().data)
    return content
