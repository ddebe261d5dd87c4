"""Coverage-guided fuzzing of every reader with atheris; stops at the first input that is neither read nor rejected.

Every target runs in a process of its own, two at a time. Its current input is kept in a file, so that a target that is
killed is reported with the input that did it.

python tests/hostile/fuzz.py SECONDS [TARGET ...]        # limited by time
python tests/hostile/fuzz.py --runs RUNS [TARGET ...]    # a fixed number of inputs per target, deterministic
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROCESSES = 2


def one(name: str, limit: str, corpus: Path) -> None:
    """Fuzz one target in this process; atheris never returns."""
    import atheris

    with atheris.instrument_imports(
        include=["dimlift.data", "dimlift.records", "dimlift.studies", "dimlift.config", "yaml"]
    ):
        from targets import TARGETS
    target, seeds = TARGETS[name]
    for number, seed in enumerate(seeds):
        (corpus / f"seed{number}").write_bytes(seed)
    options = [*limit.split(), "-max_len=4096", "-timeout=20", "-rss_limit_mb=4096", "-verbosity=0"]
    target = recording(target, corpus.parent / "input")
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={corpus.parent}/found-", str(corpus)], target)
    atheris.Fuzz()


def recording(target: Callable[[bytes], None], file: Path) -> Callable[[bytes], None]:
    """Return a target that keeps its current input in a file."""

    def recorded(content: bytes) -> None:
        file.write_bytes(content)
        target(content)

    return recorded


def fuzz_in_process(name: str, limit: str, arguments: list[str] | None = None) -> str | None:
    """Fuzz one target in a new process; return None, or what failed and where its input is."""
    folder = Path(tempfile.mkdtemp(prefix="dimlift-fuzz-"))
    (folder / "corpus").mkdir()
    command = [*(arguments or [sys.executable, __file__, "--one"]), name, limit, str(folder / "corpus")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.returncode:
        return None
    how = f"killed by signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
    found = f"{name}: an input is neither read nor rejected ({how}); it is {folder / 'input'}"
    return f"{found}\n{done.stdout[-3000:]}{done.stderr[-1000:]}"


def main() -> int:
    """Fuzz every target for a fraction of the time."""
    if sys.argv[1] == "--one":
        one(sys.argv[2], sys.argv[3], Path(sys.argv[4]))
        return 0
    try:
        import atheris  # noqa: F401
    except ImportError:
        sys.exit("atheris is not installed; install the extra dimlift[dev], on Python 3.11 to 3.13")
    from targets import TARGETS

    counted = sys.argv[1] == "--runs"
    names = sys.argv[2 + counted :] or list(TARGETS)
    amount = int(sys.argv[1 + counted])
    seconds_each = max(1, PROCESSES * amount // len(names))
    limit = f"-runs={amount} -seed=1" if counted else f"-max_total_time={seconds_each}"
    spent = f"{amount} runs" if counted else f"{seconds_each} s"
    with ThreadPoolExecutor(PROCESSES) as pool:
        for name, failure in zip(names, pool.map(lambda name: fuzz_in_process(name, limit), names), strict=True):
            if failure:
                pool.shutdown(cancel_futures=True)
                print(failure)
                return 1
            print(f"{name}: no failure in {spent}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
