"""SHA-256 of stored tensors: every changed bit is refused, wherever it is."""

import json
import warnings

import numpy as np
import pytest
import torch

from dimlift.errors import CorruptFileError, DataError
from dimlift.records.sealed_tensors import read_or_warn, read_sealed, write_sealed
from dimlift.records.weights import read_weights, verify_weights, write_weights

TENSORS = {"b": torch.randn(3, 5), "a": torch.randn(4, 2).half().T, "n": torch.tensor(3), "none": torch.zeros(0, 2)}
FLIPS = 25


def flips(path):
    """Flip one bit after another, in random places of the file, and restore it."""
    whole = path.read_bytes()
    for bit in np.random.default_rng(0).choice(8 * len(whole), FLIPS, replace=False):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(changed)
        yield int(bit)
    path.write_bytes(whole)


def test_sealed_tensors_and_texts_round_trip(tmp_path):
    write_sealed(tmp_path / "key.safetensors", TENSORS, {"settings": "é"})
    tensors, facts = read_sealed(tmp_path / "key.safetensors")
    assert facts == {"settings": "é"}
    assert tensors.keys() == TENSORS.keys()
    assert all(
        torch.equal(tensors[name], value) and tensors[name].dtype == value.dtype for name, value in TENSORS.items()
    )


def test_every_flipped_bit_of_a_cached_entry_is_refused(tmp_path):
    path = tmp_path / "key.safetensors"
    write_sealed(path, TENSORS, {"settings": "s"})
    for _ in flips(path):
        with pytest.raises(CorruptFileError, match=r"key\.safetensors (has changed|is damaged)"):
            read_sealed(path)
    read_sealed(path)


def test_entry_of_another_key_is_refused(tmp_path):
    write_sealed(tmp_path / "one.safetensors", TENSORS, {})
    (tmp_path / "one.safetensors").rename(tmp_path / "two.safetensors")
    with pytest.raises(CorruptFileError, match="has changed"):
        read_sealed(tmp_path / "two.safetensors")


def test_changed_text_or_swapped_names_are_refused(tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    path = tmp_path / "key.safetensors"
    same = {"a": torch.zeros(3), "b": torch.ones(3)}
    write_sealed(path, same, {"settings": "s"})
    with safe_open(path, "pt") as stored:
        facts = dict(stored.metadata())
    for tensors, texts in (
        ({"a": same["b"], "b": same["a"]}, facts),
        ({"a": same["a"].reshape(1, 3), "b": same["b"]}, facts),
        ({"a": same["a"].int(), "b": same["b"]}, facts),
        ({"a": same["a"]}, facts),
        (same, {**facts, "settings": "t"}),
        (same, {"settings": "s"}),
    ):
        save_file(tensors, path, metadata=texts)
        with pytest.raises(CorruptFileError, match="has changed"):
            read_sealed(path)


def test_cache_computes_damaged_entries_again(tmp_path):
    path = tmp_path / "key.safetensors"
    assert read_or_warn(path) is None
    write_sealed(path, TENSORS, {})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"key\.safetensors has changed.*; it is computed again"):
        assert read_or_warn(path) is None
    write_sealed(path, TENSORS, {})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_or_warn(path) is not None


@pytest.mark.parametrize("read", [read_weights, verify_weights])
def test_every_flipped_bit_of_a_weights_file_is_refused(tmp_path, read):
    write_weights(tmp_path, {"a": torch.randn(40, 3), "b": torch.randn(7)}, {"task": "segmentation"})
    for _ in flips(tmp_path / "model.safetensors"):
        with pytest.raises(CorruptFileError, match=r"model\.safetensors .*is damaged"):
            read(tmp_path)
    read(tmp_path)


@pytest.mark.parametrize("read", [read_weights, verify_weights])
def test_weights_of_another_card_are_refused(tmp_path, read):
    for name, value in (("one", 1.0), ("two", 2.0)):
        write_weights(tmp_path / name, {"a": torch.full((3,), value)}, {})
    (tmp_path / "one/model.safetensors").write_bytes((tmp_path / "two/model.safetensors").read_bytes())
    with pytest.raises(CorruptFileError, match=r"not the file that model\.json beside it describes.*from one run"):
        read(tmp_path / "one")
    (tmp_path / "one/model.safetensors").unlink()
    with pytest.raises(DataError, match=r"no model\.safetensors"):
        read(tmp_path / "one")


def test_card_without_a_digest_is_refused(tmp_path):
    write_weights(tmp_path, {"a": torch.ones(3)}, {})
    card = json.loads((tmp_path / "model.json").read_text())
    del card["weights_sha256"]
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(CorruptFileError, match=r"does not state weights_sha256.*sha256sum"):
        read_weights(tmp_path)
