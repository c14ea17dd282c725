"""The thread that looks what a machine's harts do, every few milliseconds: for `popek profile`.

Lives here: asking, and counting equal samples. Not here: how a hart answers (engine/optimizing/tracing), what addresses
are called and what is made of it (api/profile).
"""

from __future__ import annotations

import ctypes
import struct
import threading
from typing import Any, NamedTuple

from popek.base.memory import Block

DEPTH_SHIFT = 8
NATIVE = "popek.engine.optimizing.tracing."
# As engine/optimizing/tracing has them, which a start from the cache does not import.
_RING = struct.Struct("<2Q")
_TRACES = 64
_TRACE = struct.Struct("<26Q")


class Sample(NamedTuple):
    """One way in which a hart was found. `frames`: where its callers go on, the innermost first."""

    mode: int
    pc: int
    frames: tuple[int, ...]


class Sampler:
    """`run` is the thread, `end` ends it (any thread); then `samples` says how often what was seen."""

    def __init__(self, core: Any, period: float) -> None:
        """`core`: as api/machine has it; `period`: seconds."""
        self.samples: dict[Sample, int] = {}
        self._period = period
        self._core = core
        self._ending = threading.Event()
        self._rings: list[Block] = []
        library = getattr(core, "template_library", 0)
        if library:
            u64 = ctypes.c_uint64
            size = core.function(NATIVE + "ring_size", u64)()
            into = core.function(NATIVE + "trace_into", None, u64, u64)
            for i in range(core.harts):
                self._rings.append(Block(size))
                into(core.hart_address(i), self._rings[-1].address)
            ask = core.function(NATIVE + "ask", None, u64, u64)
            self._ask = lambda: ask(library, core.harts)

    def run(self) -> None:
        """Look until `end`."""
        while not self._ending.wait(self._period):
            if self._rings:
                self._collect()
                self._ask()
            else:
                self._look()
        self._collect()

    def end(self) -> None:
        """Enough."""
        self._ending.set()

    def _collect(self) -> None:
        """Take what harts have noted."""
        for ring in self._rings:
            written, taken = _RING.unpack_from(ring.view)
            for at in range(taken, written):
                pc, about, *frames = _TRACE.unpack_from(ring.view, _RING.size + at % _TRACES * _TRACE.size)
                self._count(Sample(about & 3, pc, tuple(frames[: about >> DEPTH_SHIFT])))
            ctypes.c_uint64.from_address(ring.address + 8).value = written

    def _count(self, sample: Sample) -> None:
        self.samples[sample] = self.samples.get(sample, 0) + 1

    def _look(self) -> None:
        """At an engine whose harts cannot be asked: where they are now, without callers."""
        for pc, mode, asleep in self._core.places():
            if not asleep:
                self._count(Sample(mode, pc, ()))
