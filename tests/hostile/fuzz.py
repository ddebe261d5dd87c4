"""Coverage-guided fuzzing of every reader with atheris; stops at the first input that is neither read nor rejected.

python tests/hostile/fuzz.py SECONDS [TARGET ...]        # limited by time
python tests/hostile/fuzz.py --runs RUNS [TARGET ...]    # a fixed number of inputs per target, deterministic
"""

import subprocess
import sys
import tempfile
from pathlib import Path


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
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={corpus.parent}/found-", str(corpus)], target)
    atheris.Fuzz()


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
    seconds_each = max(1, amount // len(names))
    limit = f"-runs={amount} -seed=1" if counted else f"-max_total_time={seconds_each}"
    for name in names:
        folder = Path(tempfile.mkdtemp(prefix="dimlift-fuzz-"))
        (folder / "corpus").mkdir()
        done = subprocess.run(
            [sys.executable, __file__, "--one", name, limit, str(folder / "corpus")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            print(f"{name}: an input is neither read nor rejected; it is in {folder}")
            print(done.stdout[-3000:] + done.stderr[-1000:])
            return 1
        spent, kept = f"{amount} runs" if counted else f"{seconds_each} s", len(list((folder / "corpus").iterdir()))
        print(f"{name}: no failure in {spent}, {kept} inputs kept")
    return 0


if __name__ == "__main__":
    sys.exit(main())
