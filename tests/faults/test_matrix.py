"""Every command under every fault: the same result, a one-line refusal that names the file, or an exact resumption."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from hub_server import serving

from .matrix_cells import Matrix, Refused, variants
from .matrix_table import COMMANDS, FAULTS

QUICK = (
    ("predict", "bit flip"), ("predict", "read-only"), ("predict", "quota"), ("predict", "hostile name"),
    ("check", "broken text"), ("train", "kill"), ("train", "full disk"), ("lift", "file limit"),
)  # fmt: skip
NEED_MOUNT = ("full disk", "read-only")


@pytest.fixture(scope="session")
def matrix(tmp_path_factory):
    with serving() as hub:
        started = Matrix.start(tmp_path_factory.mktemp("matrix"), hub.address)
        yield started
        started.server.stdin.close()
        started.server.wait()


def faults_of(matrix, name, fault):
    """Return the variants of a cell whose outcome is none of the three."""
    if fault in NEED_MOUNT and not matrix.can_mount:
        return None
    tried = []
    try:
        tried += variants(matrix, name, fault)
    except Refused as found:
        return f"{name}, {fault}, after {len(tried)} variants: {found}"
    return ""


def test_some_cells(matrix):
    assert not list(filter(None, (faults_of(matrix, *cell) for cell in QUICK)))


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", COMMANDS)
def test_cell(matrix, name, fault):
    found = faults_of(matrix, name, fault)
    if found is None:
        pytest.skip("mounting a file system requires privileges, or user namespaces")
    assert not found


@pytest.mark.slow
def test_figures(matrix, capsys):
    """Print the number of outcomes of each kind, as in docs/promises.md."""
    kinds = ("same result", "refused", "resumed", "named on the page")
    lines = [f"| {fault} | {' | '.join(str(matrix.outcomes[fault, kind]) for kind in kinds)} |" for fault in FAULTS]
    with capsys.disabled():
        print("", f"| fault | {' | '.join(kinds)} |", *lines, sep="\n")
