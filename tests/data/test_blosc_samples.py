"""Cached samples on disk give the same patches as in memory, and corruption is detected."""

import os

import numpy as np
import pytest
import torch

from dimlift.data.datasets.open_dataset import open_dataset
from dimlift.data.preprocessing.blosc_array import BloscArray, write_blosc_array
from dimlift.data.preprocessing.blosc_samples import load_blosc_sample
from dimlift.data.preprocessing.preprocessing import Preprocessing
from dimlift.data.sampling.patch_sampler import PatchSampler
from dimlift.errors import CorruptFileError

pytest.importorskip("blosc2")


@pytest.fixture(params=["float32", "int16"])
def array(request):
    rng = np.random.default_rng(0)
    return (rng.standard_normal((2, 33, 70, 40)) * 100).astype(request.param)


def test_blosc_array_reads_any_box(array, tmp_path):
    stored = write_blosc_array(array, tmp_path / "blocks")
    back = BloscArray.from_json(tmp_path / "blocks", stored.to_json())
    assert np.array_equal(np.asarray(back), array)
    rng = np.random.default_rng(1)
    for _ in range(30):
        low = [int(rng.integers(size)) for size in array.shape[1:]]
        high = [int(rng.integers(first, size + 1)) for first, size in zip(low, array.shape[1:], strict=True)]
        z, y, x = (slice(first, last) for first, last in zip(low, high, strict=True))
        assert torch.equal(back[:, z, y, x], torch.from_numpy(array[:, z, y, x]))


def test_blosc_array_reads_only_needed_blocks(array, tmp_path, monkeypatch):
    stored, read = write_blosc_array(array, tmp_path / "blocks"), []
    original = BloscArray._block
    monkeypatch.setattr(BloscArray, "_block", lambda self, block: read.append(block) or original(self, block))
    stored[:, 30:33, 0:5, 31:33]
    assert read == [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1)]


def test_blosc_array_detects_corruption(array, tmp_path):
    path = tmp_path / "blocks"
    stored = write_blosc_array(array, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CorruptFileError, match="delete its folder, it will be recreated"):
        np.asarray(stored)
    path.write_bytes(content[:-1])
    with pytest.raises(CorruptFileError, match="delete its folder"):
        BloscArray.from_json(path, stored.to_json())


@pytest.fixture
def cases(tmp_path):
    import nibabel as nib

    rng = np.random.default_rng(0)
    for number in range(3):
        label = (rng.random((20, 18, 12)) > 0.9).astype(np.uint8)
        for kind, voxels in (("images", rng.normal(0, 1, label.shape).astype(np.float32)), ("labels", label)):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(voxels, np.diag([1, 1, 2, 1])), tmp_path / "data" / kind / f"c{number}.nii.gz")
    return open_dataset(tmp_path / "data")


def test_blosc_sample_batches_match_memory(cases, tmp_path):
    preprocessing = Preprocessing.fit(cases, cases.cases)
    held = [preprocessing.read(case) for case in cases.cases]
    for _ in range(2):  # written, then read
        stored = [load_blosc_sample(preprocessing, case, tmp_path / "packed") for case in cases.cases]
        for augment in (False, True):
            one, other = (PatchSampler(s, (8, 16, 24), augment=augment) for s in (held, stored))
            for step in range(3):
                got, want = other.batch(step, 2), one.batch(step, 2)
                assert torch.equal(got.image, want.image)
                assert torch.equal(got.label, want.label)
                assert got.cases == want.cases


def test_load_blosc_sample_caches_until_files_change(cases, tmp_path, monkeypatch):
    preprocessing = Preprocessing.fit(cases, cases.cases)
    read = []
    original = Preprocessing.read
    monkeypatch.setattr(Preprocessing, "read", lambda self, case: read.append(case.name) or original(self, case))
    case = cases.cases[0]
    for _ in range(2):
        load_blosc_sample(preprocessing, case, tmp_path / "packed")
    assert read == ["c0"]
    os.utime(case.images[0], (1, 1))
    load_blosc_sample(preprocessing, case, tmp_path / "packed")
    assert read == ["c0", "c0"]


@pytest.mark.parametrize("file", ["sample.json", "foreground.safetensors", "image.blocks", "label.blocks"])
def test_every_flipped_bit_of_a_cached_sample_is_noticed(cases, tmp_path, file):
    """A damaged case is preprocessed again, with a warning, and what is read is what was written."""
    preprocessing = Preprocessing.fit(cases, cases.cases)

    def read():
        sample = load_blosc_sample(preprocessing, cases.cases[0], tmp_path / "packed")
        arrays = [np.asarray(sample.image), np.asarray(sample.label), sample.minimum, *sample.foreground.values()]
        return [array.tobytes() for array in arrays], sample.values, list(sample.foreground)

    expected = read()
    (path,) = (tmp_path / "packed").glob(f"*/{file}")
    whole = path.read_bytes()
    for bit in np.random.default_rng(0).choice(8 * len(whole), 25, replace=False):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(changed)
        with pytest.warns(UserWarning, match="the case is preprocessed again"):
            assert read() == expected, f"bit {bit}"
        assert path.read_bytes() == whole


@pytest.mark.parametrize("content", ["{}", "[]", "{", ""])
def test_unreadable_entry_is_preprocessed_again(cases, tmp_path, content):
    preprocessing = Preprocessing.fit(cases, cases.cases)
    load_blosc_sample(preprocessing, cases.cases[0], tmp_path / "packed")
    (entry,) = (tmp_path / "packed").glob("*/sample.json")
    whole = entry.read_text()
    entry.write_text(content)
    with pytest.warns(UserWarning, match="is corrupt .*; the case is preprocessed again"):
        load_blosc_sample(preprocessing, cases.cases[0], tmp_path / "packed")
    assert entry.read_text() == whole
