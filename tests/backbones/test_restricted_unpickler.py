"""Checkpoints as people have them: tensors are kept whatever is beside them, and nothing in a file is run."""

import argparse
import collections
import os
import pickle
import zipfile
from pathlib import Path, PosixPath

import numpy as np
import pytest
import torch
from torch import nn

from dimlift.backbones.checkpoint_file import open_checkpoint, read_state, read_tensors
from dimlift.backbones.describe_weights import describe_weights
from dimlift.errors import WeightsError


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments, state=None):
        self.call = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.call


class Settings(argparse.Namespace):
    """A class that is not importable where the file is read."""


def network():
    return nn.Sequential(collections.OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4)))


def checkpoint(state):
    """Content of a checkpoint of timm."""
    return {
        "epoch": 3,
        "arch": "resnet18",
        "state_dict": state,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(7)}}, "param_groups": [{"lr": np.float64(0.1)}]},
        "args": argparse.Namespace(lr=0.1, output=Path("out"), nested=Settings(a=[1, {2}])),
        "amp_scaler": {"scale": 65536.0},
        "metric": np.float64(81.5),
    }


SHAPES = {
    "bare": lambda state: state,
    "timm": checkpoint,
    "MAE": lambda state: {"model": state, "args": argparse.Namespace(lr=1e-3), "scaler": {}, "epoch": 799},
    "DINO": lambda state: {
        "student": {f"module.backbone.{key}": torch.zeros_like(value) for key, value in state.items()},
        "teacher": {f"module.backbone.{key}": value for key, value in state.items()},
        "args": argparse.Namespace(arch="vit_small"),
    },
    "Lightning": lambda state: {
        "state_dict": {f"model.encoder.{key}": value for key, value in state.items()},
        "hyper_parameters": {"root": PosixPath("/data"), "transform": Settings(size=224)},
        "callbacks": {"ModelCheckpoint": {"best_model_score": torch.tensor(0.9), "best": Path("a.ckpt")}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}}],
        "loops": {"fit_loop": {"state_dict": {}}},
    },
    "moving average": lambda state: {"state_dict_ema": {k: v + 9 for k, v in state.items()}, "state_dict": state},
    "deep": lambda state: {"a": {"b": {"net": {f"x.y.{key}": value for key, value in state.items()}}}},
    "counted": lambda state: {"model": collections.defaultdict(Settings, state), "seen": {"a", "b"}},
}


@pytest.mark.parametrize("old_format", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("shape", SHAPES)
def test_tensors_of_training_checkpoints_are_kept(tmp_path, shape, old_format):
    state = network().state_dict()
    path = tmp_path / "a.pth"
    torch.save(SHAPES[shape](state), path, _use_new_zipfile_serialization=not old_format)
    found = read_tensors(path)
    ends = {key: next(value for name, value in found.items() if name.endswith(key)) for key in state}
    assert len(found) == len(state)
    assert all(torch.equal(ends[key], state[key]) and ends[key].dtype == state[key].dtype for key in state)


@pytest.mark.parametrize("old_format", [False, True], ids=["zip", "legacy"])
def test_whole_module_has_the_names_of_its_state_dict(tmp_path, old_format):
    made = nn.Sequential(network(), nn.Linear(4, 2))
    made[0].register_buffer("scratch", torch.ones(2), persistent=False)
    torch.save({"model": made, "epoch": 1}, tmp_path / "a.pt", _use_new_zipfile_serialization=not old_format)
    found = read_state(tmp_path / "a.pt")
    assert found.entry == "model"
    assert found.tensors.keys() == made.state_dict().keys()
    assert all(torch.equal(found.tensors[key], value) for key, value in made.state_dict().items())
    (table,) = describe_weights(tmp_path / "a.pt").tables
    assert (table.place, table.tensors) == ("model", len(found.tensors))


def test_views_shared_memory_and_types_survive(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    state = {
        "turned": base.T, "part": base[1:3, ::2], "again": base, "half": base.bfloat16(), "flag": base > 3,
        "none": torch.zeros(0, 3), "one": torch.tensor(7), "parameter": nn.Parameter(base),
        "wide": base[:1].expand(9, 6),
    }  # fmt: skip
    torch.save(state, tmp_path / "a.pt")
    found = read_tensors(tmp_path / "a.pt")
    for name, value in state.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], value), name
    assert found["again"].data_ptr() == found["turned"].data_ptr()


