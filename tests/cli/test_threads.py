"""Default number of torch threads."""

import os

from dimlift.cli.threads import set_thread_defaults


def test_thread_defaults_use_at_most_available_cores():
    environment = {}
    set_thread_defaults(environment)
    assert 1 <= int(environment["OMP_NUM_THREADS"]) <= len(os.sched_getaffinity(0))
    assert environment["OMP_WAIT_POLICY"] == "passive"


def test_thread_defaults_keep_user_settings():
    environment = {"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "active"}
    set_thread_defaults(environment)
    assert environment == {"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "active"}
