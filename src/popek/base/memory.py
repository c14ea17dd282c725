"""Memory of the host, by address: what guest RAM and the state of native code lie in. Not here: files, protection."""

from __future__ import annotations

import ctypes
import mmap

NORESERVE = 0x4000  # MAP_NORESERVE of Linux, which mmap names from Python 3.13 on


class Block:
    """Zeroed host memory, touched as needed."""

    def __init__(self, size: int, huge: bool = False) -> None:
        """`huge`: in pages of 2 MiB, if the host gives them: much of it will be touched."""
        self.map = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE)
        if huge and hasattr(mmap, "MADV_HUGEPAGE"):
            try:
                self.map.madvise(mmap.MADV_HUGEPAGE)
            except OSError:
                pass  # a kernel without them
        anchor = ctypes.c_char.from_buffer(self.map)
        self.address = ctypes.addressof(anchor)
        del anchor
        self.view = memoryview(self.map)

    def free(self) -> None:
        """Give it back, unless somebody still looks at it."""
        try:
            self.view.release()
            self.map.close()
        except BufferError:
            pass
