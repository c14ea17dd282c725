"""The thread that looks what a machine's harts do, every few milliseconds: for `popek profile`.

Lives here: asking, and counting equal samples. Not here: how a hart answers (engine/optimizing/tracing), what addresses
are called and what is made of it (api/profile).
"""

from __future__ import annotations

import ctypes
import struct
import threading
from typing import Any, NamedTuple

from popek.api import profile_pages as pages
from popek.base.memory import Block
from popek.devices.bus import GuestMemory

DEPTH_SHIFT, CONTENT_SHIFT = 8, 44
NATIVE = "popek.engine.optimizing.tracing."
# As engine/optimizing/tracing has them, which a start from the cache does not import.
_RING = struct.Struct("<2Q")
_TRACES = 64
_TRACE = struct.Struct("<2Q16s52Q")
KERNEL = 1 << 63
SUPERVISOR = 1


class Place(NamedTuple):
    """An address of code: physical page and the number of its content, both 0 if it could not be found."""

    pc: int
    page: int
    content: int


class Sample(NamedTuple):
    """One way in which a hart was found. `places`: where it is, and the last bytes of the calls that led there."""

    mode: int
    satp: int
    task: bytes  # the name of Linux's task, as far as it is known
    places: tuple[Place, ...]
    link: Place | None = None  # the call that led there, if it is just the first instruction of a function


class Seen(NamedTuple):
    """Samples, how often they were seen, and the pages that they speak of by number."""

    samples: dict[Sample, int]
    pages: list[bytes]


class Sampler:
    """`run` is the thread; it looks between `begin` and `end` (any thread); `seen` says how often what was seen."""

    def __init__(self, core: Any, memory: GuestMemory, period: float, name_at: int) -> None:
        """`core`: as api/machine has it; `period`: seconds; `name_at`: where in a Linux task its name is, or 0."""
        self._samples: dict[Sample, int] = {}
        self._contents = pages.Contents()
        self._period, self._name_at = period, name_at
        self._core, self._memory = core, memory
        self._beginning, self._ending = threading.Event(), threading.Event()
        self._rings: list[tuple[Block, dict[tuple[int, int], Place]]] = []  # with places as they are in it
        library = getattr(core, "template_library", 0)
        if library:
            u64 = ctypes.c_uint64
            size = core.function(NATIVE + "ring_size", u64)()
            self._contents_at = core.function(NATIVE + "contents_at", u64)()
            into = core.function(NATIVE + "trace_into", None, u64, u64, u64)
            for i in range(core.harts):
                ring = Block(size)
                self._rings.append((ring, {}))
                into(core.hart_address(i), ring.address, name_at)
            ask = core.function(NATIVE + "ask", None, u64, u64)
            self._ask = lambda: ask(library, core.harts)

    def run(self) -> None:
        """Look until `end`."""
        self._beginning.wait()
        while not self._ending.wait(self._period):
            if self._rings:
                self._collect()
                self._ask()
            else:
                self._look()
        self._collect()

    def begin(self) -> None:
        """What comes now is of interest."""
        self._beginning.set()

    def end(self) -> None:
        """Enough."""
        self._ending.set()
        self._beginning.set()

    def seen(self) -> Seen:
        """After the end of the thread."""
        return Seen(self._samples, self._contents.pages)

    def _collect(self) -> None:
        """Take what harts have noted."""
        for ring, places in self._rings:
            written, taken = _RING.unpack_from(ring.view)
            for at in range(taken, written):
                about, satp, task, *words = _TRACE.unpack_from(ring.view, _RING.size + at % _TRACES * _TRACE.size)
                depth = about >> DEPTH_SHIFT
                pairs = zip(words[: 4 + 2 * depth : 2], words[1 : 4 + 2 * depth : 2], strict=True)
                found = [places.get(pair) or self._place(ring, places, *pair) for pair in pairs]
                link = found.pop(1)
                self._count(Sample(about & 3, satp, _text(task), tuple(found), link if link.pc else None))
            ctypes.c_uint64.from_address(ring.address + 8).value = written

    def _place(self, ring: Block, places: dict[tuple[int, int], Place], pc: int, page: int) -> Place:
        """What a ring has as two words."""
        number = page >> CONTENT_SHIFT
        start = self._contents_at + number * pages.PAGE
        content = self._contents.number(bytes(ring.view[start : start + pages.PAGE])) if number else 0
        places[pc, page] = Place(pc, (page & (1 << CONTENT_SHIFT) - 1) * pages.PAGE, content)
        return places[pc, page]

    def _count(self, sample: Sample) -> None:
        self._samples[sample] = self._samples.get(sample, 0) + 1

    def _look(self) -> None:
        """At an engine whose harts cannot be asked: where they are now, without callers."""
        for pc, mode, satp, tp, sscratch in self._core.places():
            mode &= 3
            page = pages.physical(self._memory, pc, mode, satp) // pages.PAGE * pages.PAGE
            number = self._contents.number(self._memory.read(page, pages.PAGE)) if page else 0
            task = tp if mode == SUPERVISOR and tp >= KERNEL else sscratch
            self._count(Sample(mode, satp, _text(self._name(task, satp)), (Place(pc, page, number),)))

    def _name(self, task: int, satp: int) -> bytes:
        if not self._name_at or task < KERNEL:
            return b""
        words = (pages.word(self._memory, task + self._name_at + i, satp) for i in (0, 8))
        return b"".join(word.to_bytes(8, "little") for word in words)


def _text(padded: bytes) -> bytes:
    return padded.partition(b"\0")[0]
