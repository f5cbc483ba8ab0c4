"""HDF5 files without the time of writing: the same content gives the same bytes.

The library behind ITK stamps each object header with four times. They are set to zero here and the header's checksum is
made to fit again ("HDF5 File Format Specification Version 3.0", IV.A.1.b, object header version 2).
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_MASK = 0xFFFFFFFF
_TIMES_PRESENT, _PHASES_PRESENT = 0x20, 0x10


def _rotated(x: int, k: int) -> int:
    return ((x << k) | (x >> (32 - k))) & _MASK


def lookup3(data: bytes) -> int:
    """Checksum of HDF5 metadata: Bob Jenkins' ``hashlittle`` with start value 0 (lookup3.c, public domain)."""
    a = b = c = (0xDEADBEEF + len(data)) & _MASK
    if not data:
        return c
    blocks = max(0, -(-len(data) // 12) - 1)
    for x, y, z in struct.iter_unpack("<III", data[: 12 * blocks]):
        a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
        for shifts in ((4, 6, 8), (16, 19, 4)):
            a = ((a - c) & _MASK) ^ _rotated(c, shifts[0])
            c = (c + b) & _MASK
            b = ((b - a) & _MASK) ^ _rotated(a, shifts[1])
            a = (a + c) & _MASK
            c = ((c - b) & _MASK) ^ _rotated(b, shifts[2])
            b = (b + a) & _MASK
    x, y, z = struct.unpack("<III", data[12 * blocks :].ljust(12, b"\0"))
    a, b, c = (a + x) & _MASK, (b + y) & _MASK, (c + z) & _MASK
    c = ((c ^ b) - _rotated(b, 14)) & _MASK
    a = ((a ^ c) - _rotated(c, 11)) & _MASK
    b = ((b ^ a) - _rotated(a, 25)) & _MASK
    c = ((c ^ b) - _rotated(b, 16)) & _MASK
    a = ((a ^ c) - _rotated(c, 4)) & _MASK
    b = ((b ^ a) - _rotated(a, 14)) & _MASK
    return ((c ^ b) - _rotated(b, 24)) & _MASK


def erase_times(path: str | Path) -> int:
    """Set the times in all object headers of an HDF5 file to zero, in place; returns how many headers had any.

    A run of data bytes that looks like a header is left alone, because its checksum does not fit.
    """
    changed = 0
    with Path(path).open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as data:
        at = data.find(b"OHDR\x02")
        while at >= 0:
            changed += _erase(data, at)
            at = data.find(b"OHDR\x02", at + 5)
    return changed


def _erase(data: mmap.mmap, at: int) -> bool:
    if at + 30 > len(data):
        return False
    flags = data[at + 5]
    if not flags & _TIMES_PRESENT:
        return False
    size_at = at + 22 + (4 if flags & _PHASES_PRESENT else 0)
    width = 1 << (flags & 3)
    end = size_at + width + int.from_bytes(data[size_at : size_at + width], "little")
    if end + 4 > len(data) or lookup3(data[at:end]) != int.from_bytes(data[end : end + 4], "little"):
        return False
    data[at + 6 : at + 22] = bytes(16)
    data[end : end + 4] = lookup3(data[at:end]).to_bytes(4, "little")
    return True
