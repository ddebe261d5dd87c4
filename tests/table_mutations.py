"""Systematic changes of a CSV or TSV table and of the text of a file, for tests of what reads files of others."""

import codecs
from collections.abc import Iterator

CELLS = {
    "empty": "",
    "blank": "   ",
    "NaN": "NaN",
    "infinite": "inf",
    "beyond float": "1e400",
    "many digits": "9" * 5000,
    "minus one": "-1",
    "a half": "0.5",
    "NUL": "a\0b",
    "escape": "\x1b[31mred",
    "formula": "=1+1",
    "quote": 'a"b',
    "separators": "a,b\tc;d",
    "above": "../../../etc/hostname",
    "absolute": "/dev/null",
    "folder": ".",
    "long name": "x" * 300 + ".nii.gz",
    "long field": "y" * 200_000,
    "letters": "größe 標籤",
}


def mutated_table(rows: list[list[str]], separator: str = ",") -> Iterator[tuple[str, bytes]]:
    """Yield a name and the bytes of the table for each change of a cell, a row or the file.

    Args:
        rows: the header and the rows.
    """
    text = _text(rows, separator)
    yield from mutated_text(text)
    for y, row in enumerate(rows):
        for x, cell in enumerate(row):
            for name, value in CELLS.items():
                changed = [list(other) for other in rows]
                changed[y][x] = value
                if value != cell:
                    yield f"cell {y}.{x} {name}", _text(changed, separator).encode()
        yield f"row {y} twice", _text([*rows[: y + 1], *rows[y:]], separator).encode()
        yield f"row {y} deleted", _text([*rows[:y], *rows[y + 1 :]], separator).encode()
        yield f"row {y} longer", _text([*rows[:y], [*row, "more", "cells"], *rows[y + 1 :]], separator).encode()
        yield f"row {y} shorter", _text([*rows[:y], row[:-1], *rows[y + 1 :]], separator).encode()
        yield f"row {y} unclosed", _text([*rows[:y], ['"' + row[0], *row[1:]], *rows[y + 1 :]], separator).encode()
    for x in range(len(rows[0])):
        without = [[*row[:x], *row[x + 1 :]] for row in rows]
        yield f"column {x} deleted", _text(without, separator).encode()
        yield f"column {x} twice", _text([[*row, row[x]] for row in rows], separator).encode()


def mutated_text(text: str) -> Iterator[tuple[str, bytes]]:
    """Yield a name and the bytes of a text that is cut, encoded in another way, or replaced."""
    content = text.encode()
    yield "no byte", b""
    yield "blank lines", b"\n\n\r\n \n"
    yield "half", content[: len(content) // 2]
    yield "last byte cut", content[:-1]
    yield "byte order mark", codecs.BOM_UTF8 + content
    yield "UTF-16", text.encode("utf-16")
    yield "Latin-1", (text + "\n# Größe").encode("latin-1")
    yield "not UTF-8", content + b"\xff\xfe\x80"
    yield "NUL", content.replace(b"a", b"\0", 1)
    yield "CR", content.replace(b"\n", b"\r")
    yield "CRLF", content.replace(b"\n", b"\r\n")
    yield "binary", bytes(range(256)) * 16
    yield "brackets", b"[" * 200_000
    yield "nested objects", b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    yield "digits", b"9" * 100_000
    yield "list", b"[1, 2, 3]"
    yield "text", b'"text"'
    yield "null", b"null"
    yield "page", b"<!DOCTYPE html><html><body>404</body></html>"
    yield "pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"


def _text(rows: list[list[str]], separator: str) -> str:
    return "".join(separator.join(row) + "\n" for row in rows)
