"""Executes commands in forks of one process, so that modules are imported once; reads and writes one JSON per line.

A request holds the words of a command, its working folder, and a fault that needs to be set inside the process.
"""

import errno
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

NAMED_BY = "disk"
"""Folder of all outputs; only writes below it count."""

FAULTS_INSIDE = ("quota_after", "file_limit", "memory_limit", "kills")


def serve() -> None:
    """Answer requests until stdin ends."""
    from dimlift.backbones.torchvision_ops import ensure_torchvision_imports

    ensure_torchvision_imports()
    import torch

    torch.set_num_threads(1)
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an import prints is no reply
    for line in sys.stdin:
        request = json.loads(line)
        reply = {"imported": _import(request["modules"])} if "modules" in request else _run(request)
        channel.write(json.dumps(reply) + "\n")
        channel.flush()


def _import(names: list[str]) -> int:
    for name in names:
        try:
            __import__(name)
        except Exception:
            continue
    return len(names)


def _run(request: dict) -> dict:
    """Execute a command under its fault, and once more without it if `recover` is set.

    The outputs are copied to `found` and `again`, as a file system mounted here may not be visible elsewhere.
    """
    cwd, disk = Path(request["cwd"]), request.get("disk")
    outputs = cwd / NAMED_BY
    outputs.mkdir(exist_ok=True)
    if disk:
        _mount("-t", "tmpfs", "-o", f"size={disk['size']}", "tmpfs", outputs)
    try:
        for source, target in request.get("prefill", {}).items():
            shutil.copytree(cwd / source, cwd / target)
        if disk and disk.get("read_only"):
            _mount("-o", "remount,ro", outputs)
        for seconds in request.get("kills", ()):
            _fork(request, cwd, seconds)
        reply = {"first": _fork(request, cwd)}
        shutil.copytree(outputs, cwd / "found", dirs_exist_ok=True)
        if request.get("recover") and reply["first"]["code"] != 0:
            if disk:
                _mount("-o", "remount,rw,size=100m", outputs)
            sound = {key: value for key, value in request.items() if key not in FAULTS_INSIDE}
            reply["again"] = _fork(sound, cwd)
            shutil.copytree(outputs, cwd / "again", dirs_exist_ok=True)
        return reply
    finally:
        if disk:
            subprocess.run(["umount", outputs], check=True)


def _mount(*words: object) -> None:
    subprocess.run(["mount", *map(str, words)], check=True)


def _fork(request: dict, cwd: Path, kill_after: float | None = None) -> dict:
    facts = cwd / "facts.json"
    facts.unlink(missing_ok=True)
    start = time.perf_counter()
    child = os.fork()
    if child == 0:
        _become_command(request, cwd, facts)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    reply = {"code": code, "seconds": time.perf_counter() - start}
    for name in ("out", "err"):
        reply[name] = (cwd / f"{name}.txt").read_text(errors="replace")
    if facts.exists():
        reply |= json.loads(facts.read_text())
    return reply


def _become_command(request: dict, cwd: Path, facts: Path) -> None:
    """Run the command in this fork and end the process."""
    os.chdir(cwd)
    for number, name in ((1, "out"), (2, "err")):
        descriptor = os.open(f"{name}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(descriptor, number)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
    os.environ |= {"COLUMNS": "1000", "NO_COLOR": "1"}
    sys.argv = ["dimlift", *request["words"]]
    before, size = set(sys.modules), _address_space()
    syncs = _count_syncs(request.get("quota_after"))
    code = 1
    try:
        from huggingface_hub import constants

        from dimlift.cli import app

        constants.HF_HUB_CACHE = str(cwd / "hub_cache")
        _shorten(request.get("shorten"))
        if request.get("file_limit") is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"], resource.RLIM_INFINITY))
        if request.get("memory_limit") is not None:
            resource.setrlimit(resource.RLIMIT_AS, (size + request["memory_limit"], resource.RLIM_INFINITY))
        app.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        for limit in (resource.RLIMIT_AS, resource.RLIMIT_FSIZE):
            resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        sys.stdout.flush()
        sys.stderr.flush()
        modules = [name for name in set(sys.modules) - before if "pytest" not in name]
        growth = _address_space("VmPeak") - size
        facts.write_text(json.dumps({"syncs": len(syncs), "growth": growth, "modules": modules}))
        os._exit(code)


def _shorten(steps: int | None) -> None:
    """Give the demo a number of steps; its budget is a time, which gives other weights in every run."""
    if steps is not None:
        from dimlift.studies import demo_point_clouds as demo

        demo.UNLABELLED_PER_CLASS, demo.LABELLED_PER_CLASS, demo.REPEATS = 4, 6, 2
        demo.demo_point_clouds = partial(demo.demo_point_clouds, steps=steps)


def _count_syncs(quota_after: int | None) -> list[int]:
    """Count calls of fsync; from one of them on, raise what a network disk reports when a quota is used up."""
    original, calls = os.fsync, []

    def fsync(descriptor: int) -> None:
        calls.append(descriptor)
        if quota_after is not None and len(calls) > quota_after:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
        original(descriptor)

    os.fsync = fsync
    return calls


def _address_space(field: str = "VmSize") -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    serve()
