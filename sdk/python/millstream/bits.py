"""Bitmaps, least significant bit first."""

from itertools import chain

_BITS_OF = [tuple(byte >> bit & 1 == 1 for bit in range(8)) for byte in range(256)]


def unpack(bitmap, rows):
    """A bool a row."""
    bits = list(chain.from_iterable(map(_BITS_OF.__getitem__, bitmap)))
    if len(bits) < rows:
        raise ValueError(f"a bitmap of {len(bitmap)} bytes for {rows} rows")
    del bits[rows:]
    return bits


def pack(flags):
    """The bitmap of a list of truth values."""
    if not flags:
        return b""
    digits = "".join(["1" if flag else "0" for flag in flags])
    return int(digits[::-1], 2).to_bytes((len(digits) + 7) // 8, "little")
