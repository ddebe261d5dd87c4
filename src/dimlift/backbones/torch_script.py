"""Which attributes of TorchScript's modules are parameters and buffers. Only lists of names are read of their code."""

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from dimlift.backbones.restricted_unpickler import SCRIPTED, PythonObject

MAX_BYTES = 2**26
"""Code that is read of one archive; that of the largest networks has a few megabytes."""

_CLASS = re.compile(r"^class (\w+)\(Module\):\n((?:  __\w+__ = \[.*\]\n)*)", re.MULTILINE)
_LIST = re.compile(r"^  __(parameters|buffers)__ = \[(.*)\]$", re.MULTILINE)
_NAME = re.compile(r'"([^"]*)"')


def declare_tensors(path: Path, root: str, classes: Mapping[str, type[PythonObject]]) -> None:
    """Set `declared` of the modules of a TorchScript archive. The code is searched for names and never run.

    Args:
        path: archive of torch.jit.save; others are left alone.
        root: folder of its content in the archive, with the slash.
        classes: of its objects, by name; changed in place.

    Raises:
        ValueError: if the code is larger than that of any network.
    """
    files: dict[str, list[str]] = {}
    for known in classes:
        if known.startswith(SCRIPTED):
            files.setdefault(f"{root}code/{known.rpartition('.')[0].replace('.', '/')}.py", []).append(known)
    left = MAX_BYTES
    with zipfile.ZipFile(path) as archive:
        entries = set(archive.namelist()) if files else set()
        for file in files:
            if file not in entries:
                continue
            with archive.open(file) as stream:
                content = stream.read(left + 1)
            left -= len(content)
            if left < 0:
                raise ValueError(f"its code is larger than {MAX_BYTES:,} bytes; save the state_dict of the network")
            declared = _declared(content.decode("utf-8", "replace"))
            for known in files[file]:
                classes[known].declared = declared.get(known.rpartition(".")[2])


def _declared(code: str) -> dict[str, frozenset[str]]:
    """Return the names of parameters and buffers, by class; without those of early formats, which list no buffers."""
    found = {}
    for name, header in _CLASS.findall(code):
        lists = dict(_LIST.findall(header))
        if lists.keys() == {"parameters", "buffers"}:
            found[name] = frozenset(each for text in lists.values() for each in _NAME.findall(text))
    return found
