"""What a file really is, by its first bytes, whatever its name."""

from pathlib import Path

HEAD_BYTES = 1024

FOREIGN = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the weights; run `git lfs pull` in its repository"),
    (b"\x89HDF", "is an HDF5 file, as Keras writes; convert it to safetensors"),
    (b"GGUF", "is a GGUF file of a language model; give a .safetensors, .pt or .pth file"),
    (b"\x1f\x8b", "is compressed with gzip; unpack it (gunzip) and give the file inside"),
    (b"7z\xbc\xaf", "is a 7z archive; unpack it and give the file inside"),
    (b"\x93NUMPY", "cannot be read as weights: it is a NumPy array; save a state_dict as safetensors"),
)
"""First bytes of files that are given in place of weights, and what to do."""

WEB_PAGE = (b"<!doctype html", b"<html", b"<?xml", b"<error", b"<head")


def read_head(path: Path) -> bytes:
    """Return the first bytes of a file."""
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def foreign_kind(head: bytes) -> str | None:
    """Return what a file is that holds no weights, and its cure; None if it may hold weights."""
    if not head:
        return "is empty: the download or copy did not finish; fetch it again"
    for start, meaning in FOREIGN:
        if head.startswith(start):
            return meaning
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(WEB_PAGE):
        return (
            "is a web page, not weights: the server sent a page for login, terms or an error; download the "
            "file itself, by its direct address or in a browser"
        )
    if head[257:262] == b"ustar":
        return "is a tar archive; unpack it (tar xf) and give the weights file inside"
    return None


def is_safetensors(head: bytes) -> bool:
    """Whether a file begins as safetensors do: the length of a header, and the header, which is JSON."""
    return head[8:9] == b"{"


def is_zip(head: bytes) -> bool:
    """Whether a file begins as a zip archive does."""
    return head.startswith(b"PK\3\4")


def is_pickle(head: bytes) -> bool:
    """Whether a file begins as a pickle of protocol 2 or later does."""
    return head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5")
