"""The output folder of one run or study: ownership, locking and rollback."""

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, ValidationError

from dimlift.errors import DimliftError, RunError
from dimlift.records.atomic_write import remove_temp_files
from dimlift.records.card_schema import Name, listed_faults
from dimlift.records.json_file import read_json
from dimlift.records.own_file import open_own_file
from dimlift.records.record import write_json, write_text
from dimlift.records.record_schema import FileSection

SCHEMA = 1
OWNER = "run.json"
CONFIG = "config.yaml"
LOCK = ".lock"
RESULTS = (CONFIG, "study.json", "records", "weights", "predictions", "checkpoints", "attempts")

NAMES = {"train": "run", "compare": "study", "pretrain": "pretraining"}
FolderKind = Literal["train", "compare", "pretrain"]


class OwnerFile(FileSection):
    """Content of `run.json`: which run owns a folder."""

    schema_: Literal[1] = Field(alias="schema")
    kind: FolderKind
    identity: Name
    config: dict[str, Any]
    data: dict[str, Name] = Field(default_factory=dict)


@contextmanager
def lock_run_folder(
    out: Path, kind: FolderKind, identity: str, config: dict[str, Any], hashes: Mapping[str, str] | None = None
) -> Iterator[Path]:
    """Lock a folder while the block runs. The same run may return to its folder; any other run is rejected.

    Args:
        identity: hash that is equal for two invocations of the same run.
        config: the resolved configuration, written to config.yaml.
        hashes: of the data, by file name (`Dataset.content_hashes`); stored, to name the files that change later.

    Raises:
        RunError: if the folder holds another run or other files, or another process is using it.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file; choose a folder to write into")
    existed = out.exists()
    out.mkdir(parents=True, exist_ok=True)
    with _locked(out):
        owner = _read_owner(out)
        try:
            _require_same_run(out, owner, kind, identity, config, hashes or {})
            remove_temp_files(out)
            if owner is None:  # written first: a configuration without an owner counts as a foreign file
                content = {"schema": SCHEMA, "kind": kind, "identity": identity, "config": config}
                write_json(out / OWNER, {**content, "data": dict(hashes or {})})
            if not (out / CONFIG).exists():
                write_text(out / CONFIG, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
            yield out
        except (DimliftError, OSError):
            if owner is None:
                _rollback(out, existed)
            raise


def require_existing_run(out: Path) -> None:
    """Check that a folder holds a run that can be resumed.

    Raises:
        RunError: if it does not.
    """
    if not (out / OWNER).is_file():
        raise RunError(f"{out} holds no run to resume (no {OWNER}); check --out, or start a new run without --resume")


def _require_same_run(
    out: Path,
    owner: OwnerFile | None,
    kind: FolderKind,
    identity: str,
    config: dict[str, Any],
    hashes: Mapping[str, str],
) -> None:
    foreign = [name for name in RESULTS if owner is None and (out / name).exists()]
    if foreign:
        raise RunError(f"{out} holds {', '.join(foreign)} but no {OWNER} of dimlift; choose another folder")
    if owner is not None and (owner.kind, owner.identity) != (kind, identity):
        name = NAMES.get(owner.kind, "run")
        changed, files = _changed_keys(owner.config, config), _changed_data(owner.data, hashes)
        if files and not changed:
            raise RunError(
                f"{out} holds a {name} on other data: {files}; restore the data to resume it, or choose another folder"
            )
        difference = "; ".join(filter(None, (changed and f"it differs in {changed}", files and f"its data: {files}")))
        raise RunError(
            f"{out} holds another {name}{f' ({difference})' if difference else ''}; choose another folder, "
            f"or use the configuration in {out / CONFIG} to resume it"
        )


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold an exclusive lock on the folder; the operating system releases it when the process ends."""
    path = out / LOCK
    with os.fdopen(open_own_file(path, os.O_RDWR), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunError(f"another process is using {out}; wait for it, or choose another folder") from error
        same_file = path.exists() and os.path.samestat(path.stat(), os.fstat(lock.fileno()))
        if not same_file:  # a rejected run deleted its lock file between our open and our lock
            raise RunError(f"another process has just used {out}; start again")
        yield


def _rollback(out: Path, existed: bool) -> None:
    """Restore the folder if the run failed before it wrote any result."""
    if (out / OWNER).exists():
        if any((out / name).exists() for name in RESULTS if name != CONFIG):
            return
        for name in (OWNER, CONFIG):
            (out / name).unlink(missing_ok=True)
    (out / LOCK).unlink(missing_ok=True)
    if not existed and not any(out.iterdir()):
        out.rmdir()


def _read_owner(out: Path) -> OwnerFile | None:
    path = out / OWNER
    if not path.is_file():
        return None
    try:
        return OwnerFile.model_validate(read_json(path))
    except (OSError, ValueError) as error:
        said = listed_faults(error) if isinstance(error, ValidationError) else error
        raise RunError(f"{path} is not the file of a run ({said}); choose another folder") from error


def _changed_data(old: Mapping[str, str], new: Mapping[str, str]) -> str:
    """Return the files that were changed, added or removed, at most five of each; empty if nothing is known."""
    if not old:
        return ""
    parts = {
        "changed": [name for name in new if name in old and old[name] != new[name]],
        "added": [name for name in new if name not in old],
        "removed": [name for name in old if name not in new],
    }
    return "; ".join(
        f"{', '.join(names[:5])}{f' and {len(names) - 5} more' if len(names) > 5 else ''} {what}"
        for what, names in parts.items()
        if names
    )


def _changed_keys(old: Any, new: Any) -> str:
    """Return the dotted keys in which two configurations differ, at most five of them."""
    found: list[str] = []

    def collect(a: Any, b: Any, path: str) -> None:
        if isinstance(a, dict) and isinstance(b, dict):
            for key in dict.fromkeys([*a, *b]):
                collect(a.get(key), b.get(key), f"{path}.{key}" if path else str(key))
        elif a != b:
            found.append(path)

    collect(old, new, "")
    return ", ".join(found[:5]) + (" ..." if len(found) > 5 else "")
