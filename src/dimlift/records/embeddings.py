"""A file of embeddings: vectors, names and metadata, in NumPy's .npz format without pickle."""

import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimlift.errors import CorruptFileError, DataError
from dimlift.records.atomic_write import atomic_write


@dataclass(frozen=True)
class Embeddings:
    """One vector per volume.

    Attributes:
        vectors: (volumes, width) float32.
        names: name of each volume.
        groups: patient of each volume, where the dataset names one.
        labels: class or value of each volume as text, "" where it is unknown.
        facts: how the vectors were computed.
    """

    vectors: NDArray[np.float32]
    names: NDArray[np.str_]
    groups: NDArray[np.str_]
    labels: NDArray[np.str_]
    facts: dict[str, Any] = field(default_factory=dict)

    def save(self, path: Path) -> Path:
        """Write the file atomically."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary, temporary.open("wb") as stream:
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
        """Read a file written by `save`.

        Raises:
            DataError: if there is no such file.
            CorruptFileError: if it is not a file of embeddings, or is damaged.
        """
        if not path.is_file():
            raise DataError(f"there is no file {path}; `dimlift embed DATASET --out {path}` creates it")
        try:
            with np.load(path, allow_pickle=False) as stored:
                parts = [stored[name] for name in ("vectors", "names", "groups", "labels")]
                facts = json.loads(str(stored["facts"]))
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise CorruptFileError(
                f"{path} holds no embeddings ({error}); create it again with `dimlift embed`"
            ) from error
        if parts[0].ndim != 2 or any(len(part) != len(parts[0]) for part in parts):
            raise CorruptFileError(
                f"{path} holds arrays of shapes {[part.shape for part in parts]}, which do not belong together; create "
                "it again with `dimlift embed`"
            )
        vectors, names, groups, labels = parts
        return cls(vectors, names, groups, labels, facts)
