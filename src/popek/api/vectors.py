"""The vector registers of a machine's harts, and the code of vector instructions, fetched when a guest needs it."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from popek.api import native
from popek.base.memory import Block

if TYPE_CHECKING:
    from popek.lang.objects import Library

_u64 = ctypes.c_uint64


class Vectors:
    """Keep it as long as harts run."""

    def __init__(self, core: Library, guest: int, harts: int, warn: Callable[[str], None] | None) -> None:
        """`core`: the native code that runs the harts of the guest at that address."""
        self._core, self._guest, self._warn = core, guest, warn
        native.vectors_meanwhile()
        self._lock = threading.Lock()
        self._libraries: list[Library] = []  # the last one is in use; harts may still be in the one before
        self._whole = self._failed = False
        self._loader = ctypes.CFUNCTYPE(_u64, _u64, _u64)(self._load)
        self._memory = Block(harts * core.call("popek.api.guest.vector_bytes", _u64)())
        core.call("popek.api.guest.lend_vectors", None, _u64, _u64, _u64)(
            guest, self._memory.address, ctypes.cast(self._loader, ctypes.c_void_p).value
        )

    def _load(self, hart: int, whole: int) -> int:
        """A hart met its first vector instruction, or the first that needs the whole: 0 if it can go on. Its thread."""
        try:
            with self._lock:
                if self._failed:
                    return 1
                if not self._libraries or (whole and not self._whole):
                    self._whole = bool(whole) or native.kept("vectors")
                    self._libraries.append(self._link())
                    entry = self._libraries[-1].address("popek.engine.vector_library.run")
                    self._core.call("popek.api.guest.vectors_enter", None, _u64, _u64)(self._guest, entry)
            return 0
        except Exception as error:  # nothing may leave a callback
            self._failed = True
            if self._warn is not None:
                self._warn(f"the guest cannot execute vector instructions: {error}")
            return 1

    def _link(self) -> Library:
        names = {f"popek_vector_{what}": f"popek.engine.vector.{what}_for" for what in ("load", "store", "view")}
        return native.vectors(self._whole, self._warn).link({to: self._core.address(at) for to, at in names.items()})
