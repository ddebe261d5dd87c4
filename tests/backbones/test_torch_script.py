"""TorchScript archives: all parameters and buffers are found, and no code of the archive is run."""

import io
import zipfile

import pytest
import torch
from torch import nn

from dimlift.backbones.checkpoint_file import read_state
from dimlift.backbones.describe_weights import describe_weights
from dimlift.backbones.torch_script import MAX_BYTES
from dimlift.errors import WeightsError

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")


class Nested(nn.Module):
    """Containers, buffers, lists of numbers, and a tensor that is no weight."""

    def __init__(self):
        super().__init__()
        self.model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
        self.blocks = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
        self.scale = nn.Parameter(torch.full((1,), 2.0))
        self.register_buffer("mean", torch.ones(2))
        self.sizes, self.constant = [1, 2], torch.ones(5)

    def forward(self, x):
        x = self.model(x).mean((2, 3)) * self.scale - self.mean
        for block in self.blocks:
            x = block(x)
        return x


def scripted(module):
    return torch.jit.script(module)


def traced(module):
    return torch.jit.trace(module, torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("make", [scripted, traced])
def test_all_parameters_and_buffers_are_found(tmp_path, make):
    module = Nested().eval()
    make(module).save(tmp_path / "a.pt")
    found = read_state(tmp_path / "a.pt")
    assert found.tensors.keys() == module.state_dict().keys()
    assert all(torch.equal(found.tensors[key], value) for key, value in module.state_dict().items())
    summary = describe_weights(tmp_path / "a.pt")
    assert (summary.used, summary.used_tensors, summary.objects) == ("", len(found.tensors), ())
    assert [table.tensors for table in summary.tables] == [len(found.tensors)]


def test_more_classes_than_a_large_network_has(tmp_path):
    module = nn.Sequential(*(nn.Linear(1, 1) for _ in range(1200)))
    torch.jit.trace(module, torch.zeros(1, 1)).save(tmp_path / "a.pt")
    assert len(read_state(tmp_path / "a.pt").tensors) == 2400


def test_frozen_module_is_refused_for_what_it_is(tmp_path):
    torch.jit.freeze(scripted(Nested().eval())).save(tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"frozen TorchScript module.*before torch\.jit\.freeze"):
        read_state(tmp_path / "a.pt")


def repacked(path, change):
    """Write an archive again with the code of its modules changed."""
    content = io.BytesIO()
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(content, "w") as after:
        for entry in before.infolist():
            data = before.read(entry)
            packing = zipfile.ZIP_DEFLATED if "/code/" in entry.filename else zipfile.ZIP_STORED
            after.writestr(entry.filename, change(data) if entry.filename.endswith(".py") else data, packing)
    path.write_bytes(content.getvalue())
    return path


def test_archive_without_lists_of_buffers_gives_all_tensors(tmp_path):
    """The formats before torch 1.5 list parameters only."""
    scripted(Nested().eval()).save(tmp_path / "a.pt")
    repacked(tmp_path / "a.pt", lambda code: code.replace(b"__buffers__", b"__other__"))
    found = read_state(tmp_path / "a.pt").tensors
    assert found.keys() == {*Nested().state_dict(), "constant"}


def test_code_that_is_a_bomb_is_refused(tmp_path):
    scripted(Nested().eval()).save(tmp_path / "a.pt")
    repacked(tmp_path / "a.pt", lambda code: code + b" " * MAX_BYTES)
    with pytest.raises(WeightsError, match="its code is larger than"):
        read_state(tmp_path / "a.pt")
