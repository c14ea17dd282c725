"""The template engine as a machine composes it: which functions to compile, what they stand for, memory for each hart.

Lives here: the Python side. Not here: what that memory holds (layout, start). Importing this module imports no subset
sources; `build_parts` does, and is called only when code must be compiled.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from typing import Any

from popek.base.memory import Block

ARENA = 64 << 20  # bytes of code a hart may hold; touched as needed
PAGES = 4096  # guest pages with translations
LINKS = 1 << 20
CELLS = 1 << 19  # accesses of memory with a TLB entry of their own
CELL_BYTES = 16
REGIONS = 4096  # of the optimizing engine
REGION_DATA = 4 << 20  # bytes of their data
MAP_FIXED = 0x10

STATISTICS = (
    "slow_steps",
    "resolved_jumps",
    "translated_instructions",
    "code_bytes",
    "code_flushes",
    "tlb_misses",
    "cell_misses",
    "tlb_flushes",
    "long_way_instructions",
)
# Behind them, what costs time to be measured; then ticks, to know how long one is.
MEASURED = ("region_instructions", "translating_seconds", "installing_seconds")
NOW = len(STATISTICS) + len(MEASURED)


def build_parts() -> tuple[list[Any], dict[Any, Any], dict[Any, Any]]:
    """(functions to export, ports to bind, functions to substitute) for a native build with this engine."""
    from popek.engine import tlb_access
    from popek.engine.optimizing import regions, tracing, views, watching
    from popek.engine.template import coherence, pages, run, start
    from popek.isa import memory, ports

    substitute: dict[Any, Any] = {
        getattr(memory, f"{a}_u{n}"): getattr(tlb_access, f"{a}_u{n}")
        for a in ("load", "store")
        for n in (8, 16, 32, 64)
    }
    substitute |= {
        memory.atomic_address: tlb_access.atomic_address,
        memory.reserve_address: tlb_access.reserve_address,
    }
    bound = {
        ports.tlb_flush: coherence.tlb_flush,
        ports.tlb_regime_changed: coherence.regime_changed,
        ports.pmp_changed: coherence.pmp_changed,
        ports.code_modified: coherence.code_modified,
        ports.fence_i: coherence.fence_i,
    }
    functions = [
        run.run_hart,
        run.slow_step,
        run.link,
        run.resolve,
        run.step_at,
        run.refresh,
        run.statistic,
        views.view_read,
        views.view_write,
        regions.install,
        watching.watch_size,
        watching.watch_open,
        watching.watch,
        watching.mail,
        watching.request,
        watching.set_state,
        watching.watch_statistic,
        tracing.ring_size,
        tracing.contents_at,
        tracing.trace_into,
        tracing.ask,
        pages.reset_hart,
        coherence.device_wrote,
        start.sizes,
        start.open_library,
        start.initialise,
        start.measure,
    ]
    return functions, bound, substitute


class Arena:
    """Code memory with two views, so that no mapping is both writable and executable; behind the executable one, data
    that code reaches by its distance (cells)."""

    def __init__(self, size: int, data_size: int) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mmap.restype = ctypes.c_void_p
        libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
        self.behind = Block(size + data_size)
        fd = os.memfd_create("popek-code", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            self.view = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
            code = libc.mmap(
                self.behind.address, size, mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_SHARED | MAP_FIXED, fd, 0
            )
            if code != self.behind.address:
                raise OSError(ctypes.get_errno(), "no executable memory")
        finally:
            os.close(fd)
        self.size = size
        self.writable = ctypes.addressof(ctypes.c_char.from_buffer(self.view))
        self.executable = self.behind.address
        self.data = self.behind.address + size


class TemplateEngine:
    """The template library and the code caches of a machine's harts. Keep it as long as harts run."""

    def __init__(self, native: Any, packed: bytes) -> None:
        """`native`: the linked build that holds build_parts()'s functions; `packed`: what library.build made."""
        self.native = native
        u64 = ctypes.c_uint64
        size = native.call("popek.engine.template.start.sizes", u64, u64)
        self.cache_size, library_size, self.page_size, self.link_size, self.access_size, self.region_size = (
            size(i) for i in range(6)
        )
        self.packed = ctypes.create_string_buffer(packed, len(packed) + 8)
        self.packed_address = (ctypes.addressof(self.packed) + 7) & ~7
        ctypes.memmove(self.packed_address, packed, len(packed))
        self.read = native.call("popek.engine.template.run.statistic", u64, u64, u64)
        self.library = Block(library_size)
        native.call("popek.engine.template.start.open_library", None, u64, u64)(
            self.library.address, self.packed_address
        )
        self.keep: list[Any] = []
        self.measured: tuple[float, int] | None = None  # since when: seconds, ticks

    def attach(self, hart: int, index: int, harts: int) -> None:
        """Give the hart at host address `hart` a code cache. Its architectural state must have been reset."""
        cache, arena = Block(self.cache_size), Arena(ARENA, CELLS * CELL_BYTES + REGION_DATA)
        pages, links, accesses, regions = (
            Block(n * size)
            for n, size in (
                (PAGES, self.page_size),
                (LINKS, self.link_size),
                (CELLS, self.access_size),
                (REGIONS, self.region_size),
            )
        )
        self.keep += [cache, arena, pages, links, accesses, regions]
        u64 = ctypes.c_uint64
        self.native.call("popek.engine.template.start.initialise", None, *[u64] * 19)(
            hart,
            cache.address,
            self.library.address,
            index,
            harts,
            arena.writable,
            arena.executable,
            arena.size,
            arena.data,
            CELLS,
            accesses.address,
            pages.address,
            PAGES,
            links.address,
            LINKS,
            regions.address,
            REGIONS,
            arena.data + CELLS * CELL_BYTES,
            REGION_DATA,
        )

    def measure(self, hart: int) -> None:
        """Measure also what costs time to be measured, before the hart runs."""
        self.native.call("popek.engine.template.start.measure", None, ctypes.c_uint64)(hart)
        self.measured = self.measured or (time.monotonic(), self.read(hart, NOW))

    def statistics(self, hart: int) -> dict[str, Any]:
        """The engine's counters of one hart. A tick is as long as it was on average."""
        counted: dict[str, Any] = {name: self.read(hart, i) for i, name in enumerate(STATISTICS)}
        if self.measured is not None:
            seconds, ticks = time.monotonic() - self.measured[0], self.read(hart, NOW) - self.measured[1]
            for i, name in enumerate(MEASURED, len(STATISTICS)):
                one = seconds / max(ticks, 1) if name.endswith("_seconds") else 1
                counted[name] = self.read(hart, i) * one
        return counted
