"""Mutated files are read or rejected with a DimliftError."""

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
    """Return a seed file with up to four mutations, more of them in the header."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        position = draw(st.integers(0, len(content)))
        if draw(st.booleans()):
            position = min(position, draw(st.integers(0, 120)))
        kind = draw(st.sampled_from(["change", "remove", "insert", "cut", "repeat"]))
        some = draw(st.binary(max_size=8) | st.sampled_from([b"\xff" * 4, b"\0" * 4, b"{", b"[", b'"', b": ", b"\n"]))
        if kind == "change":
            content[position : position + len(some)] = some
        elif kind == "remove":
            del content[position : position + len(some)]
        elif kind == "insert":
            content[position:position] = some
        elif kind == "cut":
            del content[position:]
        else:
            content += content[position : position + 600]
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
