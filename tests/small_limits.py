"""Limits of the operating system, lifted at the end of a block."""

import contextlib
import resource
import signal


@contextlib.contextmanager
def limit_file_size(size):
    """Limit the size of files, which simulates a full disk during a write without root privileges."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, previous)
