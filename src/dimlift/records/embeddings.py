"""A file of embeddings: numbers, names and a few facts, in NumPy's .npz without pickle."""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import DamagedFile, DataError
from dimlift.records.atomic_write import written_whole


@dataclass(frozen=True)
class Embeddings:
    """Vectors of volumes.

    Attributes:
        vectors: (volumes, width) float32.
        names: of the volumes.
        groups: the patient of each, where the data set says so.
        labels: class or number of each as text, "" where nobody knows.
        facts: how they were made.
    """

    vectors: NDArray[np.float32]
    names: NDArray[np.str_]
    groups: NDArray[np.str_]
    labels: NDArray[np.str_]
    facts: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> Path:
        """Write the file, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as scratch, scratch.open("wb") as stream:
            np.savez(
                stream,
                vectors=self.vectors,
                names=np.asarray(self.names, np.str_),
                groups=np.asarray(self.groups, np.str_),
                labels=np.asarray(self.labels, np.str_),
                facts=np.asarray(json.dumps(self.facts), np.str_),
            )
        return path

    @classmethod
    def load(cls, path: Path) -> "Embeddings":
        """Read what `save` wrote.

        Raises:
            DataError: if there is no such file.
            DamagedFile: if it is none of ours, or damaged.
        """
        if not path.is_file():
            raise DataError(f"there is no file {path}; `dimlift embed DATASET --out {path}` makes one")
        try:
            with np.load(path, allow_pickle=False) as stored:
                parts = [stored[name] for name in ("vectors", "names", "groups", "labels")]
                facts = json.loads(str(stored["facts"]))
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as fault:
            raise DamagedFile(f"{path} holds no embeddings ({fault}); make it again with `dimlift embed`") from fault
        if parts[0].ndim != 2 or any(len(part) != len(parts[0]) for part in parts):
            raise DamagedFile(f"{path} holds {[part.shape for part in parts]}; make it again with `dimlift embed`")
        vectors, names, groups, labels = parts
        return cls(vectors, names, groups, labels, facts)
