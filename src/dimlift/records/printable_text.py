r"""Text of foreign files for a terminal or a page: control characters become escapes such as `\x1b`."""

import re

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters except tab and newline, characters that reorder a line, and undecodable bytes of file names."""


def printable(text: str) -> str:
    r"""Return the text with control characters as escapes: "\x1b[2J" in a file name cannot clear the screen."""
    return _UNPRINTABLE.sub(lambda match: ascii(match[0])[1:-1], text)
