"""Executes cells of the fault matrix and judges them: same result, one-line refusal, or resumed."""

import fnmatch
import gzip
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .conftest import without_clocks
from .matrix_table import BREAKS, COMMANDS, FLIPS, HOSTILE, Command
from .matrix_world import PREPARATIONS, prepare, write_inputs

IGNORED = (
    "*.lock",
    "*/attempts/*",
    "*/cache/*",
    "*/checkpoints/*",
    "*/config.yaml",
    "*/run.json",
    "cache/*",
    "out/report*",
    "demo/report*",
    "out/log.txt",
    "*.part",
)
"""Outputs that hold times, or that serve the next start only, and what a killed process leaves. `report` is a command
of its own."""

SMALLEST_LIMIT = 4096
"""Bytes of a file that a command may always write."""

CONTROL = {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))}


class Refused(AssertionError):
    """A cell whose outcome is none of the three."""


@dataclass
class Matrix:
    """The server, the world, the reference results, and the outcomes so far."""

    root: Path
    hub: str
    can_mount: bool
    server: subprocess.Popen[str]
    references: dict[str, dict] = field(default_factory=dict)
    outcomes: Counter = field(default_factory=Counter)
    numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**6)))

    @classmethod
    def start(cls, root: Path, hub: str) -> "Matrix":
        """Start the server; without privileges in a user namespace of its own, where it can mount."""
        prefixes: list[list[str]] = [[], ["unshare", "-rm"]]
        probe = root / "probe"
        probe.mkdir(parents=True)
        script = f"mount -t tmpfs tmpfs {probe} && umount {probe}"
        usable = [p for p in prefixes if subprocess.run([*p, "sh", "-c", script], capture_output=True).returncode == 0]
        environment = os.environ | {
            "OMP_NUM_THREADS": "1", "HF_ENDPOINT": hub, "HF_TOKEN": "hf_x", "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }  # fmt: skip
        server = subprocess.Popen(
            [*(usable or [[]])[0], sys.executable, str(Path(__file__).with_name("matrix_server.py"))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(root / "server.txt").open("w"), text=True,
            env=environment,
        )  # fmt: skip
        matrix = cls(root, hub, bool(usable), server)
        (root / "world").mkdir()
        write_inputs(root / "world")
        return matrix

    def send(self, **request: object) -> dict:
        """Return the reply of the server."""
        assert self.server.stdin is not None
        assert self.server.stdout is not None
        self.server.stdin.write(json.dumps(request) + "\n")
        self.server.stdin.flush()
        line = self.server.stdout.readline()
        assert line, f"the server has ended: {self.server.poll()} {(self.root / 'server.txt').read_text()[-2000:]}"
        return json.loads(line)

    def folder(self, command: Command) -> Path:
        """Return a new copy of the inputs."""
        names = tuple(
            name for name in PREPARATIONS
            if any(name in part for part in (*command.words, *command.sealed, *command.text, *command.prefill))
        )  # fmt: skip
        if "hub_cache" in names:
            names = ("run", *names)
        prepare(self.root / "world", names, self._prepare)
        target = self.root / f"cell-{next(self.numbers)}"
        shutil.copytree(self.root / "world", target, symlinks=True)
        return target

    def _prepare(self, words: tuple[str, ...]) -> None:
        reply = self.send(cwd=str(self.root / "world"), words=words)["first"]
        assert reply["code"] == 0, reply["err"]
        self.send(modules=reply["modules"])
        for left in ("found", "disk"):
            shutil.rmtree(self.root / "world" / left)

    def execute(self, name: str, folder: Path, **fault: object) -> dict:
        """Run a command in a folder."""
        command = COMMANDS[name]
        request = {"words": command.words, "prefill": command.prefill, "shorten": command.shorten, **fault}
        return self.send(cwd=str(folder), **request)

    def reference(self, name: str) -> dict:
        """Return reply and results of the command without a fault."""
        if name not in self.references:
            for _ in range(2):  # the first one imports; the second one is measured
                folder = self.folder(COMMANDS[name])
                reply = self.execute(name, folder)["first"]
                assert reply["code"] == 0, f"{name}: {reply['err']}"
                self.send(modules=reply["modules"])
                results = read_results(folder / "found", reply["out"])
                shutil.rmtree(folder)
            self.references[name] = {"reply": reply, "results": results}
        return self.references[name]


def read_results(folder: Path, printed: str) -> dict[str, object]:
    """Return the outputs without times: files by path, and what was printed where there are none."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not any(fnmatch.fnmatch(name, pattern) for pattern in IGNORED):
            found[name] = _content(path, folder.parent)
    return found or {"printed": printed}


def _content(path: Path, cell: Path) -> object:
    if path.suffix == ".json":  # paths of inputs are those of the cell
        return without_clocks(json.loads(path.read_text().replace(str(cell), "CELL")))
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def judge(
    matrix: Matrix, name: str, folder: Path, reply: dict, named: str, text: bool = True, broken: Path | None = None
) -> str:
    """Return the outcome of a command that met a fault.

    Args:
        named: what a refusal has to name.
        text: whether the results must equal the reference.
        broken: file that was damaged before the command; outputs of this name may stay as they are.

    Raises:
        Refused: if it is neither the same result nor a refusal, or if something half-written is left.
    """
    first, wanted = reply["first"], matrix.reference(name)["results"]
    shown = f"exit code {first['code']}: {first['err'].strip()[-600:]}"
    if CONTROL & set(first["out"] + first["err"]):
        raise Refused(f"control characters on the terminal: {first['out'] + first['err']!r}")
    if "Traceback" in first["err"]:
        raise Refused(f"a traceback: {shown}")
    if first["code"] == 0:
        difference = _difference(read_results(folder / "found", first["out"]), wanted) if text else ""
        if difference and _names_on_page(folder / "found", named):
            return "named on the page"
        if difference:
            raise Refused(f"other results without a word: {difference}; {first['err'].strip()[-300:]}")
        return "same result"
    errors = [line for line in first["err"].splitlines() if line.startswith("error: ")]
    if first["code"] != 2 or (len(errors) != 1 and "error" not in first["out"]):
        raise Refused(f"no refusal: {shown}")
    message = (errors or [first["out"]])[-1] + first["err"] + first["out"]
    if named not in message:
        raise Refused(f"does not name {named}: {shown}")
    _require_nothing_half_written(name, folder / "found", wanted, broken)
    if "again" in reply:
        _require_recovery(name, folder, reply["again"], wanted)
    return "refused"


def _names_on_page(folder: Path, named: str) -> bool:
    """Return whether a report states in place of a case that its file is damaged."""
    pages = [path.read_text(encoding="utf-8") for path in folder.glob("*.html")]
    return any(re.search(rf'class="absent">[^<]*{re.escape(named)}: ', page) for page in pages)


def _require_nothing_half_written(name: str, folder: Path, wanted: dict[str, object], broken: Path | None) -> None:
    for pattern in COMMANDS[name].main:
        for path in folder.glob(pattern):
            if broken is not None and path.name == broken.name:
                continue
            content, file = _content(path, folder.parent), str(path.relative_to(folder))
            failed = isinstance(content, dict) and content.get("status") == "failed"
            if not failed and content != wanted.get(file):
                raise Refused(f"{file} is left as if it were complete")
    leftovers = [path.name for path in folder.rglob(".*.part")]
    if leftovers:
        raise Refused(f"leaves {leftovers}")


def _require_recovery(name: str, folder: Path, again: dict, wanted: dict[str, object]) -> None:
    if not COMMANDS[name].repeatable and again["code"] == 2 and "delete it" in again["err"]:
        return
    if again["code"] != 0:
        raise Refused(f"does not go on afterwards: {again['err'].strip()[-600:]}")
    if difference := _difference(read_results(folder / "again", again["out"]), wanted):
        raise Refused(f"other results afterwards: {difference}")


def _difference(found: dict[str, object], wanted: dict[str, object]) -> str:
    if found.keys() != wanted.keys():
        return f"files {sorted(found.keys() ^ wanted.keys())[:4]}"
    changed = [_changes(found[name], wanted[name], name) for name in wanted if found[name] != wanted[name]]
    return "; ".join(changed[:4])


def _changes(found: object, wanted: object, path: str) -> str:
    """Return where two contents differ: the keys of JSON, or the file."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = [key for key in (found | wanted) if found.get(key) != wanted.get(key)]
        return ", ".join(_changes(found.get(key), wanted.get(key), f"{path} {key}") for key in keys[:3])
    return f"{path}: {str(found)[:120]} instead of {str(wanted)[:120]}"


def variants(matrix: Matrix, name: str, fault: str) -> Iterator[tuple[str, str]]:
    """Yield (variant, outcome) of every variant of a cell.

    Raises:
        Refused: at the first variant with another outcome.
    """
    command = COMMANDS[name]
    runner = {
        "kill": _kill, "full disk": _full_disk, "file limit": _file_limit, "quota": _quota, "read-only": _read_only,
        "below a file": _below_a_file, "memory": _memory, "bit flip": _bit_flip, "hostile name": _hostile_name,
        "broken text": _broken_text,
    }[fault]  # fmt: skip
    for variant, folder, outcome in runner(matrix, name, command):
        shutil.rmtree(folder)
        matrix.outcomes[fault, outcome] += 1
        yield variant, outcome


def _space(matrix: Matrix, name: str, folder: Path, **fault: object) -> str:
    reply = matrix.execute(name, folder, recover=True, **fault)
    return judge(matrix, name, folder, reply, "disk/")


def _output_bytes(matrix: Matrix, name: str) -> list[int]:
    contents = matrix.reference(name)["results"].values()
    return [len(each) if isinstance(each, bytes) else len(json.dumps(each)) for each in contents]


def _kill(matrix: Matrix, name: str, command: Command) -> Iterator[tuple[str, Path, str]]:
    seconds, rng = matrix.reference(name)["reply"]["seconds"], random.Random(name)
    kills = sorted(rng.uniform(0, seconds) for _ in range(3))
    folder = matrix.folder(command)
    reply = matrix.execute(name, folder, kills=kills)
    outcome = judge(matrix, name, folder, reply, "delete it" if not command.repeatable else "disk/")
    yield f"after {kills}", folder, "resumed" if outcome == "same result" else outcome


def _full_disk(matrix: Matrix, name: str, command: Command) -> Iterator[tuple[str, Path, str]]:
    total = sum(_output_bytes(matrix, name))
    for fraction in (0.1, 0.6):
        folder, size = matrix.folder(command), max(4096, int(total * fraction))
        if not command.prefill:
            yield f"{size} bytes", folder, _space(matrix, name, folder, disk={"size": size})


def _file_limit(matrix: Matrix, name: str, command: Command) -> Iterator[tuple[str, Path, str]]:
    largest = max(_output_bytes(matrix, name))
    if not command.main:
        return  # prints only
    if largest < 2 * SMALLEST_LIMIT:
        return  # what is printed would not fit either
    folder = matrix.folder(command)
    yield f"half of {largest}", folder, _space(matrix, name, folder, file_limit=largest // 2)


def _quota(matrix: Matrix, name: str, command: Command) -> Iterator[tuple[str, Path, str]]:
    syncs = matrix.reference(name)["reply"]["syncs"]
    for after in sorted({0, syncs // 2, max(0, syncs - 2)}):
        folder = matrix.folder(command)
        yield f"after {after} of {syncs}", folder, _space(matrix, name, folder, quota_after=after)


def _read_only(matrix: Matrix, name: str, command: Command) -> Iterator[tuple[str, Path, str]]:
    folder = matrix.folder(command)
    yield "", folder, _space(matrix, name, folder, disk={"size": 2**26, "read_only": True})


def _below_a_file(matrix: Matrix, name: str, command: Command) -> Iterator[tuple[str, Path, str]]:
    words = tuple(word.replace("disk/", "disk/file/") for word in command.words)
    if words == command.words or command.prefill:
        return
    folder = matrix.folder(command)
    (folder / "disk").mkdir()
    (folder / "disk" / "file").write_text("my text")
    reply = matrix.execute(name, folder, words=words)
    outcome = judge(matrix, name, folder, reply, "disk/file", text=False)
    if outcome != "refused" or (folder / "disk" / "file").read_text() != "my text":
        raise Refused("writes over a file")
    yield "", folder, outcome


def _memory(matrix: Matrix, name: str, command: Command) -> Iterator[tuple[str, Path, str]]:
    growth = matrix.reference(name)["reply"]["growth"]
    for fraction in (0.3, 0.7):
        folder = matrix.folder(command)
        reply = matrix.execute(name, folder, memory_limit=int(growth * fraction), recover=True)
        yield f"{fraction:.0%} of {growth}", folder, judge(matrix, name, folder, reply, "memory")


def _bit_flip(matrix: Matrix, name: str, command: Command) -> Iterator[tuple[str, Path, str]]:
    places = [(pattern, *flip) for pattern in command.sealed for flip in FLIPS]
    places += [(pattern, 0.0, bit) for pattern in command.binary for bit in (1, 7)]
    for pattern, fraction, bit in places:
        folder = matrix.folder(command)
        path = _first(folder, pattern)
        content = bytearray(path.read_bytes())
        content[int(fraction * len(content))] ^= 1 << bit
        path.write_bytes(content)
        reply = matrix.execute(name, folder)
        yield f"{pattern} at {fraction}", folder, judge(matrix, name, folder, reply, path.name)


def _broken_text(matrix: Matrix, name: str, command: Command) -> Iterator[tuple[str, Path, str]]:
    for pattern in command.text:
        for label, change in BREAKS.items():
            folder = matrix.folder(command)
            path = _first(folder, pattern)
            content = path.read_bytes()
            half_yaml = label == "half" and path.suffix == ".yaml"  # half of it may be another configuration
            path.write_bytes(content[: len(content) // 2] + b"\n]: [" if half_yaml else change(content))
            reply = matrix.execute(name, folder)
            try:
                yield f"{pattern} {label}", folder, judge(matrix, name, folder, reply, path.name, broken=path)
            except Refused as fault:
                raise Refused(f"{pattern} {label}: {fault}") from fault


def _hostile_name(matrix: Matrix, name: str, command: Command) -> Iterator[tuple[str, Path, str]]:
    folder = matrix.folder(command)
    inner = folder / HOSTILE
    inner.mkdir()
    for path in list(folder.iterdir()):
        if path != inner:
            path.rename(inner / path.name)
    card = inner / "data" / "dataset.json"
    labels = {"background": 0, HOSTILE: 1, "@x [/]": 2}
    card.write_text(json.dumps({**json.loads(card.read_text()), "labels": labels}))
    for kind in ("images", "labels"):
        (inner / "data" / kind / "case_1.nii.gz").rename(inner / "data" / kind / f"{HOSTILE}.nii.gz")
    words = tuple(
        word if not number else word.replace("disk/", f"{inner}/disk/") if "disk/" in word
        else f"{inner}/{word}" if (inner / word).exists() and "=" not in word else word
        for number, word in enumerate(command.words)
    )  # fmt: skip
    (inner / "disk").mkdir()
    prefill = {f"{HOSTILE}/{source}": f"{HOSTILE}/{target}" for source, target in command.prefill.items()}
    (folder / "hub_cache").symlink_to(inner / "hub_cache")
    for raw in inner.glob("*.yaml"):
        text = raw.read_text()
        for used in ("data", "pool", "shapes.npz"):
            text = text.replace(f"path: {used}\n", f"path: {json.dumps(str(inner / used))}\n")
        raw.write_text(text)
    reply = matrix.execute(name, folder, words=words, prefill=prefill)
    yield "", folder, judge(matrix, name, folder, reply, "x()", text=False)


def _first(folder: Path, pattern: str) -> Path:
    return sorted(folder.glob(pattern))[0]
