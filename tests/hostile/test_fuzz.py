"""Files with bytes changed, taken out and put in: read or refused, never anything else."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from targets import TARGETS

EXAMPLES = 40

FAST = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)


@st.composite
def mutants(draw, seeds):
    """A seed with up to four changes; headers are more often hit than the rest."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(content)))
        if draw(st.booleans()):
            place = min(place, draw(st.integers(0, 120)))
        kind = draw(st.sampled_from(["change", "remove", "insert", "cut", "again"]))
        some = draw(st.binary(max_size=8) | st.sampled_from([b"\xff" * 4, b"\0" * 4, b"{", b"[", b'"', b": ", b"\n"]))
        if kind == "change":
            content[place : place + len(some)] = some
        elif kind == "remove":
            del content[place : place + len(some)]
        elif kind == "insert":
            content[place:place] = some
        elif kind == "cut":
            del content[place:]
        else:
            content += content[place : place + 600]
    return bytes(content)


@pytest.mark.parametrize("name", TARGETS)
def test_mutated_files_are_read_or_rejected(name):
    target, seeds = TARGETS[name]

    @FAST
    @given(mutants(seeds))
    def run(content):
        target(content)

    run()


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_many_mutated_files_are_read_or_rejected(name):
    target, seeds = TARGETS[name]

    @settings(FAST, max_examples=1000)
    @given(mutants(seeds))
    def run(content):
        target(content)

    run()
