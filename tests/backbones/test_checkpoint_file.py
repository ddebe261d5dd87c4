"""Files that are given as weights: what they are is named, with its cure."""

import gzip
import io
import tarfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dimlift.backbones.checkpoint_file import read_tensors
from dimlift.errors import WeightsError


def tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pth"))
    return content.getvalue()


def array() -> bytes:
    content = io.BytesIO()
    np.save(content, np.zeros(3))
    return content.getvalue()


FOREIGN = {
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
        r"Git LFS pointer.*git lfs pull",
    ),
    "page": (b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "is a web page, not weights: .*download"),
    "page after blanks": (b"\xef\xbb\xbf\n  <HTML lang='en'>", "is a web page"),
    "error of a store": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is a web page"),
    "nothing": (b"", "is empty: the download or copy did not finish"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5 file, as Keras writes"),
    "GGUF": (b"GGUF" + bytes(100), "GGUF"),
    "gzip": (gzip.compress(b"x" * 100), "compressed with gzip; unpack it"),
    "tar": (tar(), "tar archive; unpack it"),
    "array": (array(), "NumPy array; save a state_dict"),
    "text": (b"hello, I am no weights file", "neither a safetensors file nor one of torch.save"),
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".bin"])
@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_files_are_named_for_what_they_are(tmp_path, kind, suffix):
    content, message = FOREIGN[kind]
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    expected = "cannot be read as weights" if (kind, suffix) == ("text", ".safetensors") else message
    with pytest.raises(WeightsError, match=expected) as fault:
        read_tensors(path)
    assert str(path) in str(fault.value)
    assert "; " in str(fault.value)  # what to do


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_named(tmp_path, value, dtype):
    state = {"good": torch.ones(3, dtype=dtype), "conv.weight": torch.ones(5, dtype=dtype), "attn_mask": torch.ones(2)}
    state["conv.weight"][2:4] = value
    state["attn_mask"][0] = -float("inf")  # a mask, not a weight
    save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(WeightsError, match=r"not finite: conv\.weight \(2 of 5 values\); its training diverged"):
        read_tensors(tmp_path / "a.safetensors")
    del state["conv.weight"]
    save_file(state, tmp_path / "a.safetensors")
    assert read_tensors(tmp_path / "a.safetensors").keys() == state.keys()


@pytest.mark.parametrize("name", ["a.safetensors", "a.pth", "a.bin"])
@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_content_counts_and_not_the_name(tmp_path, kind, name):
    state = {"w": torch.arange(3.0)}
    path = tmp_path / name
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    assert read_tensors(path)["w"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
def test_cut_file_is_refused(tmp_path, kind):
    state, path = {"w": torch.randn(1000), "v": torch.randn(1000)}, tmp_path / "a.pt"
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    whole = path.read_bytes()
    for share in (0.2, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(WeightsError, match="cannot be read as weights"):
            read_tensors(path)


def test_flipped_bits_of_a_torch_archive_are_refused(tmp_path):
    """A zip archive states the checksum of each entry."""
    path = tmp_path / "a.pt"
    torch.save({"w": torch.ones(1000)}, path)
    whole = path.read_bytes()
    start = whole.index(torch.ones(1000).numpy().tobytes())
    for bit in np.random.default_rng(0).integers(32_000, size=25):
        flipped = bytearray(whole)
        flipped[start + bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(flipped)
        with pytest.raises(WeightsError, match="another checksum"):
            read_tensors(path)
