"""Threads are settled before torch is imported."""

import os

from dimlift.cli.threads import settle_threads


def test_no_more_threads_than_processors_this_process_may_use():
    environment = {}
    settle_threads(environment)
    assert 1 <= int(environment["OMP_NUM_THREADS"]) <= len(os.sched_getaffinity(0))
    assert environment["OMP_WAIT_POLICY"] == "passive"


def test_what_the_user_has_set_stays():
    environment = {"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "active"}
    settle_threads(environment)
    assert environment == {"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "active"}
