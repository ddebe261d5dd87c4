"""A folder that belongs to one run or study: who owns it, and what lies where."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml

from dimlift.errors import DimliftError, RunError
from dimlift.records.atomic_write import remove_scratch
from dimlift.records.record import write_json, write_text

SCHEMA = 1
OWNER = "run.json"
CONFIG = "config.yaml"
LOCK = ".lock"
RESULTS = (CONFIG, "study.json", "records", "weights", "predictions", "checkpoints", "attempts")

NAMES = {"train": "run", "compare": "study", "pretrain": "pretraining"}
Kind = Literal["train", "compare", "pretrain"]


@contextmanager
def claimed(out: Path, kind: Kind, identity: str, config: dict[str, Any]) -> Iterator[Path]:
    """Own a folder while the block runs. The same run may come back to it and goes on; any other is turned away.

    Args:
        identity: what must be the same for two runs to be the same.
        config: the resolved configuration, written beside the results.

    Raises:
        RunError: if the folder holds another run or other files, or somebody is at work in it now.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file; choose a folder to write into")
    existed = out.exists()
    out.mkdir(parents=True, exist_ok=True)
    with _locked(out):
        owner = _owner(out)
        try:
            _require_same(out, owner, kind, identity, config)
            remove_scratch(out)
            if owner is None:  # the owner first: a configuration alone would be somebody else's
                write_json(out / OWNER, {"schema": SCHEMA, "kind": kind, "identity": identity, "config": config})
            if not (out / CONFIG).exists():
                write_text(out / CONFIG, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
            yield out
        except DimliftError:
            if owner is None:
                _withdraw(out, existed)
            raise


def require_begun(out: Path) -> None:
    """Raises: RunError, if there is no run in the folder that could go on."""
    if not (out / OWNER).is_file():
        raise RunError(f"{out} holds no run to go on with (no {OWNER}); look at --out, or leave --resume out to begin")


def _require_same(out: Path, owner: dict[str, Any] | None, kind: Kind, identity: str, config: dict[str, Any]) -> None:
    """Raises: RunError, if what lies in the folder is not of this run."""
    taken = [name for name in RESULTS if owner is None and (out / name).exists()]
    if taken:
        raise RunError(f"{out} holds {', '.join(taken)} that no run of dimlift put there; choose another folder")
    if owner is not None and (owner.get("kind"), owner.get("identity")) != (kind, identity):
        changed = _changed(owner.get("config", {}), config)
        raise RunError(
            f"{out} holds another {NAMES.get(owner.get('kind', ''), 'run')}"
            f"{f' (it differs in {changed})' if changed else ''}; choose another folder, "
            f"or start with the configuration in {out / CONFIG} to go on with it"
        )


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Nobody else is at work in the folder; the lock ends with the process, however it ends."""
    path = out / LOCK
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = path.exists() and os.path.samestat(path.stat(), os.fstat(lock.fileno()))
        except OSError as fault:
            raise RunError(f"another process is at work in {out}; wait for it, or choose another folder") from fault
        if not mine:  # a run that was refused took its lock file away in this very moment
            raise RunError(f"another process was at work in {out} just now; start again")
        yield


def _withdraw(out: Path, existed: bool) -> None:
    """Leave a folder as it was, if the run was refused before it had any result."""
    if (out / OWNER).exists():
        if any((out / name).exists() for name in RESULTS if name != CONFIG):
            return
        for name in (OWNER, CONFIG):
            (out / name).unlink(missing_ok=True)
    (out / LOCK).unlink(missing_ok=True)
    if not existed and not any(out.iterdir()):
        out.rmdir()


def _owner(out: Path) -> dict[str, Any] | None:
    path = out / OWNER
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise RunError(f"{path} cannot be read: {fault}; choose another folder") from fault
    return content if isinstance(content, dict) else {}


def _changed(old: Any, new: Any, name: str = "") -> str:
    """The keys that differ, dotted; at most five."""
    found: list[str] = []

    def compare(a: Any, b: Any, path: str) -> None:
        if isinstance(a, dict) and isinstance(b, dict):
            for key in dict.fromkeys([*a, *b]):
                compare(a.get(key), b.get(key), f"{path}.{key}" if path else str(key))
        elif a != b:
            found.append(path)

    compare(old, new, name)
    return ", ".join(found[:5]) + (" ..." if len(found) > 5 else "")
