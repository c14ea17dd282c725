"""The thread that looks what a machine's harts do, every few milliseconds: for `popek profile` and for `--stats`.

Lives here: asking, and counting equal samples. Not here: how a hart answers (engine/optimizing/tracing), what addresses
are called (api/symbols), what is made of it (api/profile).
"""

from __future__ import annotations

import ctypes
import struct
import threading
from typing import Any, NamedTuple

from popek.base.memory import Block

PAGE = 4096
USER, IN_REGION, DEPTH_SHIFT = 0, 4, 8
NATIVE = "popek.engine.optimizing.tracing."
# As engine/optimizing/tracing has them, which a start from the cache does not import.
_RING = struct.Struct("<5Q")
_TRACES, _FRAMES, _TRACE_BYTES = 64, 24, 256
_TRACE = struct.Struct("<32Q")
_PPN = (1 << 44) - 1
_MAX_PAGES = 20000  # of user programs, looked at


class Sample(NamedTuple):
    """One way in which a hart was found. `space`: of the address space (satp.PPN), 0 if translation was off."""

    space: int
    mode: int
    pc: int
    ra: int
    call: int  # the eight bytes before pc if the hart had just returned there, else 0
    frames: tuple[int, ...]


class Counted(NamedTuple):
    """What a sampler has seen."""

    samples: dict[Sample, int]
    pages: dict[tuple[int, int], bytes]  # (space, page address) -> the page's bytes, of user programs
    asked: int  # samples asked for, summed over the harts
    idle: int  # the hart was asleep
    translating: int  # the hart made code
    in_regions: int  # samples of code of the optimizing engine
    period: float  # seconds
    stvec: int  # the last supervisor trap vector that was seen; 0: none


class Sampler:
    """`run` is the thread, `end` ends it (any thread); then `counted`."""

    def __init__(self, core: Any, period: float = 0.001, traces: bool = True) -> None:
        """`core`: as api/machine has it. Without `traces` harts are looked at and not disturbed."""
        self.period = period
        self.traces = traces
        self._core = core
        self._ending = threading.Event()
        self._samples: dict[Sample, int] = {}
        self._pages: dict[tuple[int, int], bytes] = {}
        self._asked = self._idle = self._translating = self._in_regions = self._stvec = 0
        self._rings: list[Block] = []
        library = getattr(core, "template_library", 0)
        if library:
            u64 = ctypes.c_uint64
            size = core.function(NATIVE + "ring_size", u64)()
            into = core.function(NATIVE + "trace_into", None, u64, u64)
            for i in range(core.harts):
                self._rings.append(Block(size))
                into(core.hart_address(i), self._rings[-1].address)
            ask = core.function(NATIVE + "ask", None, u64, u64, ctypes.c_bool)
            self._ask = lambda: ask(library, core.harts, traces)

    def run(self) -> None:
        """Look until `end`."""
        while not self._ending.wait(self.period):
            if self._rings:
                self._collect()
                self._ask()
            else:
                self._look()
        self._collect()

    def end(self) -> None:
        """Enough."""
        self._ending.set()

    def counted(self) -> Counted:
        """What was seen; after the thread has ended."""
        asked, idle, translating = self._asked, self._idle, self._translating
        for ring in self._rings:
            _, _, a, i, t = _RING.unpack_from(ring.view)
            asked, idle, translating = asked + a, idle + i, translating + t
        return Counted(
            self._samples, self._pages, asked, idle, translating, self._in_regions, self.period, self._stvec
        )

    def _collect(self) -> None:
        """Take what harts have noted."""
        for ring in self._rings:
            written, taken, *_ = _RING.unpack_from(ring.view)
            for at in range(taken, written):
                self._take(_TRACE.unpack_from(ring.view, _RING.size + at % _TRACES * _TRACE_BYTES))
            ctypes.c_uint64.from_address(ring.address + 8).value = written

    def _take(self, words: tuple[int, ...]) -> None:
        pc, about, satp, ra, call, host, stvec, _ = words[:8]
        mode, depth = about & 3, about >> DEPTH_SHIFT
        space = satp & _PPN if satp >> 60 else 0
        self._in_regions += about & IN_REGION != 0
        self._stvec = stvec or self._stvec
        self._count(Sample(space, mode, pc, ra, call, words[8 : 8 + depth]))
        key = (space, pc & -PAGE)
        if mode == USER and host and key not in self._pages and len(self._pages) < _MAX_PAGES:
            self._pages[key] = ctypes.string_at(host & -PAGE, PAGE)

    def _count(self, sample: Sample) -> None:
        self._samples[sample] = self._samples.get(sample, 0) + 1

    def _look(self) -> None:
        """At an engine whose harts cannot be asked: where they are now, without callers."""
        for pc, mode, asleep in self._core.places():
            self._asked += 1
            if asleep:
                self._idle += 1
            elif self.traces:
                self._count(Sample(0, mode, pc, 0, 0, ()))
