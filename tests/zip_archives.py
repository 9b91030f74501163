"""ZIP archives for tests, honest and dishonest ones."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile
from collections.abc import Iterable, Mapping

MAIN = b"async def main(request):\n    return {}\n"
LINK = (stat.S_IFLNK | 0o777) << 16
FIFO = (stat.S_IFIFO | 0o644) << 16


def zipped(files: Mapping[str, bytes] | Iterable[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of files; as pairs, names may come twice."""
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", method) as archive:
        warnings.simplefilter("ignore")  # a name that comes twice is meant
        for name, data in files.items() if isinstance(files, Mapping) else files:
            info = zipfile.ZipInfo("x")
            info.filename = name
            info.compress_type = method
            archive.writestr(info, data)
    return out.getvalue()


def special(name: str, attributes: int, data: bytes = b"/etc/passwd") -> bytes:
    """An archive of a main file and an entry of some kind, in the attributes of Unix."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("lambda_main.py", MAIN)
        info = zipfile.ZipInfo(name)
        info.external_attr = attributes
        archive.writestr(info, data)
    return out.getvalue()


def renamed(archive: bytes, before: bytes, after: bytes) -> bytes:
    """An archive with a name in other bytes of the same number, wherever it stands."""
    if len(before) != len(after):
        message = "names are not equally long"
        raise ValueError(message)
    return archive.replace(before, after)


def with_sizes(archive: bytes, name: bytes, declared: int) -> bytes:
    """An archive whose entry says to have so many bytes, in both places."""
    data = bytearray(archive)
    for signature, size, length, name_at in ((b"PK\3\4", 22, 26, 30), (b"PK\1\2", 24, 28, 46)):
        at = -1
        while (at := data.find(signature, at + 1)) >= 0:
            (count,) = struct.unpack_from("<H", data, at + length)
            if data[at + name_at : at + name_at + count] == name:
                struct.pack_into("<I", data, at + size, declared)
    return bytes(data)


def overlapping(count: int, body: bytes) -> bytes:
    """An archive whose entries all have the bytes of the first one."""
    data = bytearray(zipped({"a": body}))
    end = data.rfind(b"PK\5\6")
    directory = data.find(b"PK\1\2")
    entry = bytes(data[directory:end])
    entries = b"".join(entry[:46] + bytes([98 + number]) + entry[47:] for number in range(count))
    tail = bytearray(data[end:])
    struct.pack_into("<HHII", tail, 8, count, count, len(entries), directory)
    return bytes(data[:directory]) + entries + bytes(tail)