ATTACKS = {
    "os.system": lambda mark: Call(os.system, f"touch {mark}"),
    "exec": lambda mark: Call(exec, f"open({str(mark)!r}, 'w')"),
    "a method": lambda mark: Call(Path.touch, mark),
    "a getattr chain": lambda mark: Call(getattr, Call(__import__, "os"), "system"),
    "torch.load": lambda mark: Call(torch.load, str(mark)),
}


@pytest.mark.parametrize("old_format", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_is_run_and_tensors_are_kept(tmp_path, attack, old_format):
    mark = tmp_path / "EXECUTED"
    content = {"state_dict": {"w": torch.ones(2)}, "args": ATTACKS[attack](mark), "more": [ATTACKS[attack](mark)]}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=not old_format)
    assert read_tensors(tmp_path / "a.pth")["w"].tolist() == [1, 1]
    summary = describe_weights(tmp_path / "a.pth")
    assert summary.used_tensors == 1
    assert summary.objects
    assert not mark.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pth"]


def test_attack_alone_is_refused_without_a_trace(tmp_path):
    mark = tmp_path / "EXECUTED"
    torch.save(Call(os.system, f"touch {mark}"), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"no named tensors but Python objects \(posix\.system\)"):
        read_tensors(tmp_path / "a.pth")
    assert not mark.exists()


def test_attack_of_these_tests_works_on_pickle(tmp_path):
    mark = tmp_path / "EXECUTED"
    pickle.loads(pickle.dumps(Call(os.system, f"touch {mark}")))
    assert mark.exists()


def archive_of(path, pickled):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", pickled)
        archive.writestr("a/data/0", bytes(8))
    return path


@pytest.mark.parametrize(
    "changed",
    [
        b"\x80\x02" + b"ctorch._utils\n_rebuild_tensor_v2\n}U\x09_functionK\x01sb.",
        b"\x80\x02" + b"ctorch\nFloatStorage\n}U\x05dtypeK\x01sb.",
        b"\x80\x02" + b"cos\nsystem\n}U\x09__class__K\x01sb.",
    ],
    ids=["a function", "a storage class", "a class"],
)
def test_pickle_cannot_change_the_reader(tmp_path, changed):
    with pytest.raises(WeightsError):
        read_tensors(archive_of(tmp_path / "a.pt", changed))
    torch.save({"w": torch.ones(2)}, tmp_path / "b.pt")
    assert read_tensors(tmp_path / "b.pt")["w"].tolist() == [1, 1]


def test_pickle_cannot_change_a_tensor(tmp_path):
    tensor = torch.ones(2)
    content = {"w": Call(torch._utils._rebuild_parameter, tensor, False, {}, state={"shape": "x"})}
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match="changes a tensor"):
        read_tensors(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("size", "stride", "message"),
    [((3,), (1,), "needs 3 numbers, its block has 2"), ((2,), (-1,), "has the stride"), ((2**40,), (0,), "repeats")],
)
def test_tensors_stay_in_their_block(tmp_path, size, stride, message):
    storage = torch.ones(2).untyped_storage()
    typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
    content = {"w": Call(torch._utils._rebuild_tensor_v2, typed, 0, size, stride, False, {})}
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=message):
        read_tensors(tmp_path / "a.pt")


def test_endless_and_enormous_containers_are_read(tmp_path):
    content = {"state_dict": {"w": torch.ones(2)}, 10**5000: 1}
    content["itself"] = content
    content["list"] = [content] * 100
    torch.save(content, tmp_path / "a.pt")
    assert read_tensors(tmp_path / "a.pt").keys() == {"w"}
    assert describe_weights(tmp_path / "a.pt").used == "state_dict"


def test_unknown_names_are_listed_once_and_not_imported(tmp_path):
    torch.save({"w": torch.ones(2), "a": Settings(), "b": [Settings()] * 3}, tmp_path / "a.pt")
    assert open_checkpoint(tmp_path / "a.pt").objects == (f"{Settings.__module__}.Settings",)
