"""Reading initramfs archives: cpio "newc", one behind the other, compressed or not (Linux,
Documentation/driver-api/early-userspace/buffer-format.rst). Not here: writing them (images/cpio).
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator

from popek.abi import wrapping

MAGICS = (b"070701", b"070702")
HEADER = 110
SOMETHING = re.compile(rb"[^\0]")
TRAILER = "TRAILER!!!"


def files(data: memoryview, limit: int, name: str) -> Iterator[tuple[str, memoryview]]:
    """Regular files with something in them. Ends where there is no archive any more; raises BadImage.

    `limit`: bytes that it may unpack to.
    """
    at = 0
    while True:
        begin = SOMETHING.search(data, at)
        at = begin.start() if begin else len(data)
        if bytes(data[at : at + 6]) not in MAGICS:
            inner = wrapping.unwrap(data[at:], limit, name)
            if len(inner) != len(data) - at and at < len(data):
                yield from files(inner, limit, name)
            return
        if len(data) - at < HEADER:
            return
        try:
            field = [int(bytes(data[at + i : at + i + 8]), 16) for i in range(6, HEADER, 8)]
        except ValueError:
            return
        mode, size, length = field[1], field[6], field[11]
        path = bytes(data[at + HEADER : at + HEADER + length]).rstrip(b"\0").decode("utf-8", "replace")
        start = at + HEADER + length + -(HEADER + length) % 4
        at = start + size + -size % 4
        if stat.S_ISREG(mode) and size and path != TRAILER:
            yield path, data[start : start + size]
